"""`submit`: turns dropped objects into at most one paid request each, or a clear refusal."""

import json
import random
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.adapters.storage import InputBucket, LinkSigner, signing_client
from retake.intake import Intake
from retake.observability import logger, metrics
from retake.submission import Submission

parts.s3.make()
settings = parts.settings
bucket = InputBucket(parts.s3, settings.input_bucket)
settlement = parts.settlement()
segmind = parts.segmind()
signer = LinkSigner(parts.client("sts"), settings.signer_role_arn, signing_client)
intake = Intake(bucket, parts.jobs, parts.answers, settlement, parts.queue(), settings.max_clip_seconds, parts.clock)
submission = Submission(
    bucket, parts.jobs, parts.answers, settlement, segmind, signer, parts.runs(), parts.gate, parts.clock, random.random
)


def take(record: dict[str, Any]) -> bool:
    """Take one message: an object was dropped, or a held job may go on; tells whether it is done with."""
    try:
        message = json.loads(record["body"])
        ready = [message["job_id"]] if "job_id" in message else intake.take(message["detail"]["object"]["key"], message.get("page"))
        for job_id in ready:
            submission.submit(job_id)
    except Exception:  # noqa: BLE001 - whatever it is, the message comes back, and no other with it
        received = record.get("attributes", {}).get("ApproximateReceiveCount")
        logger.exception("not taken", message_id=record["messageId"], receive_count=received)
        return False
    return True


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Handle a batch of the drop queue; only the messages that failed come back."""
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in event["Records"] if not take(record)]}

"""`submit`: turns dropped objects into at most one paid request each, or a clear refusal."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.observability import logger, metrics

application = bootstrap.from_environment()
application.clients.s3.create()
application.clients.sts.create()
ingest, submitter = application.ingest, application.submitter


def process(record: dict[str, Any]) -> bool:
    """Process one message: a dropped object, or a job that is ready; return whether it is done."""
    try:
        message = json.loads(record["body"])
        if "job_id" in message:
            submitter.submit(message["job_id"])
        else:
            for job in ingest.ingest(message["detail"]["object"]["key"], message.get("page")):
                submitter.submit_job(job)
    except Exception:  # noqa: BLE001 - only this message returns to the queue, whatever it is
        count = record.get("attributes", {}).get("ApproximateReceiveCount")
        logger.exception("not processed", message_id=record["messageId"], receive_count=count)
        return False
    return True


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Process a batch of the drop queue; only the messages that failed are delivered again."""
    failed = [record["messageId"] for record in event["Records"] if not process(record)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

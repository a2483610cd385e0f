"""`submit`: turns dropped objects into at most one paid request each, or a clear refusal."""

import random
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.adapters.secret import ApiKey
from retake.adapters.segmind import Segmind
from retake.adapters.storage import InputBucket, LinkSigner, signing_client
from retake.intake import Intake
from retake.observability import logger, metrics
from retake.submission import Submission

settings = parts.settings
bucket = InputBucket(parts.s3, settings.input_bucket)
settlement = parts.settlement()
key = ApiKey(SecretsProvider(boto3_client=parts.client("secretsmanager")), settings.secret_id)
segmind = Segmind(settings.segmind_base_url, settings.segmind_history_url, key)
signer = LinkSigner(parts.client("sts"), settings.signer_role_arn, signing_client)
intake = Intake(bucket, parts.jobs, parts.answers, settlement, parts.queue(), settings.max_clip_seconds, parts.clock)
submission = Submission(
    bucket, parts.jobs, parts.answers, settlement, segmind, signer, parts.runs(), parts.gate, parts.clock, random.random
)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def take(record: SQSRecord) -> None:
    """Take one message: an object was dropped, or a held job may go on."""
    try:
        message = record.json_body
        ready = [message["job_id"]] if "job_id" in message else intake.take(message["detail"]["object"]["key"])
        for job_id in ready:
            submission.submit(job_id)
    except Exception:
        logger.exception("not taken", message_id=record.message_id, receive_count=record.attributes.approximate_receive_count)
        raise


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Handle a batch of the drop queue; only the messages that failed come back."""
    return process_partial_response(event=event, record_handler=take, processor=processor, context=context)

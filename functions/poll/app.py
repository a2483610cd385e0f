"""`poll`: asks Segmind once, and says how long to wait before asking again."""

from typing import Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.adapters.secret import ApiKey
from retake.adapters.segmind import Segmind
from retake.observability import logger
from retake.polling import Polling

settings = parts.settings
key = ApiKey(SecretsProvider(boto3_client=parts.client("secretsmanager")), settings.secret_id)
segmind = Segmind(settings.segmind_base_url, settings.segmind_history_url, key)
polling = Polling(parts.jobs, parts.answers, segmind, parts.gate, parts.clock)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take one turn of the wait-loop."""
    logger.append_keys(job_id=event["job_id"])
    return polling.poll(event)

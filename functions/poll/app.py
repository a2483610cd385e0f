"""`poll`: asks Segmind once, and says how long to wait before asking again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.observability import logger
from retake.polling import Polling

polling = Polling(parts.jobs, parts.answers, parts.segmind(), parts.gate, parts.clock)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take one turn of the wait-loop."""
    logger.append_keys(job_id=event["job_id"])
    return polling.poll(event)

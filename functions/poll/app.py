"""`poll`: asks Segmind once, and says how long to wait before asking again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.domain.wait_loop import WaitLoop
from retake.observability import logger

poller = bootstrap.from_environment().poller


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take one turn of the wait loop."""
    logger.append_keys(job_id=event["job_id"])
    return poller.poll(WaitLoop.from_event(event)).as_event()

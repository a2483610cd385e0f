"""`finish`: makes the deliverable of a render and its clip: the sound, the length, the mark."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.domain.wait_loop import WaitLoop
from retake.observability import logger

application = bootstrap.from_environment()
application.clients.s3.create()
finisher = application.finisher


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Finish one job, or make the film of a delivered one again (`{"refinish": "<job id>"}`)."""
    if "refinish" in event:
        logger.append_keys(job_id=event["refinish"])
        return finisher.refinish(event["refinish"])
    logger.append_keys(job_id=event["job_id"])
    return finisher.finish(WaitLoop.from_event(event)).as_event()

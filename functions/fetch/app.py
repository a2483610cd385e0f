"""`fetch`: secures the rendered video in the staging bucket, in bounded memory."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.domain.wait_loop import WaitLoop
from retake.observability import logger

application = bootstrap.from_environment()
application.clients.s3.create()
fetcher = application.fetcher


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Secure the render of one job."""
    logger.append_keys(job_id=event["job_id"])
    return fetcher.fetch(WaitLoop.from_event(event)).as_event()

"""`deliver`: streams the finished video into the output bucket in bounded memory."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.adapters.segmind import ResultFiles
from retake.delivery import Delivery
from retake.observability import logger

parts.s3.make()
delivery = Delivery(parts.jobs, parts.answers, ResultFiles(parts.settings.segmind_base_url), parts.output, parts.clock)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Copy the result of one job."""
    logger.append_keys(job_id=event["job_id"])
    return delivery.deliver(event)

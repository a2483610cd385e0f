"""`settle`: publishes the outcome of a job, releases its lease and wakes the next job."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.observability import logger, metrics

application = bootstrap.from_environment()
application.clients.s3.create()
settlement, waker = application.settlement, application.waker


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Settle one job.

    The wait loop names it, or the event of an execution that ended outside its definition.
    """
    loop = json.loads(event["detail"]["input"]) if "detail" in event else event
    job_id = loop["job_id"]
    logger.append_keys(job_id=job_id)
    settlement.settle(job_id)
    waker.wake_next()
    return {"job_id": job_id}

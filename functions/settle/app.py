"""`settle`: writes the outcome where people and programs look, frees the slot, lets the next job go."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.observability import logger, metrics

parts.s3.make()
settlement = parts.settlement()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Settle one job: named by its wait-loop, or by the event of an execution that ended outside its definition."""
    loop = json.loads(event["detail"]["input"]) if "detail" in event else event
    logger.append_keys(job_id=loop["job_id"])
    settlement.settle(loop["job_id"])
    settlement.let_next_go()
    return {"job_id": loop["job_id"]}

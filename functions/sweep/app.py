"""`sweep`: runs the reconciler, which moves on what stopped halfway."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.observability import logger, metrics

sweep = bootstrap.from_environment().sweep


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once; the schedule calls every minute."""
    return {"due": sweep.run()}

"""`sweep`: moves on what stopped halfway, and ingests objects whose event never came."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.observability import logger, metrics

application = bootstrap.from_environment()
sweep, audit = application.sweep, application.audit


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once; the schedule calls every minute."""
    try:
        return {"due": sweep.run()}
    finally:
        audit.run()

"""`sweep`: finds what stopped half-way (held, lost, timed out, alone) and moves it on."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.observability import logger
from retake.sweeping import Sweeping

sweeping = Sweeping(parts.jobs, parts.answers, parts.settlement(), parts.queue(), parts.runs(), parts.clock)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once; the schedule calls every minute."""
    return {"due": sweeping.sweep()}

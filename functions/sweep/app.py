"""`sweep`: finds what stopped half-way (held, lost, timed out, alone) and moves it on."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.observability import logger, metrics
from retake.recovery import Recovery
from retake.sweeping import Sweeping

segmind = parts.segmind()
settlement = parts.settlement()
recovery = Recovery(parts.jobs, parts.answers, settlement, segmind, parts.gate, parts.queue(), parts.clock)
notices = parts.notices()
sweeping = Sweeping(parts.jobs, parts.answers, settlement, parts.queue(), parts.runs(), recovery, notices, parts.gate, parts.clock)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once; the schedule calls every minute."""
    return {"due": sweeping.sweep()}

"""`sweep`: finds what stopped half-way (held, lost, timed out, alone) and moves it on."""

from typing import Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import parts
from retake.adapters.secret import ApiKey
from retake.adapters.segmind import Segmind
from retake.observability import logger, metrics
from retake.recovery import Recovery
from retake.sweeping import Sweeping

settings = parts.settings
key = ApiKey(SecretsProvider(boto3_client=parts.client("secretsmanager")), settings.secret_id)
segmind = Segmind(settings.segmind_base_url, settings.segmind_history_url, key)
settlement = parts.settlement()
recovery = Recovery(parts.jobs, parts.answers, settlement, segmind, parts.gate, parts.queue(), parts.clock)
sweeping = Sweeping(parts.jobs, parts.answers, settlement, parts.queue(), parts.runs(), recovery, parts.gate, parts.clock)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once; the schedule calls every minute."""
    return {"due": sweeping.sweep()}

"""The parts every function is made of, wired once while the function initialises."""

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from .adapters.jobs import JobsTable
from .adapters.messages import DropQueue, EventBus, NoticeQueue, Runs, Topic
from .adapters.storage import OutputBucket
from .answers import Answers
from .gatekeeper import Gatekeeper
from .notices import Notices
from .rules.gate import Limits
from .settings import Settings
from .settlement import Settlement

if TYPE_CHECKING:
    from .adapters.segmind import Segmind

_RETRIES = {"mode": "standard", "total_max_attempts": 5}
_CONFIG = Config(connect_timeout=3, read_timeout=15, retries=_RETRIES)
# For what is not worth waiting for, because the next minute brings another try.
_IMPATIENT = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
# An unseekable body of known length goes out in one pass, on http and https alike, only without a checksum trailer.
STREAMING = Config(
    connect_timeout=3,
    read_timeout=60,
    retries=_RETRIES,
    signature_version="s3v4",
    s3={"payload_signing_enabled": False},
    request_checksum_calculation="when_required",
)


def client(service: str, config: Config = _CONFIG, **options: Any) -> Any:
    """Make a boto3 client with time-outs and bounded retries."""
    return boto3.client(service, config=config, **options)


class Later:
    """A client that is made when it is first used: for services that a function seldom needs."""

    def __init__(self, service: str, config: Config = _CONFIG) -> None:
        self._service, self._config = service, config

    def __getattr__(self, name: str) -> Any:
        """Give what the client has; it is made when the first of it is asked for."""
        return getattr(self._client, name)

    def make(self) -> None:
        """Make it now: for a function that uses it in every call, while it initialises and has all of a CPU."""
        self._client  # noqa: B018 - it is kept

    @cached_property
    def _client(self) -> Any:
        return client(self._service, self._config)


settings = Settings.from_environment()
clock = time.time
s3 = Later("s3", STREAMING)
jobs = JobsTable(boto3.resource("dynamodb", config=_CONFIG).Table(settings.table), clock)
output = OutputBucket(s3, settings.output_bucket)
answers = Answers(jobs, output)
gate = Gatekeeper(jobs, Limits(settings.requests_per_minute, settings.daily_budget_usd), clock)


def settlement() -> Settlement:
    """Make what ends jobs; only for functions that may put events and send messages."""
    return Settlement(jobs, answers, EventBus(Later("events")), queue(), gate, clock)


def queue() -> DropQueue:
    """Make the drop queue's sender."""
    return DropQueue(Later("sqs"), settings.drop_queue_url)


def runs() -> Runs:
    """Make what starts wait-loops."""
    return Runs(Later("stepfunctions"), settings.state_machine_arn)


def notices() -> Notices:
    """Make what mails people."""
    waiting = NoticeQueue(Later("sqs", _IMPATIENT), settings.notice_queue_url)
    return Notices(jobs, waiting, Topic(Later("sns", _IMPATIENT), settings.notices_topic_arn), settings.notice_minutes, clock)


def segmind() -> "Segmind":
    """Make the client for Segmind; imported here, because functions that do not ask Segmind need no HTTP client."""
    from .adapters.secret import ApiKey
    from .adapters.segmind import Segmind

    key = ApiKey(Later("secretsmanager"), settings.secret_id)
    return Segmind(settings.segmind_base_url, settings.segmind_history_url, key)

"""The boto3 clients of the functions: bounded retries and time-outs, created when first used."""

from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

_RETRIES = {"mode": "standard", "total_max_attempts": 5}
_DEFAULT = Config(connect_timeout=3, read_timeout=15, retries=_RETRIES)
# For what is not worth waiting for, because the next minute brings another try.
_IMPATIENT = Config(
    connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2}
)
# Every address of S3 names the Region. By default, a signed URL names the global host: while a
# bucket is new, that redirects to the Region, where the signature isn't valid.
REGIONAL_S3 = {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"}
SIGNING = Config(signature_version="s3v4", s3=REGIONAL_S3)
# An unseekable body of known length is sent in one pass only without a checksum trailer.
_STREAMING = Config(
    connect_timeout=3,
    read_timeout=60,
    retries=_RETRIES,
    signature_version="s3v4",
    s3={**REGIONAL_S3, "payload_signing_enabled": False},
    request_checksum_calculation="when_required",
)


class LazyClient:
    """A boto3 client that is created when it is first used: some functions seldom need it."""

    def __init__(self, service: str, config: Config) -> None:
        self._service, self._config = service, config

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the client."""
        return getattr(self._client, name)

    def create(self) -> None:
        """Create the client now, while the function initializes and has a whole CPU."""
        self._client  # noqa: B018 - it is cached

    @cached_property
    def _client(self) -> Any:
        return boto3.client(self._service, config=self._config)


class Clients:
    """The clients of one function; each is created at most once."""

    def __init__(self) -> None:
        self.s3 = LazyClient("s3", _STREAMING)
        self.sts = LazyClient("sts", _DEFAULT)
        self.sqs = LazyClient("sqs", _DEFAULT)
        self.events = LazyClient("events", _DEFAULT)
        self.step_functions = LazyClient("stepfunctions", _DEFAULT)
        self.secrets = LazyClient("secretsmanager", _DEFAULT)
        self.notification_sqs = LazyClient("sqs", _IMPATIENT)
        self.notification_sns = LazyClient("sns", _IMPATIENT)

    def table(self, name: str) -> Any:
        """Return a DynamoDB table."""
        return boto3.resource("dynamodb", config=_DEFAULT).Table(name)

"""The product's own clients in a Region of AWS, and the requests that they would send there.

Nothing is sent: botocore hands over each request when it is signed and complete, and gets a canned
response.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from retake.aws.clients import Clients
from retake.bootstrap import Application
from retake.settings import Settings

REGIONS = ("us-east-1", "eu-central-1", "ap-southeast-5")
ACCOUNT = "123456789012"
INPUT, OUTPUT = "retake-input-1a2b", "retake-output-1a2b"
STAGING = "retake-staging-1a2b"
TOKEN = "a-session-token"  # noqa: S105 - of nobody
_LIST = (
    "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
)
_CREDENTIALS = (
    "<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
    f"<SessionToken>{TOKEN}</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>"
    "</Credentials>"
)
_BODIES = {
    "ListObjectsV2": _LIST,
    "CreateMultipartUpload": "<X><UploadId>u</UploadId></X>",
    "CompleteMultipartUpload": "<X><ETag>&quot;e&quot;</ETag></X>",
    "CopyObject": "<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>",
    "Query": '{"Items": [], "Count": 0}',
    "BatchGetItem": '{"Responses": {}, "UnprocessedKeys": {}}',
    "PutEvents": '{"FailedEntryCount": 0, "Entries": []}',
    "DescribeExecution": '{"status": "RUNNING"}',
    "GetSecretValue": '{"SecretString": "SG_key"}',
    "AssumeRole": f"<X><AssumeRoleResult>{_CREDENTIALS}</AssumeRoleResult></X>",
    "Publish": "<X><PublishResult><MessageId>m</MessageId></PublishResult></X>",
}
_OBJECT_HEADERS = {
    "ETag": '"e"',
    "Last-Modified": "Mon, 02 Nov 2026 08:00:00 GMT",
    "Content-Length": "0",
}


@dataclass(frozen=True)
class Sent:
    """A request as it would be sent.

    Attributes:
        method: the HTTP method.
        url: its URL.
        headers: by their names in lower case.
        body: what follows the headers.
    """

    method: str
    url: SplitResult
    headers: Mapping[str, str]
    body: Any

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.url.query, keep_blank_values=True))

    @property
    def path(self) -> str:
        return unquote(self.url.path)

    @property
    def signed_headers(self) -> set[str]:
        """Return the names of the headers that the signature covers."""
        signed = self.headers["authorization"].partition("SignedHeaders=")[2]
        return set(signed.partition(",")[0].split(";"))

    @property
    def scope(self) -> list[str]:
        """Return the Region and the service that the signature is for."""
        credential = self.headers["authorization"].partition("Credential=")[2]
        return credential.split(",")[0].split("/")[2:4]


class Wire:
    """The application of a function in one Region.

    Attributes:
        region: the Region.
        app: the application.
        sent: the last request of each operation.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self.sent: dict[str, Sent] = {}
        clients = Clients()
        settings = Settings(
            stack_id=f"arn:aws:cloudformation:{region}:{ACCOUNT}:stack/retake/1",
            jobs_table="jobs",
            input_bucket=INPUT,
            staging_bucket=STAGING,
            output_bucket=OUTPUT,
            drop_queue_url=f"https://sqs.{region}.amazonaws.com/{ACCOUNT}/drops",
            notification_queue_url=f"https://sqs.{region}.amazonaws.com/{ACCOUNT}/notifications",
            notification_topic_arn=f"arn:aws:sns:{region}:{ACCOUNT}:notifications",
            state_machine_arn=f"arn:aws:states:{region}:{ACCOUNT}:stateMachine:wait-loop",
            signer_role_arn=f"arn:aws:iam::{ACCOUNT}:role/retake-signer",
            segmind_secret_arn=f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:segmind",
        )
        self.app = Application(settings=settings, clients=clients, clock=lambda: 1_800_000_000.0)
        for client in [*vars(clients).values(), self.app.table.meta.client]:
            client.meta.events.register_first("before-send", self._capture)

    def _capture(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.rpartition(".")[2]
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        sent_body = request.body
        if isinstance(sent_body, bytearray):
            sent_body = bytes(sent_body)  # it is used again for the next part
        self.sent[operation] = Sent(request.method, urlsplit(request.url), headers, sent_body)
        body = _BODIES.get(operation, "" if ".s3." in event_name else "{}")
        return AWSResponse(request.url, 200, _OBJECT_HEADERS, _Raw(body.encode()))


class _Raw(io.BytesIO):
    """The body of a response, as urllib3 gives it."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


@contextmanager
def in_region(region: str) -> Iterator[None]:
    """Set the environment variables that Lambda sets, and no others of AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            patch.setenv(name, region)
        patch.setenv("AWS_ACCESS_KEY_ID", "ASIAFUNCTION")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        patch.setenv("AWS_SESSION_TOKEN", TOKEN)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield

"""Each AWS call of the functions, as it would reach the real endpoint.

To run these tests against the oldest boto3, see `test_minimum.py`.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from retake.aws.messaging import NotificationQueue, NotificationTopic
from retake.aws.secrets import ApiKey
from retake.bootstrap import Application
from retake.domain.input_files import InputFile
from retake.domain.job import FollowUpQueue, Job, State
from retake.domain.poll_schedule import PollSchedule
from retake.domain.wait_loop import WaitLoop

from .capture import INPUT, OUTPUT, REGIONS, STAGING, TOKEN, Sent, Wire, in_region

KEY = "shoot/my clip.mp4"
CLIP = InputFile(KEY, "e", 1000, datetime(2026, 11, 2, tzinfo=UTC), "v1")
JOB = Job(
    id="j",
    state=State.CLAIMED,
    bucket=INPUT,
    key=KEY,
    drop_version="v1",
    clip=CLIP,
    entered={State.CLAIMED: datetime(2026, 11, 2, tzinfo=UTC)},
)
PAID_JOB = replace(JOB, state=State.DELIVERED, cost_usd=0.6)
LOOP = WaitLoop(job_id="j", run=0, schedule=PollSchedule((120,)))
VIDEO_BYTES = 5_000_000
CREATE_ONLY = {"if-none-match": "*"}
MP4 = {"content-type": "video/mp4"}


class Video:
    """A body that can be read once, and only forward.

    Parameters:
        broken: whether it cannot be read.
    """

    def __init__(self, *, broken: bool = False) -> None:
        self._body, self._broken = io.BytesIO(bytes(1000)), broken

    def read(self, size: int = -1, /) -> bytes:
        if self._broken:
            raise RuntimeError
        return self._body.read(size)


def put_video(app: Application, length: int | None, replaces: str | None, **body: bool) -> None:
    metadata = {"job-id": "j"}
    with suppress(RuntimeError):
        app.output_bucket.put_video(
            KEY, Video(**body), length=length, metadata=metadata, replaces=replaces
        )


def notification_queue(app: Application) -> NotificationQueue:
    url = app.settings.notification_queue_url
    return NotificationQueue(sqs=app.clients.notification_sqs, url=url)


def notification_topic(app: Application) -> NotificationTopic:
    arn = app.settings.notification_topic_arn
    return NotificationTopic(sns=app.clients.notification_sns, arn=arn)


def api_key(app: Application) -> ApiKey:
    return ApiKey(client=app.clients.secrets, secret_arn=app.settings.segmind_secret_arn)


@dataclass(frozen=True)
class Call:
    """A call of the product, and what it has to look like.

    Attributes:
        operation: the operation of the service.
        act: makes the call, with others maybe.
        where: the service, or the bucket.
        request: method and path.
        query: what is in the query, at least.
        headers: what is in the headers, at least.
    """

    operation: str
    act: Callable[[Application], object]
    where: str
    request: str = "POST /"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation} {' '.join(self.headers)}".strip()


CALLS = [
    Call("HeadObject", lambda app: app.input_bucket.head(KEY), INPUT, f"HEAD /{KEY}"),
    Call("GetObject", lambda app: app.input_bucket.open("a.json", 9), INPUT, "GET /a.json"),
    Call(
        "GetObject",
        lambda app: app.input_bucket.read(CLIP, 0, 10),
        INPUT,
        f"GET /{KEY}",
        headers={"range": "bytes=0-9", "if-match": '"e"'},
    ),
    Call(
        "ListObjectsV2",
        lambda app: app.input_bucket.siblings("shoot/clip.mp4"),
        INPUT,
        "GET /",
        query={"list-type": "2", "prefix": "shoot/clip."},
    ),
    Call(
        "ListObjectsV2",
        lambda app: app.input_bucket.list_after("shoot/a", 1000),
        INPUT,
        "GET /",
        query={"list-type": "2", "start-after": "shoot/a", "max-keys": "1000"},
    ),
    Call(
        "CopyObject",
        lambda app: app.staging_bucket.copy("prepared/p.mp4", "sent/j-0.mp4"),
        STAGING,
        "PUT /sent/j-0.mp4",
        headers={"x-amz-copy-source": f"{STAGING}/prepared/p.mp4"},
    ),
    Call(
        "PutObject",
        lambda app: put_video(app, VIDEO_BYTES, None),
        OUTPUT,
        f"PUT /{KEY}",
        headers={
            "content-length": str(VIDEO_BYTES),
            "x-amz-meta-job-id": "j",
            **MP4,
            **CREATE_ONLY,
        },
    ),
    Call(
        "PutObject",
        lambda app: put_video(app, VIDEO_BYTES, '"old"'),
        OUTPUT,
        f"PUT /{KEY}",
        headers={"content-length": str(VIDEO_BYTES), "if-match": '"old"'},
    ),
    Call(
        "PutObject",
        lambda app: app.output_bucket.put_status("a.job.json", {}),
        OUTPUT,
        "PUT /a.job.json",
        headers={"content-type": "application/json", "cache-control": "no-store"},
    ),
    Call(
        "CreateMultipartUpload",
        lambda app: put_video(app, None, None),
        OUTPUT,
        f"POST /{KEY}",
        query={"uploads": ""},
        headers={"x-amz-meta-job-id": "j", **MP4},
    ),
    Call(
        "UploadPart",
        lambda app: put_video(app, None, None),
        OUTPUT,
        f"PUT /{KEY}",
        query={"partNumber": "1", "uploadId": "u"},
        headers={"content-length": "1000"},
    ),
    Call(
        "CompleteMultipartUpload",
        lambda app: put_video(app, None, None),
        OUTPUT,
        f"POST /{KEY}",
        query={"uploadId": "u"},
        headers=CREATE_ONLY,
    ),
    Call(
        "CompleteMultipartUpload",
        lambda app: put_video(app, None, '"old"'),
        OUTPUT,
        f"POST /{KEY}",
        query={"uploadId": "u"},
        headers={"if-match": '"old"'},
    ),
    Call(
        "AbortMultipartUpload",
        lambda app: put_video(app, None, None, broken=True),
        OUTPUT,
        f"DELETE /{KEY}",
        query={"uploadId": "u"},
    ),
    Call("DeleteObject", lambda app: app.output_bucket.remove(KEY), OUTPUT, f"DELETE /{KEY}"),
    Call("GetItem", lambda app: app.jobs.get("j"), "dynamodb"),
    Call("PutItem", lambda app: app.jobs.create(JOB), "dynamodb"),
    Call("UpdateItem", lambda app: app.jobs.update(JOB, reason="x"), "dynamodb"),
    Call("TransactWriteItems", lambda app: app.jobs.settle(PAID_JOB), "dynamodb"),
    Call("DeleteItem", lambda app: app.records.remove("a.json"), "dynamodb"),
    Call("Query", lambda app: app.follow_ups.due(0, 10), "dynamodb"),
    Call("Query", lambda app: app.follow_ups.count(FollowUpQueue.DUE, 0), "dynamodb"),
    Call("BatchGetItem", lambda app: app.jobs.get_many(["j"]), "dynamodb"),
    Call("SendMessage", lambda app: app.queue.send_job("j"), "sqs"),
    Call("ReceiveMessage", lambda app: notification_queue(app).receive(1), "sqs"),
    Call("DeleteMessageBatch", lambda app: notification_queue(app).delete(["r"]), "sqs"),
    Call("Publish", lambda app: notification_topic(app).publish("s", "b"), "sns"),
    Call("PutEvents", lambda app: app.events.put("Delivered", {}), "events"),
    Call("StartExecution", lambda app: app.executions.start(LOOP), "states"),
    Call("DescribeExecution", lambda app: app.executions.is_running("j", 0), "states"),
    Call("GetSecretValue", lambda app: api_key(app).get(), "secretsmanager"),
    Call("AssumeRole", lambda app: app.signer.session("j"), "sts"),
]


@pytest.fixture(scope="module", params=REGIONS)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """The functions' clients in a Region."""
    with in_region(request.param):
        yield Wire(request.param)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_call_reaches_the_regional_endpoint_signed_and_framed_plainly(
    wire: Wire, call: Call
) -> None:
    wire.sent.clear()
    call.act(wire.app)
    sent = wire.sent[call.operation]

    check_endpoint(wire, call, sent)
    assert f"{sent.method} {sent.path}" == call.request
    assert sent.query.items() >= call.query.items()
    assert sent.headers.items() >= call.headers.items()
    check_signature(sent, call.headers)
    check_framing(sent)


def check_endpoint(wire: Wire, call: Call, sent: Sent) -> None:
    """Check that a request goes to its service, or its bucket, in the Region."""
    service = "s3" if call.where in (INPUT, OUTPUT, STAGING) else call.where
    host = f"{service}.{wire.region}.amazonaws.com"
    endpoints = {(f"{call.where}.{host}" if service == "s3" else host, wire.region)}
    if service == "sts":
        # Before 1.40, boto3 calls the global endpoint for Regions that are enabled by default. The
        # sessions that it grants are valid there.
        endpoints.add(("sts.amazonaws.com", "us-east-1"))
    assert sent.url.scheme == "https"
    assert (sent.url.netloc, sent.scope[0]) in endpoints
    assert sent.scope[1] == service


def check_signature(sent: Sent, headers: Mapping[str, str]) -> None:
    """Check that what decides about the effect of a request is signed."""
    assert sent.headers["x-amz-security-token"] == TOKEN
    decisive = {"host", *headers, *(name for name in sent.headers if name.startswith("x-amz-"))}
    # A length that botocore finds out itself is stated after the request is signed.
    assert sent.signed_headers >= decisive - {"content-length"}


def check_framing(sent: Sent) -> None:
    """Check that a body is sent as it is, once, and that its length is stated."""
    for name in ("transfer-encoding", "content-encoding", "x-amz-trailer"):
        assert name not in sent.headers
    assert not [name for name in sent.headers if name.startswith("x-amz-checksum-crc")]
    if sent.scope[1] == "s3":
        assert sent.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    if isinstance(sent.body, bytes | str):
        assert int(sent.headers["content-length"]) == len(sent.body)
    if sent.method == "PUT" and sent.body and "partNumber" not in sent.query:
        assert int(sent.headers["content-length"]) > 0
        # A conditional write that S3 rejects needs no body.
        assert sent.headers["expect"] == "100-continue"


def test_a_video_is_sent_from_its_own_stream(wire: Wire) -> None:
    put_video(wire.app, VIDEO_BYTES, None)
    body: Any = wire.sent["PutObject"].body
    assert isinstance(body, Video), "nothing reads it ahead, and nothing keeps it"

"""A result is copied in one pass; a broken copy is retried, and a file that is gone is lost."""

import functools
import hashlib
import io
import random
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from retake.aws.s3 import OutputBucket, UploadBrokenError
from retake.domain.job import State
from retake.domain.limits import FILE_LIFETIME_SECONDS
from retake.domain.wait_loop import NextStep, WaitLoop
from retake.segmind.download import ResultFiles, ResultUnavailableError
from tests.support.server import Request, Server
from tests.support.stand_ins import REGION, run_once
from tests.support.world import World

VIDEO = b"\0\0\0\x18ftypisom" + b"video" * 100
PART_BYTES = 2**23


class FakeResultFiles:
    """Result files in memory; `during` runs once, when a file is opened.

    Parameters:
        length: the length that is stated, if it is known.
        error: raised instead of opening a file.
    """

    def __init__(
        self,
        length: int | None = len(VIDEO),
        error: ResultUnavailableError | None = None,
    ) -> None:
        self.length, self._error = length, error
        self.received, self.failure = len(VIDEO), None
        self.during: Callable[[], object] = lambda: None

    def open(self, url: str) -> "FakeResultFiles":
        if self._error:
            raise self._error
        run_once(self)
        self._body = io.BytesIO(VIDEO)
        return self

    def read(self, size: int = -1, /) -> bytes:
        return self._body.read(size)

    def close(self) -> None: ...


class BreakingResultFiles:
    """Result files whose downloads break for good after some reads."""

    def __init__(self, reads: int) -> None:
        self._reads, self.length, self.received = reads, 100_000, 0
        self.failure: ResultUnavailableError | None = None

    def open(self, url: str) -> "BreakingResultFiles":
        return self

    def read(self, size: int = -1, /) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            self.failure = ResultUnavailableError("the download broke 6 times")
            raise self.failure
        return b"x" * 1000

    def close(self) -> None: ...


def delivering(world: World, job_id: str = "j1") -> str:
    """Bring a job to DELIVERING."""
    url = "https://images.segmind.com/r.mp4"
    world.advance(world.rendering(job_id), State.DELIVERING, result_url=url)
    return job_id


def deliver(world: World, files: Any, job_id: str = "j1") -> WaitLoop:
    """Deliver a job's result once."""
    loop: WaitLoop = world.application(result_files=files).deliverer.deliver(world.loop(job_id))
    return loop


def metadata_of(world: World, key: str) -> dict[str, str]:
    return dict(world.s3.head_object(Bucket="output", Key=key)["Metadata"])


@pytest.mark.parametrize("length", [len(VIDEO), None])
def test_a_result_gets_the_name_of_its_clip_and_metadata(world: World, length: int | None) -> None:
    delivering(world)
    assert deliver(world, FakeResultFiles(length)).next_step is NextStep.SETTLE
    assert world.read("clip.mp4") == VIDEO
    assert metadata_of(world, "clip.mp4") == {
        "job-id": "j1",
        "request-id": "r-1",
        "mode": "adhere_1",
    }
    assert world.state() is State.DELIVERED
    assert world.job().result == "s3://output/clip.mp4"
    assert world.job().result_bytes == len(VIDEO)


@pytest.mark.parametrize("length", [len(VIDEO), None])
def test_a_result_that_is_overtaken_during_its_download_gets_a_name_of_its_own(
    world: World, length: int | None
) -> None:
    files = FakeResultFiles(length)
    delivering(world, "first000")

    def overtake() -> None:
        delivering(world, "second00")
        deliver(world, FakeResultFiles(), "second00")

    files.during = overtake
    deliver(world, files, "first000")
    assert metadata_of(world, "clip.mp4")["job-id"] == "second00"
    assert metadata_of(world, "clip.first000.mp4")["job-id"] == "first000"


def test_delivering_twice_changes_nothing(world: World) -> None:
    delivering(world)
    for _ in range(2):
        assert deliver(world, FakeResultFiles()).next_step is NextStep.SETTLE


def test_an_unavailable_result_is_retried_with_growing_waits(world: World) -> None:
    delivering(world)
    unavailable = FakeResultFiles(error=ResultUnavailableError("HTTP 503", 503))
    waits = [deliver(world, unavailable).wait_seconds for _ in range(7)]
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    assert world.job().delivery_attempts == 7


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize(("late", "state"), [(0, State.DELIVERING), (1, State.LOST)])
def test_a_file_that_is_gone_after_its_lifetime_is_lost(
    world: World, status: int, late: int, state: State
) -> None:
    delivering(world)
    world.clock.now += FILE_LIFETIME_SECONDS + late
    deliver(world, FakeResultFiles(error=ResultUnavailableError(f"HTTP {status}", status)))
    assert world.state() is state


@pytest.mark.parametrize(("late", "state"), [(0, State.DELIVERING), (1, State.LOST)])
def test_a_file_that_could_never_be_fetched_is_retried_for_two_lifetimes(
    world: World, late: int, state: State
) -> None:
    delivering(world)
    world.clock.now += 2 * FILE_LIFETIME_SECONDS + late
    error = ResultUnavailableError("ConnectError: inside is not a public address")
    deliver(world, FakeResultFiles(error=error))
    assert world.state() is state


def test_a_slow_delivery_counts_although_a_sweep_follows_up_its_job_meanwhile(
    world: World,
) -> None:
    files = FakeResultFiles()
    delivering(world)

    def sweep_later() -> None:
        world.clock.now += 600
        world.sweep()

    files.during = sweep_later
    deliver(world, files)
    assert world.state() is State.DELIVERED


def test_a_download_of_unknown_length_that_ends_early_is_not_delivered(
    world: World, server: Server
) -> None:
    payload = 100_000
    header = b"\0\0\0\x18ftypisom" + b"\0" * 12
    video = header + payload.to_bytes(4) + b"mdat" + b"x" * (payload - 8)

    def cut_off(request: Request) -> None:
        request.close_connection = True
        head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nConnection: close\r\n\r\n"
        request.connection.sendall(head + video[:40_000])

    server.responses = [cut_off] * 20
    world.advance(world.rendering(), State.DELIVERING, result_url=f"{server.url}/r.mp4")
    loop = deliver(world, ResultFiles(base_url=server.url))
    assert loop.next_step is NextStep.WAIT
    assert world.state() is State.DELIVERING
    assert len(server.requests) >= 2
    assert world.read("clip.mp4") is None


# ─── Uploads ──────────────────────────────────────────────────────────────────────────────────


class _S3Handler(BaseHTTPRequestHandler):
    """S3, as far as one upload needs it."""

    protocol_version = "HTTP/1.1"
    faults: ClassVar[list[int]] = []  # statuses of the next responses; 0 resets the connection

    def do_PUT(self) -> None:
        if self.faults:
            self._fail(self.faults.pop(0))
            return
        left = int(self.headers["content-length"])
        while left:
            chunk = self.rfile.read1(left)
            if not chunk:
                break
            left -= len(chunk)
        self.close_connection = bool(left)
        if not left:
            self.send_response(200)
            self.send_header("ETag", '"e"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _fail(self, status: int) -> None:
        self.rfile.read1(1000)
        self.close_connection = True
        if status:
            self.send_error(status)
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def http_bucket() -> Iterator[OutputBucket]:
    """A bucket over real HTTP: moto replaces the very part of botocore that matters here."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _S3Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        region_name=REGION,
        aws_access_key_id="a",
        aws_secret_access_key="s",  # noqa: S106
        config=Config(
            signature_version="s3v4",
            s3={"payload_signing_enabled": False},
            request_checksum_calculation="when_required",
            retries={"mode": "standard", "total_max_attempts": 2},
            proxies={},
        ),
    )
    yield OutputBucket(s3=s3, name="output")
    server.shutdown()
    server.server_close()


class HttpVideos(OutputBucket):
    """An output bucket whose videos go over real HTTP; everything else stays in moto."""

    def __init__(self, world: World, http_bucket: OutputBucket) -> None:
        super().__init__(s3=world.s3, name="output")
        self.put_video = http_bucket.put_video  # type: ignore[method-assign]


class PartsOnly:
    """Accepts a multipart upload; keeps only the hash of its bytes and the sizes of its parts."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.sizes: list[int] = []

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "u"}

    def upload_part(self, Body: bytearray, **_: Any) -> dict[str, str]:  # noqa: N803
        self.hash.update(Body)
        self.sizes.append(len(Body))
        return {"ETag": str(len(self.sizes))}

    def complete_multipart_upload(
        self,
        MultipartUpload: dict[str, list[Any]],  # noqa: N803
        **_: Any,
    ) -> dict[str, str]:
        assert len(MultipartUpload["Parts"]) == len(self.sizes)
        return {"ETag": '"e"'}


def test_a_body_that_can_be_read_only_once_is_uploaded_in_one_pass(
    http_bucket: OutputBucket,
) -> None:
    body: Any = io.BufferedReader(io.BytesIO(VIDEO))  # type: ignore[arg-type]
    etag = http_bucket.put_video("k", body, length=len(VIDEO), metadata={}, replaces=None)
    assert etag == '"e"'


@pytest.mark.parametrize("size", [1, 3 * PART_BYTES, 3 * PART_BYTES + 1])
def test_a_body_of_unknown_length_needs_no_more_memory_than_one_part(size: int) -> None:
    content, s3 = random.Random(size).randbytes(size), PartsOnly()
    body: Any = io.BytesIO(content)
    body.read = functools.partial(lambda read, most: read(min(most, 65_536)), body.read)
    bucket = OutputBucket(s3=s3, name="output")
    tracemalloc.start()
    try:
        assert bucket.put_video("k", body, length=None, metadata={}, replaces=None) == '"e"'
        assert tracemalloc.get_traced_memory()[1] < 9.5 * 2**20
    finally:
        tracemalloc.stop()
    assert s3.hash.digest() == hashlib.sha256(content).digest()
    assert sum(s3.sizes) == size
    assert set(s3.sizes[:-1]) <= {PART_BYTES}


def test_a_download_that_breaks_for_good_during_the_upload_is_retried_later(
    world: World, http_bucket: OutputBucket
) -> None:
    """botocore wraps and retries what the body raises."""
    delivering(world)
    app = world.application(
        result_files=BreakingResultFiles(reads=3), output_bucket=HttpVideos(world, http_bucket)
    )
    assert app.deliverer.deliver(world.loop()).next_step is NextStep.WAIT
    assert "copied yet: the download broke 6 times" in (world.job().reason or "")


@pytest.mark.parametrize("fault", [0, 503])
def test_an_upload_that_breaks_off_is_retried_with_the_reason_on_the_job(
    world: World, http_bucket: OutputBucket, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """A stream cannot be rewound, so boto3 cannot repeat the upload itself."""
    delivering(world)
    world.clock.now += 20 * 86400  # the file is there, so it is not lost, however late it is
    monkeypatch.setattr(_S3Handler, "faults", [fault])
    bucket = HttpVideos(world, http_bucket)
    app = world.application(result_files=FakeResultFiles(), output_bucket=bucket)
    loop = app.deliverer.deliver(world.loop())
    assert (loop.next_step, loop.wait_seconds) == (NextStep.WAIT, 30)
    assert "the upload to S3 broke off" in (world.job().reason or "")
    assert world.job().delivery_attempts == 1
    assert app.deliverer.deliver(loop).next_step is NextStep.SETTLE
    assert world.state() is State.DELIVERED


@pytest.mark.parametrize(("status", "error"), [(503, UploadBrokenError), (403, ClientError)])
def test_s3_can_ask_to_slow_down_but_not_to_stay_away(status: int, error: type[Exception]) -> None:
    class Unwilling(PartsOnly):
        aborted = 0

        def upload_part(self, **_: Any) -> dict[str, str]:
            response: Any = {
                "Error": {"Code": "SlowDown"},
                "ResponseMetadata": {"HTTPStatusCode": status},
            }
            raise ClientError(response, "UploadPart")

        def abort_multipart_upload(self, **_: Any) -> None:
            self.aborted += 1

    s3 = Unwilling()
    bucket = OutputBucket(s3=s3, name="output")
    with pytest.raises(error):
        bucket.put_video("k", io.BytesIO(VIDEO), length=None, metadata={}, replaces=None)
    assert s3.aborted == 1

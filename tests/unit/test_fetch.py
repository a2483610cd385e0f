"""A render is secured in one pass; a broken copy is retried, and a file that is gone is lost."""

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

from retake.aws.s3 import StagingBucket, UploadBrokenError, VideoBucket
from retake.domain.job import State
from retake.domain.limits import FILE_LIFETIME_SECONDS
from retake.domain.wait_loop import NextStep, WaitLoop
from retake.segmind.download import ResultFiles, ResultUnavailableError
from retake.services.fetch import MAX_FINISH_ATTEMPTS
from tests.support.kills import Killed, kill
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
        self.closed = 0

    def open(self, url: str) -> "FakeResultFiles":
        if self._error:
            raise self._error
        run_once(self)
        self._body = io.BytesIO(VIDEO)
        return self

    def read(self, size: int = -1, /) -> bytes:
        return self._body.read(size)

    def close(self) -> None:
        self.closed += 1


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


def fetching(world: World, job_id: str = "j1") -> str:
    """Bring a job to FETCHING."""
    url = "https://images.segmind.com/r.mp4"
    world.advance(world.rendering(job_id), State.FETCHING, result_url=url)
    return job_id


def fetch(world: World, files: Any, job_id: str = "j1") -> WaitLoop:
    """Fetch a job's render once."""
    loop: WaitLoop = world.application(result_files=files).fetcher.fetch(world.loop(job_id))
    return loop


def staged(world: World, job_id: str = "j1") -> bytes | None:
    """Read a job's render in the staging bucket, if it is there."""
    return world.read(f"renders/{job_id}.mp4", "staging")


@pytest.mark.parametrize("length", [len(VIDEO), None])
def test_a_render_is_secured_before_it_is_finished(world: World, length: int | None) -> None:
    fetching(world)
    files = FakeResultFiles(length)
    assert fetch(world, files).next_step is NextStep.FINISH
    assert (staged(world), files.closed) == (VIDEO, 1)
    assert (world.state(), world.job().finish_attempts) == (State.FINISHING, 0)


def test_a_render_that_is_secured_is_not_fetched_again(world: World) -> None:
    fetching(world)
    fetch(world, FakeResultFiles())
    gone = FakeResultFiles(error=ResultUnavailableError("HTTP 404", 404))
    world.clock.now += 2 * FILE_LIFETIME_SECONDS
    assert fetch(world, gone).next_step is NextStep.FINISH
    assert (world.state(), world.job().finish_attempts) == (State.FINISHING, 0)


def test_two_fetches_at_once_secure_one_render(world: World) -> None:
    fetching(world)
    files = FakeResultFiles()
    files.during = lambda: fetch(world, FakeResultFiles())
    assert fetch(world, files).next_step is NextStep.WAIT
    assert (staged(world), world.job().finish_attempts) == (VIDEO, 0)


def test_a_render_that_somebody_removed_is_fetched_again(world: World) -> None:
    fetching(world)
    fetch(world, FakeResultFiles())
    world.s3.delete_object(Bucket="staging", Key="renders/j1.mp4")
    assert fetch(world, FakeResultFiles()).next_step is NextStep.FINISH
    assert staged(world) == VIDEO


def test_a_render_that_cannot_be_finished_is_delivered_as_it_is(world: World) -> None:
    fetching(world)
    for _ in range(3):
        loop = fetch(world, FakeResultFiles())
        assert loop.next_step is NextStep.FINISH
        world.media.during = kill
        with pytest.raises(Killed):
            world.app.finisher.finish(loop)
    assert fetch(world, FakeResultFiles()).next_step is NextStep.SETTLE
    assert world.read("clip.mp4") == VIDEO
    job = world.job()
    assert (job.state, job.result_bytes) == (State.DELIVERED, len(VIDEO))
    assert "delivered as rendered: finishing it failed 3 times" in job.warnings[0]


def test_a_throttled_finish_is_no_attempt(world: World) -> None:
    fetching(world)
    for _ in range(MAX_FINISH_ATTEMPTS + 1):
        assert fetch(world, FakeResultFiles()).next_step is NextStep.FINISH


@pytest.mark.parametrize("state", [State.RENDERING, State.DELIVERED])
def test_a_job_in_another_state_is_left_alone(world: World, state: State) -> None:
    job_id = world.rendering()
    if state is State.DELIVERED:
        for later in (State.FETCHING, State.FINISHING, State.DELIVERED):
            world.advance(job_id, later)
    assert fetch(world, FakeResultFiles()).next_step is NextStep.SETTLE
    assert (world.state(), staged(world)) == (state, None)


def test_an_unavailable_result_is_retried_with_growing_waits(world: World) -> None:
    fetching(world)
    unavailable = FakeResultFiles(error=ResultUnavailableError("HTTP 503", 503))
    waits = [fetch(world, unavailable).wait_seconds for _ in range(7)]
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    assert world.job().fetch_attempts == 7
    assert "could not be copied yet: HTTP 503" in str(world.read("clip.mp4.job.json"))


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize(("late", "state"), [(0, State.FETCHING), (1, State.LOST)])
def test_a_file_that_is_gone_after_its_lifetime_is_lost(
    world: World, status: int, late: int, state: State
) -> None:
    fetching(world)
    world.clock.now += FILE_LIFETIME_SECONDS + late
    fetch(world, FakeResultFiles(error=ResultUnavailableError(f"HTTP {status}", status)))
    assert world.state() is state


@pytest.mark.parametrize(("late", "state"), [(0, State.FETCHING), (1, State.LOST)])
def test_a_file_that_could_never_be_fetched_is_retried_for_two_lifetimes(
    world: World, late: int, state: State
) -> None:
    fetching(world)
    world.clock.now += 2 * FILE_LIFETIME_SECONDS + late
    error = ResultUnavailableError("ConnectError: inside is not a public address")
    fetch(world, FakeResultFiles(error=error))
    assert world.state() is state


def test_a_slow_download_counts_although_a_sweep_follows_up_its_job_meanwhile(
    world: World,
) -> None:
    files = FakeResultFiles()
    fetching(world)

    def sweep_later() -> None:
        world.clock.now += 600
        world.sweep()

    files.during = sweep_later
    fetch(world, files)
    assert world.state() is State.FINISHING


def test_a_download_of_unknown_length_that_ends_early_is_not_secured(
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
    world.advance(world.rendering(), State.FETCHING, result_url=f"{server.url}/r.mp4")
    loop = fetch(world, ResultFiles(base_url=server.url))
    assert loop.next_step is NextStep.WAIT
    assert world.state() is State.FETCHING
    assert len(server.requests) >= 2
    assert staged(world) is None


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
def http_bucket() -> Iterator[StagingBucket]:
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
    yield StagingBucket(s3=s3, name="staging")
    server.shutdown()
    server.server_close()


class HttpVideos(StagingBucket):
    """A staging bucket whose videos are written over real HTTP; the rest stays in memory."""

    def __init__(self, world: World, http_bucket: StagingBucket) -> None:
        super().__init__(s3=world.s3, name="staging")
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
    http_bucket: StagingBucket,
) -> None:
    body: Any = io.BufferedReader(io.BytesIO(VIDEO))  # type: ignore[arg-type]
    etag = http_bucket.put_video("k", body, length=len(VIDEO), metadata={}, replaces=None)
    assert etag == '"e"'


@pytest.mark.parametrize("size", [1, 3 * PART_BYTES, 3 * PART_BYTES + 1])
def test_a_body_of_unknown_length_needs_no_more_memory_than_one_part(size: int) -> None:
    content, s3 = random.Random(size).randbytes(size), PartsOnly()
    body: Any = io.BytesIO(content)
    body.read = functools.partial(lambda read, most: read(min(most, 65_536)), body.read)
    bucket = VideoBucket(s3=s3, name="staging")
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
    world: World, http_bucket: StagingBucket
) -> None:
    """botocore wraps and retries what the body raises."""
    fetching(world)
    app = world.application(
        result_files=BreakingResultFiles(reads=3), staging_bucket=HttpVideos(world, http_bucket)
    )
    assert app.fetcher.fetch(world.loop()).next_step is NextStep.WAIT
    assert "copied yet: the download broke 6 times" in (world.job().reason or "")


@pytest.mark.parametrize("fault", [0, 503])
def test_an_upload_that_breaks_off_is_retried_with_the_reason_on_the_job(
    world: World, http_bucket: StagingBucket, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """A stream cannot be rewound, so boto3 cannot repeat the upload itself."""
    fetching(world)
    world.clock.now += 20 * 86400  # the file is there, so it is not lost, however late it is
    monkeypatch.setattr(_S3Handler, "faults", [fault])
    bucket = HttpVideos(world, http_bucket)
    app = world.application(result_files=FakeResultFiles(), staging_bucket=bucket)
    loop = app.fetcher.fetch(world.loop())
    assert (loop.next_step, loop.wait_seconds) == (NextStep.WAIT, 30)
    assert "the upload to S3 broke off" in (world.job().reason or "")
    assert world.job().fetch_attempts == 1
    assert app.fetcher.fetch(loop).next_step is NextStep.FINISH
    assert world.state() is State.FINISHING


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
    bucket = VideoBucket(s3=s3, name="staging")
    with pytest.raises(error):
        bucket.put_video("k", io.BytesIO(VIDEO), length=None, metadata={}, replaces=None)
    assert s3.aborted == 1

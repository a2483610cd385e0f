"""One pass into the bucket; what breaks is tried again, what is gone is said to be gone."""

import functools
import hashlib
import io
import random
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config

from retake.adapters.segmind import ResultUnavailable
from retake.adapters.storage import OutputBucket
from retake.delivery import Delivery
from retake.rules.contract import FILE_LIFE
from retake.rules.states import State

from .conftest import World

FILM = b"\0\0\0\x18ftypisom" + b"film" * 100


class Files:
    """Result files in memory; `during` runs when one is opened."""

    def __init__(self, length: int | None = len(FILM), error: ResultUnavailable | None = None) -> None:
        self.length, self._error, self.at, self.failure = length, error, len(FILM), None
        self.during: Any = lambda: None

    def open(self, url: str) -> "Files":
        if self._error:
            raise self._error
        during, self.during = self.during, lambda: None
        during()
        self._body = io.BytesIO(FILM)
        return self

    def read(self, size: int = -1, /) -> bytes:
        return self._body.read(size)

    def close(self) -> None: ...


def delivering(world: World, job: str = "j1") -> str:
    world.move(world.rendering(job), State.DELIVERING, result_url="https://images.segmind.com/r.mp4")
    return job


@pytest.mark.parametrize("length", [len(FILM), None])
def test_a_result_lands_under_the_clips_name_with_its_metadata(world: World, length: int | None) -> None:
    assert world.delivery(Files(length)).deliver(world.loop(delivering(world)))["next"] == "SETTLE"
    assert world.read("clip.mp4") == FILM
    assert world.s3.head_object(Bucket="output", Key="clip.mp4")["Metadata"] == {"job-id": "j1", "request-id": "r-1", "mode": "adhere_1"}
    assert world.state() == "DELIVERED"


@pytest.mark.parametrize("length", [len(FILM), None])
def test_a_take_that_is_overtaken_while_it_downloads_goes_beside(world: World, length: int | None) -> None:
    files = Files(length)
    job = delivering(world, "first000")

    def overtaken() -> None:
        delivering(world, "second00")
        world.delivery(Files()).deliver(world.loop("second00"))

    files.during = overtaken
    world.delivery(files).deliver(world.loop(job))
    assert world.s3.head_object(Bucket="output", Key="clip.mp4")["Metadata"]["job-id"] == "second00"
    assert world.s3.head_object(Bucket="output", Key="clip.first000.mp4")["Metadata"]["job-id"] == "first000"


def test_delivering_twice_changes_nothing(world: World) -> None:
    loop = world.loop(delivering(world))
    for _ in range(2):
        assert world.delivery(Files()).deliver(loop)["next"] == "SETTLE"


def test_a_result_that_cannot_be_had_is_tried_again_with_growing_waits(world: World) -> None:
    loop = world.loop(delivering(world))
    waits = [world.delivery(Files(error=ResultUnavailable("HTTP 503", 503))).deliver(loop)["wait_seconds"] for _ in range(7)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (30, 600)


def test_a_file_that_is_gone_for_good_is_lost(world: World) -> None:
    loop = world.loop(delivering(world))
    world.clock.now += FILE_LIFE + 86400
    world.delivery(Files(error=ResultUnavailable("HTTP 404", 404))).deliver(loop)
    assert world.state() == "LOST"


@pytest.mark.parametrize(("days", "state"), [(8, "DELIVERING"), (15, "LOST")])
def test_a_file_that_never_could_be_fetched_is_not_tried_for_ever(world: World, days: int, state: str) -> None:
    loop = world.loop(delivering(world))
    world.clock.now += days * 86400
    world.delivery(Files(error=ResultUnavailable("ConnectError: inside is not a public address"))).deliver(loop)
    assert world.state() == state


class _Bucket(BaseHTTPRequestHandler):
    """S3, as far as one upload goes."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        left = int(self.headers["content-length"])
        while left and (chunk := self.rfile.read1(left)):
            left -= len(chunk)
        self.close_connection = bool(left)
        if not left:
            self.send_response(200)
            self.send_header("ETag", '"e"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[OutputBucket]:
    """A bucket over real HTTP: moto replaces the very part of botocore that matters here."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    upload = Config(
        signature_version="s3v4", s3={"payload_signing_enabled": False}, request_checksum_calculation="when_required",
        retries={"mode": "standard", "total_max_attempts": 2}, proxies={},
    )  # fmt: skip
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "s", "region_name": "eu-central-1"}
    yield OutputBucket(boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.server_port}", config=upload, **keys), "output")
    server.shutdown()
    server.server_close()


class _Breaks:
    def __init__(self, after: int) -> None:
        self._left, self.length, self.at = after, 100_000, 0
        self.failure: ResultUnavailable | None = None

    def close(self) -> None: ...

    def read(self, size: int = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            self.failure = ResultUnavailable("the download broke 6 times")
            raise self.failure
        return b"x" * 1000


def test_a_body_that_can_be_read_once_is_uploaded_in_one_pass(bucket: OutputBucket) -> None:
    assert bucket.put_video("k", io.BufferedReader(io.BytesIO(FILM)), len(FILM), {}, None) == '"e"'  # type: ignore[arg-type]


class _Parts:
    """Takes a multipart upload, and keeps no more of it than its hash and the sizes of its parts."""

    def __init__(self) -> None:
        self.hash, self.sizes = hashlib.sha256(), list[int]()

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "u"}

    def upload_part(self, Body: bytearray, **_: Any) -> dict[str, str]:  # noqa: N803
        self.hash.update(Body)
        self.sizes.append(len(Body))
        return {"ETag": str(len(self.sizes))}

    def complete_multipart_upload(self, MultipartUpload: dict[str, list[Any]], **_: Any) -> dict[str, str]:  # noqa: N803
        assert len(MultipartUpload["Parts"]) == len(self.sizes)
        return {"ETag": '"e"'}


@pytest.mark.parametrize("size", [1, 3 * 2**23, 3 * 2**23 + 1])
def test_a_body_of_unknown_length_is_no_more_than_one_part_in_memory(size: int) -> None:
    whole, s3 = random.Random(size).randbytes(size), _Parts()
    body = io.BytesIO(whole)
    body.read = functools.partial(lambda read, most: read(min(most, 65_536)), body.read)  # type: ignore[assignment]
    tracemalloc.start()
    try:
        assert OutputBucket(s3, "output").put_video("k", body, None, {}, None) == '"e"'
        assert tracemalloc.get_traced_memory()[1] < 9.5 * 2**20
    finally:
        tracemalloc.stop()
    assert (s3.hash.digest(), sum(s3.sizes)) == (hashlib.sha256(whole).digest(), size)
    assert set(s3.sizes[:-1]) <= {2**23}


def test_a_download_that_breaks_for_good_during_the_upload_is_tried_again_later(world: World, bucket: OutputBucket) -> None:
    """botocore wraps and retries what the body raises."""
    broken: Any = _Breaks(after=3)
    files: Any = type("Broken", (), {"open": lambda self, url: broken})()
    delivery = Delivery(world.jobs, world.answers, files, _Both(world, bucket), world.clock)
    assert delivery.deliver(world.loop(delivering(world)))["next"] == "WAIT"


class _Both(OutputBucket):
    """Videos go over real HTTP, the rest stays in moto."""

    def __init__(self, world: World, real: OutputBucket) -> None:
        super().__init__(world.s3, "output")
        self.put_video = real.put_video  # type: ignore[method-assign]


def test_a_slow_delivery_counts_although_a_sweep_looks_after_the_job_meanwhile(world: World) -> None:
    files = Files()
    loop = world.loop(delivering(world))

    def minutes_pass() -> None:
        world.clock.now += 600
        world.sweeping().sweep()

    files.during = minutes_pass
    world.delivery(files).deliver(loop)
    assert world.state() == "DELIVERED"

"""Stand-ins for services that cost money or are absent, with the failure modes tests need."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from retake.domain.footage import Footage
from retake.domain.refusal import Refusal
from retake.domain.wait_loop import WaitLoop
from retake.segmind.responses import Response
from retake.services.prepare import Prepared

REGION = "eu-central-1"
NOW = 1_800_000_000.0
FINISHED = b"finished: "  # what `FakeMedia` puts before a render
TIMED_OUT = Response(0, "ReadTimeout while waiting for segmind")
EMPTY_PAGE = Response(200, '{"history": []}')


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class FakeSegmind:
    """Responds as scripted; `during` runs once, while a request is in progress."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.accepted = 0
        self.submit_responses: list[Response] = []
        self.status_response = Response(200, '{"status": "PROCESSING"}')
        self.result_response = self.history_response = self.status_response
        self.key_reads, self.key_was_rotated = 0, False
        self.rows_requested: list[str] = []
        self.pages: list[Response] = []
        self.pages_requested: list[tuple[int, str, str]] = []
        self.during: Callable[[], object] = lambda: None

    def new_submit(self, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def send(self, request: dict[str, Any]) -> Response:
        self.sent.append(request)
        run_once(self)
        if self.submit_responses:
            return self.submit_responses.pop(0)
        self.accepted += 1
        body = {"request_id": f"r-{self.accepted}", "status": "QUEUED"}
        return Response(200, json.dumps(body))

    def status(self, request_id: str) -> Response:
        run_once(self)
        return self.status_response

    def result(self, request_id: str) -> Response:
        return self.result_response

    def history(self, request_id: str) -> Response:
        self.rows_requested.append(request_id)
        return self.history_response

    def refresh_key(self, request: object = None) -> bool:
        self.key_reads += 1
        return self.key_was_rotated

    def history_page(self, page: int, from_date: str, to_date: str) -> Response:
        self.pages_requested.append((page, from_date, to_date))
        return self.pages[page - 1] if page <= len(self.pages) else EMPTY_PAGE


class FakeSigner:
    """Signs URLs without credentials; `during` runs once, while a session is requested."""

    def __init__(self) -> None:
        self.during: Callable[[], object] = lambda: None

    def session(self, job_id: str) -> "FakeSigner":
        run_once(self)
        return self

    def url(self, bucket: str, key: str, correlation_id: str) -> str:
        return signed(bucket, key, correlation_id)


def signed(bucket: str, key: str, correlation_id: str) -> str:
    """Return a URL as S3 signs it."""
    disposition = quote(f'inline; filename="{correlation_id}"')
    return (
        f"https://{bucket}.s3.{REGION}.amazonaws.com/{quote(key)}"
        f"?response-content-disposition={disposition}"
        "&X-Amz-Signature=ours"
    )


def run_once(stand_in: Any) -> None:
    """Run what a test wants to happen in between, once."""
    during, stand_in.during = stand_in.during, lambda: None
    during()


@dataclass
class FakeDropQueue:
    """Keeps what is sent to the drop queue."""

    keys: list[str] = field(default_factory=list)
    delayed: list[tuple[str, int]] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    def send_drop(self, bucket: str, key: str, *, delay: int = 0, page: str | None = None) -> None:
        if delay:
            self.delayed.append((key, delay))
        elif page:
            self.pages.append((key, page))
        else:
            self.keys.append(key)

    def send_job(self, job_id: str) -> None:
        self.jobs.append(job_id)


FOOTAGE = Footage(
    size=4,
    container="mp4",
    codec="h264",
    profile="High",
    pixel_format="yuv420p",
    width=1920,
    height=1080,
    frames=24,
    seconds=1.0,
    frame_rate=24.0,
)


@dataclass
class FakeMedia:
    """Prepares a clip by keeping it, and finishes a film by copying the render.

    Attributes:
        looks: what clips are, or why they are refused, by their bytes; others are `FOOTAGE`.
        warnings: of the next films.
        refusal: why the next films cannot be finished.
        prepared: the clips that were prepared, with their first frame and the most pixels.
        sounds: the sounds that films were given.
        during: runs once, before something is made.
    """

    looks: dict[bytes, Footage | Refusal] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refusal: Refusal | None = None
    prepared: list[tuple[bytes, bytes | None, int | None]] = field(default_factory=list)
    sounds: list[bytes | None] = field(default_factory=list)
    during: Callable[[], object] = lambda: None

    def prepare(
        self, clip: Path, frame: Path | None, *, short_side: int | None, max_seconds: float
    ) -> Prepared | Refusal:
        run_once(self)
        content = clip.read_bytes()
        self.prepared.append((content, frame.read_bytes() if frame else None, short_side))
        found = self.looks.get(content, FOOTAGE)
        if isinstance(found, Refusal):
            return found
        clip = clip.rename(clip.with_name("prepared.mp4"))
        sound = clip.with_suffix(".m4a")
        sound.write_bytes(b"sound of " + content)
        if frame:
            frame = frame.rename(frame.with_name("frame.jpg"))
        return Prepared(found, (), clip, frame, sound)

    def finish(
        self, render: Path, sound: Path | None, target: Path, *, footage: Footage, prompt: str
    ) -> tuple[str, ...] | Refusal:
        run_once(self)
        self.sounds.append(sound.read_bytes() if sound else None)
        if self.refusal:
            return self.refusal
        target.write_bytes(FINISHED + render.read_bytes())
        return self.warnings


@dataclass
class FakeMediaQueue:
    """Keeps what is sent to the media queue."""

    keys: list[str] = field(default_factory=list)

    def send_clip(self, bucket: str, key: str) -> None:
        self.keys.append(key)


@dataclass
class FakeExecutions:
    """Keeps what is started; a run is in progress until it is removed from `running`."""

    running: set[tuple[str, int]] = field(default_factory=set)
    started: list[WaitLoop] = field(default_factory=list)

    def start(self, loop: WaitLoop) -> None:
        self.started.append(loop)
        self.running.add((loop.job_id, loop.run))

    def is_running(self, job_id: str, run: int) -> bool:
        return (job_id, run) in self.running


@dataclass
class FakeEventBus:
    """Keeps the events; while `broken`, it rejects them."""

    published: list[tuple[str, Any]] = field(default_factory=list)
    broken: bool = False

    def put(self, name: str, detail: Any) -> None:
        if self.broken:
            raise RuntimeError("the event bus is down")
        self.published.append((name, detail))


@dataclass
class FakeEmailDigest:
    """Sends no email; while `broken`, it raises."""

    sent: int = 0
    broken: bool = False

    def send(self) -> None:
        self.sent += 1
        if self.broken:
            raise RuntimeError("SNS is down")


class AtomicTable:
    """A table whose single operations are atomic in threads, as those of DynamoDB are."""

    def __init__(self, table: Any) -> None:
        self._table, self._lock = table, Lock()

    def __getattr__(self, name: str) -> Any:
        def locked(**arguments: Any) -> Any:
            with self._lock:
                return getattr(self._table, name)(**arguments)

        return locked


class ContendedAdmission:
    """A table in which another function always changes the admission item first."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def put_item(self, Item: dict[str, Any], **options: Any) -> Any:  # noqa: N803
        if Item["pk"] == "admission":
            options["ExpressionAttributeValues"] = {":before": -1}
        return self._table.put_item(Item=Item, **options)

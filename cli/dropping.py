"""Drops what was planned: looks at what is known already, uploads the rest, and nothing twice."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event

from boto3.s3.transfer import TransferConfig

from retake.adapters.jobs import Row
from retake.adapters.storage import InputBucket
from retake.rules import drop, preset
from retake.rules.drop import Drop, File
from retake.rules.form import MAX_BYTES, Fields
from retake.rules.gate import PRICE
from retake.rules.refusal import Refusal
from retake.rules.states import RETRIED_BY_A_NEWER_DROP, State

from . import jobs
from .console import now
from .planning import Intended, There, etag, is_content_of
from .stack import Stack

AT_ONCE = 8
_IN_ONE_PIECE = TransferConfig(multipart_threshold=1 << 30, use_threads=False)  # so that the ETag is the content's own hash


@dataclass(frozen=True)
class Ready:
    """An intended job beside what the bucket and the table know of it.

    `job`, its id; `changes`, the keys that must be put, in that order; `replaces`, whether another clip must be out of the way before;
    `before`, the job's record, if it has one.
    """

    intended: Intended
    job: str
    changes: tuple[str, ...]
    replaces: bool
    before: Row | None = None

    @property
    def again(self) -> bool:
        """Tell whether the job ended without a result, and starts again when its files are dropped."""
        return self.before is not None and State(self.before["state"]) in RETRIED_BY_A_NEWER_DROP

    @property
    def price(self) -> float:
        """Tell what dropping it is booked with, in USD."""
        return PRICE if self.before is None or self.again else 0.0

    @property
    def bytes(self) -> int:
        """Tell how much of the clip must be uploaded."""
        return self.intended.clip.stat().st_size if self.intended.key in self.changes else 0

    @property
    def puts(self) -> tuple[str, ...]:
        """Name what is put: a note that is there goes again if nothing else would tell the pipeline to look."""
        return self.changes or ((self.intended.note_key,) if self.price else ())

    def is_fresh(self, row: Row) -> bool:
        """Tell whether a record is about this drop, not about what ended before it."""
        return not (self.again and self.before and row["run"] == self.before["run"])


def presets_of(stack: Stack) -> There:
    """Give what tells of the presets that are in the bucket."""
    bucket = InputBucket(stack.s3, stack.input)

    @cache
    def there(key: str) -> Fields | Refusal | None:
        found = bucket.open(key, MAX_BYTES + 1)
        return preset.parse(found[1]) if found else None

    return there


def look(stack: Stack, intended: Iterable[Intended]) -> list[Ready]:
    """See what of the intended jobs is in the bucket and in the table; changes nothing."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(lambda one: _look(stack, one), intended))
    known = jobs.by_id(stack.table, (ready.job for ready in seen))
    return [Ready(one.intended, one.job, one.changes, one.replaces, known.get(one.job)) for one in seen]


def _look(stack: Stack, one: Intended) -> Ready:
    bucket = InputBucket(stack.s3, stack.input)
    note, video = bucket.head(one.note_key), bucket.head(one.key)
    image = bucket.head(one.frame_key) if one.frame else None
    changes: list[str] = []
    if one.frame and not (image and is_content_of(image.etag, one.frame)):
        changes.append(one.frame_key)
    if not note or note.etag != _hash(one.note):
        changes.append(one.note_key)
    same = video is not None and is_content_of(video.etag, one.clip)
    # Of a set that is half old and half new the pipeline would make a job, and pay for it: the clip goes out first and comes in last.
    replaces = video is not None and len(changes) + (not same) > 1
    if replaces or not same:
        changes.append(one.key)
    frame = File(one.frame_key, image.etag if image and one.frame_key not in changes else etag(one.frame), 0, now()) if one.frame else None
    clip = File(one.key, video.etag if video and one.key not in changes else etag(one.clip), 0, now())
    return Ready(one, drop.job_id(Drop(stack.input, clip, frame=frame), one.sidecar), tuple(changes), replaces)


def upload_presets(stack: Stack, ready: Iterable[Ready]) -> None:
    """Put the presets that go along and are not in the bucket as they are here; before any clip, which would not wait for them."""
    presets = {one.intended.preset_key: one.intended.preset for one in ready if one.intended.preset is not None}
    for key, raw in presets.items():
        known = InputBucket(stack.s3, stack.input).head(key)
        if not known or known.etag != _hash(raw):
            stack.s3.put_object(Bucket=stack.input, Key=key, Body=raw, ContentType="application/json")


def upload(stack: Stack, ready: Iterable[Ready], moved: Callable[[int], None], done: Callable[[Ready], None]) -> None:
    """Put everything that has changed, some clips at once.

    `moved(bytes)` is told as the clips go, `done` with each job that is dropped whole. Ends early, with nothing half-written, when
    something cannot be put or the user interrupts; raises that.
    """
    of_clip: defaultdict[Path, list[Ready]] = defaultdict(list)
    for one in ready:
        of_clip[one.intended.clip].append(one)
    stop = Event()

    def moving(count: int) -> None:
        if stop.is_set():
            raise InterruptedError
        moved(count)

    def put_all(several: list[Ready]) -> None:
        source = None
        for one in several:
            if stop.is_set():
                return
            _put(stack, one, source, moving)
            source = one.intended.key if one.intended.key in one.changes else source
            done(one)

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for future in as_completed([pool.submit(put_all, several) for several in of_clip.values()]):
            future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _put(stack: Stack, ready: Ready, source: str | None, moved: Callable[[int], None]) -> None:
    """Put one job's files; `source` is a key that has the same clip already."""
    one, bucket = ready.intended, stack.input
    if ready.replaces:
        stack.s3.delete_object(Bucket=bucket, Key=one.key)
    for key in ready.puts:
        if key == one.note_key:
            stack.s3.put_object(Bucket=bucket, Key=key, Body=one.note, ContentType="application/json")
        elif key == one.key and source:
            stack.s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": source})
            moved(ready.bytes)
        elif key == one.key:
            about = {"ContentType": "video/mp4"}
            stack.s3.upload_file(str(one.clip), bucket, key, ExtraArgs=about, Config=_IN_ONE_PIECE, Callback=moved)
        elif one.frame:
            stack.s3.put_object(Bucket=bucket, Key=key, Body=one.frame.read_bytes())


def _hash(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()

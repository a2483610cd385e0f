"""Uploads planned drops: compares them with the bucket and the table, and uploads nothing twice."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from mimetypes import guess_type
from pathlib import Path
from threading import Event

from boto3.s3.transfer import TransferConfig

from retake.domain.input_files import InputFile
from retake.domain.intake import Candidate, Known, Refuse, Start, Wait, decide
from retake.domain.job import Job
from retake.domain.json_form import Fields
from retake.domain.limits import MAX_JSON_BYTES, MAX_KEY_BYTES
from retake.domain.prices import Estimate, Prices, Work
from retake.domain.refusal import Refusal

from .console import now
from .etags import etag_of, is_content_of, sha256_of_file
from .plan import PlannedDrop, PresetLookup, Rejection
from .stack import Stack

PARALLEL_UPLOADS = 8
# One piece, so that the ETag is the hash of the content.
_ONE_PIECE = TransferConfig(multipart_threshold=1 << 30, use_threads=False)


@dataclass(frozen=True, kw_only=True)
class ReadyDrop:
    """A planned drop, next to what the bucket and the table know about it.

    Attributes:
        planned: the local files.
        job_id: the job that they have, or get.
        decision: what the functions do once all files are in the bucket.
        changed_keys: the keys whose content is not in the bucket, in the order of the upload.
        removes_clip: whether another clip must be removed from the bucket first.
        prices: what the functions have learned.
    """

    planned: PlannedDrop
    job_id: str
    decision: Start | Known
    changed_keys: tuple[str, ...]
    removes_clip: bool
    prices: Prices

    @property
    def known_job(self) -> Job | None:
        """Return the job as it is before the drop, if it exists."""
        match self.decision:
            case Start(replaces=job) | Known(job):
                return job

    @property
    def is_retry(self) -> bool:
        """Tell whether the job ended without a result, and starts again."""
        return isinstance(self.decision, Start) and self.decision.replaces is not None

    @property
    def estimate(self) -> Estimate | None:
        """Return what it will cost; `None` if it costs nothing."""
        if not isinstance(self.decision, Start):
            return None
        found, sidecar = self.planned.found, self.planned.sidecar
        return self.prices.estimate(Work.of(found, sidecar.short_side) if found else None)

    @property
    def price_usd(self) -> float:
        """Return what is booked for the drop."""
        return self.estimate.usd if self.estimate else 0.0

    @property
    def usd_by_size(self) -> dict[str, float]:
        """Return what it would cost at each size; empty if that is not known."""
        is_known = self.estimate and self.planned.found
        return self.prices.by_size(self.planned.found) if is_known and self.planned.found else {}

    @property
    def changes_clip(self) -> bool:
        """Tell whether the clip is uploaded."""
        return self.planned.key in self.changed_keys

    @property
    def clip_bytes(self) -> int:
        """Return how much of the clip is uploaded."""
        return self.planned.clip.stat().st_size if self.changes_clip else 0

    @property
    def uploaded_keys(self) -> tuple[str, ...]:
        """Return what is uploaded.

        If everything is in the bucket, the sidecar is uploaded again: otherwise no event would
        make the functions look at the clip.
        """
        if self.changed_keys or isinstance(self.decision, Known):
            return self.changed_keys
        return (self.planned.sidecar_key,)

    def is_about_this_drop(self, job: Job) -> bool:
        """Tell whether a job is about this drop, and not about the run that ended before it."""
        before = self.known_job
        return not (self.is_retry and before and job.run == before.run)


def preset_lookup(stack: Stack) -> PresetLookup:
    """Return a lookup of the presets in the bucket; each is read once."""

    @cache
    def find(key: str) -> Fields | Refusal | None:
        found = stack.candidates.preset_for(key)
        return found.fields if found else None

    return find


def assess(stack: Stack, planned: Iterable[PlannedDrop]) -> tuple[list[ReadyDrop], list[Rejection]]:
    """Find out what of some drops is in the bucket and in the table; change nothing.

    Returns:
        What can be dropped, and what the functions would refuse.
    """
    with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
        compared = list(pool.map(lambda drop: _compare(stack, drop), planned))
    known = stack.jobs.get_many(drop.job_id for drop in compared)
    prices = stack.admission.read().prices
    ready: list[ReadyDrop] = []
    rejections: list[Rejection] = []
    for drop in compared:
        match decide(replace(drop.candidate, job=known.get(drop.job_id))):
            case Start() as start:
                found, sidecar = drop.planned.found, drop.planned.sidecar
                refusal = prices.refusal(found, sidecar, stack, drop.candidate.cap)
                if refusal:
                    rejections.append(Rejection(drop.planned.clip, refusal))
                else:
                    ready.append(drop.ready(start, prices))
            case Known() as known_content:
                ready.append(drop.ready(known_content, prices))
            case Refuse(refusal):
                rejections.append(Rejection(drop.planned.clip, refusal))
            case Wait(message):  # whatever a clip can wait for is dropped with it
                raise RuntimeError(f"{drop.planned.key} {message}")
    return ready, rejections


@dataclass(frozen=True)
class _Compared:
    """A planned drop next to what the bucket has; see `ReadyDrop`."""

    planned: PlannedDrop
    candidate: Candidate
    changed_keys: tuple[str, ...]
    removes_clip: bool

    @property
    def job_id(self) -> str:
        """Return the id of the job that the drop has, or gets."""
        return self.candidate.known_job_id or ""

    def ready(self, decision: Start | Known, prices: Prices) -> ReadyDrop:
        return ReadyDrop(
            planned=self.planned,
            job_id=self.job_id,
            decision=decision,
            changed_keys=self.changed_keys,
            removes_clip=self.removes_clip,
            prices=prices,
        )


def _compare(stack: Stack, planned: PlannedDrop) -> _Compared:
    bucket = stack.input_bucket
    clip = bucket.head(planned.key)
    sidecar = bucket.head(planned.sidecar_key)
    changed: list[str] = []
    if planned.first_frame:
        fits = len(planned.frame_key.encode()) <= MAX_KEY_BYTES
        stored = bucket.head(planned.frame_key) if fits else None
        if not _is_stored(stack, stored, planned.first_frame):
            changed.append(planned.frame_key)
    if not _has_body(stack, sidecar, planned.sidecar_body):
        changed.append(planned.sidecar_key)
    is_stored = _is_stored(stack, clip, planned.clip)
    # The functions would make a job of files that are half old and half new, and pay for it. So
    # the old clip is removed first, and the new one is uploaded last.
    removes_clip = clip is not None and len(changed) + (not is_stored) > 1
    if removes_clip or not is_stored:
        changed.append(planned.key)
    candidate = planned.candidate(
        bucket.name,
        clip_sha256=sha256_of_file(planned.clip),
        frame_sha256=sha256_of_file(planned.first_frame) if planned.first_frame else "",
        now=now(),
    )
    return _Compared(planned, candidate, tuple(changed), removes_clip)


def _is_stored(stack: Stack, stored: InputFile | None, path: Path) -> bool:
    """Tell whether an object has the content of a local file."""
    if stored is None:
        return False
    if is_content_of(stored.etag, path):
        return True
    made = stack.records.get(stored.key).preparation if stack.uses_kms else None
    of_this_version = made is not None and made.made_of.startswith(f"{stored.version_label} ")
    return bool(of_this_version and made and made.clip_sha256 == sha256_of_file(path))


def _has_body(stack: Stack, stored: InputFile | None, body: bytes) -> bool:
    """Tell whether an object has this content; with AWS KMS, its ETag does not say."""
    if stored and stack.uses_kms:
        return stack.input_bucket.read(stored, 0, MAX_JSON_BYTES + 1) == body
    return stored is not None and stored.etag == etag_of(body)


def upload_presets(stack: Stack, drops: Iterable[ReadyDrop]) -> None:
    """Upload the presets of dropped folders that have changed.

    This comes before any clip, because a clip with a sidecar does not wait for a preset.
    """
    bodies = {
        drop.planned.preset_key: drop.planned.preset_body
        for drop in drops
        if drop.planned.preset_body is not None
    }
    for key, body in bodies.items():
        stored = stack.input_bucket.head(key)
        if not _has_body(stack, stored, body):
            stack.put_json(key, body)


def upload(
    stack: Stack,
    drops: Iterable[ReadyDrop],
    on_progress: Callable[[int], None],
    on_done: Callable[[ReadyDrop], None],
) -> None:
    """Upload everything that has changed, several clips at once.

    If something fails or the user interrupts it, this ends early and raises; no file is left
    half-written.

    Parameters:
        stack: the stack.
        drops: what is dropped.
        on_progress: called with the bytes of clips as they are sent.
        on_done: called with each drop whose files are all uploaded.
    """
    by_clip: defaultdict[Path, list[ReadyDrop]] = defaultdict(list)
    for drop in drops:
        by_clip[drop.planned.clip].append(drop)
    stop = Event()

    def report(byte_count: int) -> None:
        if stop.is_set():
            raise InterruptedError
        on_progress(byte_count)

    def upload_takes(takes: list[ReadyDrop]) -> None:
        copy_from: str | None = None
        for take in takes:
            if stop.is_set():
                return
            _upload_drop(stack, take, copy_from, report)
            copy_from = take.planned.key if take.changes_clip else copy_from
            on_done(take)

    pool = ThreadPoolExecutor(PARALLEL_UPLOADS)
    try:
        for future in as_completed(
            [pool.submit(upload_takes, takes) for takes in by_clip.values()]
        ):
            future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _upload_drop(
    stack: Stack, drop: ReadyDrop, copy_from: str | None, on_progress: Callable[[int], None]
) -> None:
    """Upload the files of one job; `copy_from` is a key that has the same clip already."""
    planned, bucket, s3 = drop.planned, stack.input_bucket.name, stack.s3
    if drop.removes_clip:
        s3.delete_object(Bucket=bucket, Key=planned.key)
    for key in drop.uploaded_keys:
        if key == planned.sidecar_key:
            stack.put_json(key, planned.sidecar_body)
        elif key == planned.key and copy_from:
            s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": copy_from})
            on_progress(drop.clip_bytes)
        elif key == planned.key:
            s3.upload_file(
                str(planned.clip),
                bucket,
                key,
                ExtraArgs={"ContentType": guess_type(key)[0] or "video/mp4"},
                Config=_ONE_PIECE,
                Callback=on_progress,
            )
        elif planned.first_frame:
            s3.put_object(Bucket=bucket, Key=key, Body=planned.first_frame.read_bytes())

"""Looks at a clip once, and makes of it what the model takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..aws.input_store import InputStore
from ..aws.messaging import DropQueue
from ..aws.s3 import InputBucket, StagingBucket, UnreadableError
from ..domain.footage import Footage
from ..domain.input_files import InputFile, prepared_key
from ..domain.intake import Candidate, Prepare, decide
from ..domain.limits import DAY_SECONDS
from ..domain.media import IMAGE_HEADER_BYTES, check_first_frame
from ..domain.preparation import Preparation
from ..domain.refusal import Refusal
from ..domain.sidecar import Sidecar
from ..observability import logger
from .claim import Candidates
from .workspace import workspace

MAX_ATTEMPTS = 4  # each may have died with its function; then the clip is refused


@dataclass(frozen=True)
class Prepared:
    """What was made of a clip on disk.

    Attributes:
        footage: what the clip is.
        steps: what was done, in plain words.
        clip: the file to send.
        frame: the first frame to send, if there is one.
        sound: the sound of the clip, if it has any.
    """

    footage: Footage
    steps: tuple[str, ...]
    clip: Path
    frame: Path | None = None
    sound: Path | None = None


class ClipMedia(Protocol):
    """Works on video files; `retake_media.tools` does, with FFmpeg's libraries."""

    def prepare(
        self, clip: Path, frame: Path | None, *, short_side: int | None, max_seconds: float
    ) -> Prepared | Refusal:
        """Make of a clip what the model takes, in the folder of the clip.

        Parameters:
            clip: the clip.
            frame: its first frame.
            short_side: the most pixels of the short side; `None` for all.
            max_seconds: the length that the clip must stay under.

        Returns:
            What was made; or why nothing can be made.
        """


class Preparer:
    """Prepares clips as they are in the bucket now; preparing twice is harmless."""

    def __init__(
        self,
        *,
        bucket: InputBucket,
        staging: StagingBucket,
        records: InputStore,
        candidates: Candidates,
        media: ClipMedia,
        queue: DropQueue,
        max_clip_seconds: float,
        max_input_gb: float,
        staging_retention_days: int,
        clock: Callable[[], float],
    ) -> None:
        self._bucket, self._staging, self._records = bucket, staging, records
        self._candidates, self._media, self._queue = candidates, media, queue
        self._max_clip_seconds, self._max_input_gb = max_clip_seconds, max_input_gb
        self._staging_retention_days, self._clock = staging_retention_days, clock

    def prepare(self, key: str) -> None:
        """Prepare a clip, unless it has been, and have it ingested again."""
        try:
            self._prepare(key)
        except UnreadableError as error:  # of a sidecar; the clip is refused when it is ingested
            logger.info(error.refusal.reason, key=key)
        self._queue.send_drop(self._bucket.name, key)

    def _prepare(self, key: str) -> None:
        clip = self._bucket.head(key)
        if clip is None:
            return
        candidate = self._candidates.read(clip)
        match decide(candidate):
            case Prepare(made_of):
                # Not how often the message was received: that counts throttled calls too.
                if self._records.begin_preparing(candidate.record, made_of) > MAX_ATTEMPTS:
                    again = "drop it again; if that does not help, export it as an ordinary MP4"
                    reason = f"preparing the clip failed {MAX_ATTEMPTS} times"
                    made: Preparation | None = self._refused(made_of, Refusal(reason, again))
                else:
                    try:
                        made = self._make(candidate, made_of)
                    except UnreadableError as error:
                        made = self._refused(made_of, error.refusal)
                if made:
                    self._records.prepared(key, made)

    def _make(self, candidate: Candidate, made_of: str) -> Preparation | None:
        """Make everything; return `None` when a file has changed meanwhile."""
        clip, frame = candidate.drop.clip, candidate.drop.first_frame
        refusal = self._check(clip, frame)
        if refusal:
            return self._refused(made_of, refusal)
        assert isinstance(candidate.sidecar, Sidecar)  # noqa: S101 - only such are prepared
        with workspace() as folder:
            clip_file, frame_file = folder / "clip", folder / "frame"
            clip_sha256 = self._bucket.download(clip, clip_file)
            frame_sha256 = self._bucket.download(frame, frame_file) if frame else ""
            if clip_sha256 is None or frame_sha256 is None:
                return None
            made = self._media.prepare(
                clip_file,
                frame_file if frame else None,
                short_side=candidate.sidecar.short_side,
                max_seconds=self._max_clip_seconds,
            )
            if isinstance(made, Refusal):
                refused = self._refused(made_of, made)
                return replace(refused, clip_sha256=clip_sha256, frame_sha256=frame_sha256)
            size = candidate.sidecar.size
            return Preparation(
                made_of=made_of,
                expires_at=self._expires_at(),
                clip_sha256=clip_sha256,
                frame_sha256=frame_sha256,
                footage=made.footage,
                steps=made.steps,
                clip=self._save(made.clip, clip_sha256, size, ".mp4"),
                frame=self._save(made.frame, clip_sha256 + frame_sha256, size, ".jpg"),
                sound=self._save(made.sound, clip_sha256, size, ".m4a"),
            )

    def _check(self, clip: InputFile, frame: InputFile | None) -> Refusal | None:
        if clip.size > self._max_input_gb * 1e9:
            reason = f"the clip is {clip.size / 1e9:.1f} GB; the limit is {self._max_input_gb:g} GB"
            return Refusal(reason, "make it smaller, or deploy a higher MaxInputGb")
        if frame:
            header = self._bucket.read(frame, 0, IMAGE_HEADER_BYTES)
            return check_first_frame(header, frame.size)
        return None

    def _refused(self, made_of: str, refusal: Refusal) -> Preparation:
        return Preparation(made_of=made_of, expires_at=self._expires_at(), refusal=refusal)

    def _save(self, file: Path | None, name: str, size: int | str, suffix: str) -> str:
        """Put a file into the staging bucket, and return its key; empty without a file."""
        if file is None:
            return ""
        key = prepared_key(name, size, suffix)
        self._staging.save(key, file)
        return key

    def _expires_at(self) -> int:
        # A day before the objects do, because Amazon S3 counts whole days.
        return int(self._clock()) + (self._staging_retention_days - 1) * DAY_SECONDS

"""What becomes of a clip: start a job, wait, refuse it, or nothing because its job is known.

`resolve` finds the instructions a clip has, `decide` what to do with it. Both are pure: the
functions apply the decision to the bucket and the table, the command shows it before an upload.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil

from . import preset as presets
from .input_files import (
    Drop,
    FileKind,
    InputFile,
    beside,
    describe_missing,
    describe_missing_frame,
    job_id,
    sidecar_key,
)
from .job import FollowUp, Job, State
from .json_form import Fields
from .limits import MAX_KEY_BYTES
from .preparation import Preparation
from .preset import Preset
from .prices import FolderCap
from .refusal import Refusal
from .sidecar import Sidecar

PRESET_GRACE_SECONDS = 30  # a clip without a sidecar waits this long before its preset applies


@dataclass(frozen=True)
class Waiting:
    """What a file visibly waits for.

    Attributes:
        message: what it waits for, in plain words.
        since: when it was first seen.
    """

    message: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class InputRecord:
    """What is known about one key of the input bucket. Written by submit.

    Attributes:
        bucket: the input bucket.
        key: the key.
        waiting: what its file waits for; `None` when it is part of a job.
        newest_job: the job of its newest drop; it owns the name of the result.
        accepted_job: its newest job that may bring a video, so not one that was refused.
        dropped_at: when the newest drop was made, by the bucket's clock.
        etags: the ETags of the files of the newest drop, see `Drop.etags`.
        pair_version: the clip and sidecar that were last accepted, see `Drop.pair_version`.
        sidecar: the instructions that pair was accepted with, whatever a preset says by now.
        follow_up: when a waiting file is looked at again.
        preparing: what prepare was asked for, see `Candidate.to_prepare`; empty if nothing.
        preparation: what prepare made last.
        begun: what prepare last began to make, like `preparing`.
        begun_times: how often it began to, and made nothing.
    """

    bucket: str
    key: str
    waiting: Waiting | None = None
    newest_job: str | None = None
    accepted_job: str | None = None
    dropped_at: datetime | None = None
    etags: str = ""
    pair_version: str = ""
    sidecar: Sidecar | None = None
    follow_up: FollowUp | None = None
    preparing: str = ""
    preparation: Preparation | None = None
    begun: str = ""
    begun_times: int = 0

    def has_seen(self, file: InputFile) -> bool:
        """Tell whether a file is as old as the newest drop, so that it was looked at then.

        Amazon S3 states whole seconds, and a file can be overwritten within one: then its ETag
        decides.
        """
        if self.dropped_at is None or self.dropped_at < file.modified:
            return False
        return self.dropped_at > file.modified or file.etag in self.etags.split()

    @property
    def exists(self) -> bool:
        """Tell whether anything is known about the key."""
        return self.waiting is not None or self.newest_job is not None

    @property
    def state(self) -> State:
        """Return the state that a waiting file shows."""
        return State.PREPARING if self.preparing else State.WAITING

    @property
    def entered(self) -> Mapping[State, datetime]:
        """Return since when the file waits, in the shape of `Job.entered`."""
        return {self.state: self.waiting.since} if self.waiting else {}

    @property
    def began(self) -> datetime:
        """Return since when the file waits."""
        return self.entered[self.state]

    @property
    def explanation(self) -> str | None:
        """Return what the file waits for."""
        return self.waiting.message if self.waiting else None


@dataclass(frozen=True)
class Start:
    """Start a job with these instructions.

    Attributes:
        sidecar: the instructions.
        replaces: the job of the same content that ended without a result, if there is one.
    """

    sidecar: Sidecar
    replaces: Job | None = None


@dataclass(frozen=True)
class Wait:
    """Let the clip wait.

    Attributes:
        message: what it waits for, in plain words.
        until: when it starts in any case, in seconds since the epoch; `None` if it does not.
    """

    message: str
    until: int | None = None


@dataclass(frozen=True)
class Prepare:
    """Let the clip be prepared; what becomes of it is decided afterwards.

    Attributes:
        made_of: names what is prepared, see `Candidate.to_prepare`.
    """

    made_of: str


@dataclass(frozen=True)
class Refuse:
    """Refuse the drop.

    Attributes:
        refusal: why.
        sidecar: the instructions, if they could be read.
        replaces: the job of the same content that ended without a result, if there is one.
    """

    refusal: Refusal
    sidecar: Sidecar | None = None
    replaces: Job | None = None


@dataclass(frozen=True)
class Known:
    """Do nothing new: this content has its job."""

    job: Job


Decision = Start | Wait | Prepare | Refuse | Known


@dataclass(frozen=True)
class Candidate:
    """A clip with everything that decides what becomes of it.

    Attributes:
        drop: the files, as they are in the bucket now.
        record: what is known about the clip's key.
        sidecar: the instructions, from `resolve`.
        job: the job of this very content, if there is one.
        preparation: what was made of these very versions, if that was made and is still there.
        beside: what is known about the keys of its sidecar and first frame, if it was read.
        cap: what its preset lets be spent in a day for its folder, if the preset was read.
    """

    drop: Drop
    record: InputRecord
    sidecar: Sidecar | Refusal | Wait
    job: Job | None = None
    preparation: Preparation | None = None
    beside: tuple[InputRecord, ...] = ()
    cap: FolderCap | None = None

    @property
    def to_prepare(self) -> str:
        """Name what has to be prepared: the versions of the files, and the size that is sent."""
        size = self.sidecar.size if isinstance(self.sidecar, Sidecar) else ""
        frame = self.drop.first_frame
        parts = [self.drop.clip.version_label, size, frame.version_label if frame else ""]
        return " ".join(part for part in parts if part)

    def prepared(self, now: float) -> "Candidate":
        """Return the candidate with what was made of it, and so with the hashes of its files.

        Parameters:
            now: seconds since the epoch.
        """
        made = self.record.preparation
        if made is None or made.made_of != self.to_prepare or made.expires_at <= now:
            return self
        frame = self.drop.first_frame
        drop = replace(
            self.drop,
            clip=replace(self.drop.clip, sha256=made.clip_sha256 or None),
            first_frame=frame and replace(frame, sha256=made.frame_sha256 or None),
        )
        return replace(self, drop=drop, preparation=made)

    @property
    def frame_key(self) -> str | None:
        """Return the key of the first frame that the instructions name."""
        if not isinstance(self.sidecar, Sidecar) or not self.sidecar.first_frame:
            return None
        return beside(self.drop.clip.key, self.sidecar.first_frame)

    @property
    def frame_key_is_too_long(self) -> bool:
        """Tell whether Amazon S3 cannot have an object of that key."""
        return len((self.frame_key or "").encode()) > MAX_KEY_BYTES

    @property
    def misses_frame(self) -> bool:
        """Tell whether a first frame is named and not in the bucket."""
        return self.frame_key is not None and self.drop.first_frame is None

    @property
    def known_job_id(self) -> str | None:
        """Return the id of the job that these files have or would have."""
        if self.misses_frame and not self.frame_key_is_too_long:
            # They may have been accepted with a first frame that is gone by now.
            pair = self.drop.is_pair(self.record.pair_version)
            return self.record.newest_job if pair else None
        is_raw = isinstance(self.sidecar, Sidecar) and self.preparation is None
        if is_raw and not self.frame_key_is_too_long:
            return None
        return job_id(self.drop, self.sidecar if isinstance(self.sidecar, Sidecar) else None)


def resolve(
    drop: Drop,
    own: Fields | Refusal | None,
    preset: Preset | None,
    record: InputRecord,
    now: float,
) -> Sidecar | Refusal | Wait:
    """Return the instructions that a clip has, or what it waits for.

    Parameters:
        drop: the clip and its sidecar.
        own: what its sidecar states, or why it is refused; `None` without one.
        preset: the preset of its folder, if there is one.
        record: what is known about the clip's key.
        now: seconds since the epoch.
    """
    if record.sidecar and drop.is_pair(record.pair_version):
        return record.sidecar  # accepted before, and the preset may say something else by now
    if isinstance(own, Refusal):
        return own
    if preset and isinstance(preset.fields, Refusal):
        refusal = preset.fields
        cause = f"{refusal.reason}; {refusal.cure}"
        return Wait(f"waits until {preset.file.key} is corrected: {cause}")
    if own is None and preset is None:
        return Wait(describe_missing(FileKind.CLIP, drop.clip.key))
    if own is None and preset:
        since = record.waiting.since.timestamp() if record.waiting else now
        seen = max(since, drop.clip.modified.timestamp(), preset.file.modified.timestamp())
        start = ceil(seen) + PRESET_GRACE_SECONDS
        if now < start:
            at = datetime.fromtimestamp(start, UTC).strftime("%H:%M:%S")
            unless = f"unless its own sidecar {sidecar_key(drop.clip.key)} comes first"
            return Wait(f"starts with {preset.file.key} at {at} UTC, {unless}", start)
    defaults = preset.fields if preset and isinstance(preset.fields, dict) else {}
    return presets.merge(own or {}, defaults, drop.clip.key)


def decide(candidate: Candidate) -> Decision:
    """Decide what becomes of a clip."""
    match candidate.sidecar:
        case Wait() as wait:
            return wait
        case Refusal() as refusal:
            return refuse(candidate, refusal)
    if candidate.frame_key_is_too_long:
        reason = "the key of the first frame is longer than S3 allows"
        return refuse(candidate, Refusal(reason, "give it a shorter name", "first_frame"))
    if candidate.misses_frame:
        if candidate.job:
            return Known(candidate.job)
        return Wait(describe_missing_frame(candidate.frame_key or ""))
    if candidate.preparation is None:
        return Prepare(candidate.to_prepare)
    if candidate.preparation.refusal:
        return refuse(candidate, candidate.preparation.refusal)
    if candidate.job and not candidate.job.may_restart(candidate.drop.version):
        return Known(candidate.job)
    return Start(candidate.sidecar, candidate.job)


def refuse(candidate: Candidate, refusal: Refusal) -> Refuse | Known:
    """Refuse a clip, unless this very drop has been answered before."""
    job = candidate.job
    if job and not job.may_restart(candidate.drop.version):
        return Known(job)
    sidecar = candidate.sidecar if isinstance(candidate.sidecar, Sidecar) else None
    return Refuse(refusal, sidecar, job)

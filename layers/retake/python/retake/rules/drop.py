"""What a dropped object is, which files belong together, and how a job and its outputs are named."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from .refusal import Refusal
from .sidecar import Sidecar

STAGING = ".retake/"  # our own folder in the input bucket: never a drop
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
KEY_BYTES = 1024  # S3's longest key
VIDEO_CURE = "export the clip as MP4 (H.264) and drop that"


class Kind(Enum):
    """What an object's key says it is."""

    VIDEO = "video"
    SIDECAR = "sidecar"
    PRESET = "preset"
    IMAGE = "image"
    IGNORED = "ignored"
    OTHER = "other"


@dataclass(frozen=True)
class File:
    """One version of one object: `etag` without quotes, `size` in bytes, `modified` by the bucket's clock."""

    key: str
    etag: str
    size: int
    modified: datetime
    version: str | None = None

    def as_row(self) -> dict[str, Any]:
        """Give the file as a job's record keeps it."""
        return vars(self) | {"modified": self.modified.isoformat()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "File":
        """Read a file from a job's record."""
        modified = datetime.fromisoformat(row["modified"])
        return cls(row["key"], row["etag"], int(row["size"]), modified, row.get("version"))


@dataclass(frozen=True)
class Drop:
    """A clip and what lies beside it, as it is in the bucket now; whatever is not there (yet) is `None`."""

    bucket: str
    video: File
    sidecar: File | None = None
    frame: File | None = None

    @property
    def files(self) -> list[File]:
        return [file for file in (self.video, self.sidecar, self.frame) if file]

    @property
    def dropped_at(self) -> datetime:
        return max(file.modified for file in self.files)

    @property
    def versions(self) -> str:
        """Tell this drop from a later one of the same content."""
        return " ".join(f"{file.version or file.modified.isoformat()}" for file in self.files)

    @property
    def own(self) -> str:
        """Tell this clip with its sidecar, or without one, from later ones: once they are taken with a note, they keep it."""
        return replace(self, frame=None).versions

    def was(self, own: str) -> bool:
        """Tell whether `own` is of this clip with its sidecar, or with one that is gone by now."""
        return own == self.own or own.startswith(f"{self.own} ")


def kind(key: str) -> Kind:
    """Tell what a key is by its name alone; upper and lower case are the same."""
    name = key.rpartition("/")[2].lower()
    if not name or key.startswith(STAGING):
        return Kind.IGNORED
    if name.endswith(".mp4"):
        return Kind.VIDEO
    if name == "_retake.json":
        return Kind.PRESET
    if name.endswith(".json"):
        return Kind.SIDECAR
    return Kind.IMAGE if name.endswith(IMAGE_SUFFIXES) else Kind.OTHER


def stem(key: str) -> str:
    """Give a key without its suffix; a video and its sidecar have the same."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.rpartition(".")[0]


def beside(key: str, name: str) -> str:
    """Give the key of the file `name` in the folder of `key`."""
    folder, slash, _ = key.rpartition("/")
    return folder + slash + name


def job_id(drop: Drop, note: Sidecar | None) -> str:
    """Address a job by its content: 32 hex digits; `note` is `None` when there is none that can be read."""
    unread = drop.sidecar.etag if drop.sidecar and note is None else None
    content = [drop.bucket, drop.video.key, drop.video.etag, drop.frame.etag if drop.frame else None]
    content.append(note.canonical() if note else unread)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def mark(job: Mapping[str, Any]) -> str:
    """Name what one submit of a job sends: the file name in the clip's signed address, by which the history tells it from all others."""
    return f"{job['id']}-{job['run']}.mp4"


def side_key(key: str, job: str) -> str:
    """Name the output of a job that a newer one of the same key has overtaken: `clip.mp4` → `clip.<job8>.mp4`."""
    _, dot, suffix = key.rpartition("/")[2].rpartition(".")
    return _fit(stem(key), f".{job[:8]}{dot}{suffix}") if dot else _fit(key, f".{job[:8]}")


def answer_key(name: str, suffix: str) -> str:
    """Name the file that answers the object `name`; the whole name is kept, unless S3 cannot hold it."""
    return _fit(name, suffix)


def needs_copy(key: str) -> bool:
    """Tell whether Segmind may not like the end of a key: it wants `.mp4` and `.png` in lower case."""
    suffix = key[len(stem(key)) :]
    return suffix != suffix.lower()


def staged_key(key: str, job: str) -> str:
    """Name the copy of an input that Segmind fetches when it cannot fetch the object itself."""
    return _fit(f"{STAGING}{job}/{stem(key)}", key[len(stem(key)) :].lower())


def refuse_by_name(key: str) -> Refusal:
    """Answer an object that can never be part of a job."""
    suffix = key[len(stem(key)) :].lower() if "." in key.rpartition("/")[2] else ""
    if suffix in {".mov", ".m4v", ".avi", ".mkv", ".webm", ".mxf", ".mpg", ".mpeg", ".wmv"}:
        return Refusal(f"a {suffix} file is not taken; Segmind's Modify Video reads MP4 only", VIDEO_CURE)
    named = f"a {suffix} file" if suffix else "a file without a suffix"
    return Refusal(
        f"{named} is no part of a job",
        "a job is clip.mp4 with clip.json beside it, and an image (.png .jpg .jpeg .webp) if clip.json names one",
    )


def missing(file_kind: Kind, key: str, frame_key: str | None = None) -> str:
    """Say in plain words what a waiting file waits for."""
    if frame_key:
        return f"waits for its first frame {frame_key}; drop that image, or correct first_frame where it is named"
    if file_kind is Kind.VIDEO:
        return f"waits for its sidecar {stem(key)}.json; drop it beside the clip"
    if file_kind is Kind.SIDECAR:
        return f"waits for its clip {stem(key)}.mp4; drop it beside the sidecar"
    return "waits for a sidecar or preset that names it in first_frame; drop clip.json with that field, and its clip.mp4"


def _fit(head: str, tail: str) -> str:
    """Join two parts of a key; a head that makes it longer than S3 allows is cut and told apart by a hash."""
    room = KEY_BYTES - len(tail.encode())
    if len(head.encode()) <= room:
        return head + tail
    return f"{head.encode()[: room - 9].decode(errors='ignore')}~{hashlib.sha256(head.encode()).hexdigest()[:8]}{tail}"

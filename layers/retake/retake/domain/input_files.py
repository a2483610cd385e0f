"""The files of the input bucket: what a key means, which files belong together, output names."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from .limits import MAX_KEY_BYTES
from .refusal import Refusal
from .sidecar import Sidecar

PRESET_NAME = "_retake.json"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
CLIP_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".ts", ".3gp", ".wmv"),
)


class FileKind(Enum):
    """What an object is, judged by its key alone."""

    CLIP = "clip"
    SIDECAR = "sidecar"
    PRESET = "preset"
    IMAGE = "image"
    IGNORED = "ignored"
    OTHER = "other"


@dataclass(frozen=True)
class InputFile:
    """One version of one object.

    Attributes:
        key: its key.
        etag: its ETag without quotes.
        size: bytes.
        modified: when it was written, by the bucket's clock.
        version: its version id; `None` in a bucket without versions.
        sha256: the SHA-256 of its content in hex, once it was prepared.
    """

    key: str
    etag: str
    size: int
    modified: datetime
    version: str | None = None
    sha256: str | None = None

    @property
    def content(self) -> str:
        """Return what tells its content from any other content, as far as that is known."""
        return self.sha256 or self.etag

    @property
    def version_label(self) -> str:
        """Return what tells this version from others of the same key."""
        return self.version or self.modified.isoformat()


@dataclass(frozen=True)
class Drop:
    """A clip and the files beside it, as they are in the bucket now; `None` is not there (yet)."""

    bucket: str
    clip: InputFile
    sidecar: InputFile | None = None
    first_frame: InputFile | None = None

    @property
    def dropped_at(self) -> datetime:
        """Return when the newest of the files was written."""
        return max(file.modified for file in self._files)

    @property
    def version(self) -> str:
        """Return what tells this drop from a later one of the same content."""
        return " ".join(file.version_label for file in self._files)

    @property
    def etags(self) -> str:
        """Return the ETags of the files."""
        return " ".join(file.etag for file in self._files)

    @property
    def pair_version(self) -> str:
        """Return what tells this clip with its sidecar, or without one, from later ones.

        A pair that was accepted keeps the sidecar it was accepted with.
        """
        return replace(self, first_frame=None).version

    def is_pair(self, pair_version: str) -> bool:
        """Tell whether `pair_version` is of this pair, or of this clip and a sidecar now gone."""
        return pair_version == self.pair_version or pair_version.startswith(f"{self.pair_version} ")

    @property
    def _files(self) -> list[InputFile]:
        return [file for file in (self.clip, self.sidecar, self.first_frame) if file]


def kind_of(key: str) -> FileKind:
    """Return what a key is by its name; upper and lower case are the same."""
    name = key.rpartition("/")[2].lower()
    if not name:
        return FileKind.IGNORED
    if name.endswith(CLIP_SUFFIXES):
        return FileKind.CLIP
    if name == PRESET_NAME:
        return FileKind.PRESET
    if name.endswith(".json"):
        return FileKind.SIDECAR
    return FileKind.IMAGE if name.endswith(IMAGE_SUFFIXES) else FileKind.OTHER


def stem(key: str) -> str:
    """Return a key without its suffix; a clip and its sidecar share it."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.rpartition(".")[0]


def suffix_of(key: str) -> str:
    """Return the suffix of a key with its dot, in lower case; empty when it has none."""
    return key[len(stem(key)) :].lower() if "." in key.rpartition("/")[2] else ""


def beside(key: str, name: str) -> str:
    """Return the key of the file `name` in the folder of `key`."""
    folder, slash, _ = key.rpartition("/")
    return folder + slash + name


def preset_key(key: str) -> str:
    """Return the key of the preset that applies to a clip: the one in its folder."""
    return beside(key, PRESET_NAME)


def sidecar_key(clip_key: str) -> str:
    """Return the key under which a clip's sidecar is expected."""
    return f"{stem(clip_key)}.json"


def deciding_sidecar(keys: list[str]) -> str | None:
    """Return which of several spellings of a sidecar (`.json`, `.JSON`) is used."""
    return max((key for key in keys if kind_of(key) is FileKind.SIDECAR), default=None)


def job_id(drop: Drop, sidecar: Sidecar | None) -> str:
    """Return a job's content address, 32 hex digits.

    `sidecar` is the resolved one, or `None` when there is none that can be read.
    """
    unreadable = drop.sidecar.content if drop.sidecar and sidecar is None else None
    content = [drop.bucket, drop.clip.key, drop.clip.content]
    content.append(drop.first_frame.content if drop.first_frame else "")
    # What it may cost does not change what it is.
    content.append(replace(sidecar, max_usd=None).canonical() if sidecar else unreadable or "")
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def overtaken_key(key: str, job: str) -> str:
    """Name the result of a job that a newer one overtook: `clip.mp4` → `clip.<job8>.mp4`."""
    _, dot, suffix = key.rpartition("/")[2].rpartition(".")
    if not dot:
        return _fit(key, f".{job[:8]}")
    return _fit(stem(key), f".{job[:8]}{dot}{suffix}")


def output_key(key: str) -> str:
    """Name the film that comes of a clip: the clip's key, with .mp4 appended unless it ends so."""
    return key if suffix_of(key) == ".mp4" else _fit(key, ".mp4")


def status_key(name: str, suffix: str) -> str:
    """Name the status file of the object `name`; a name that S3 cannot hold is shortened."""
    return _fit(name, suffix)


def sent_key(job: str, run: int, suffix: str) -> str:
    """Name the copy that Segmind fetches, in the staging bucket: short, plain, and of one job."""
    return f"sent/{job}-{run}{suffix}"


def prepared_key(sha256: str, size: int | str, suffix: str) -> str:
    """Name what was made of a file, in the staging bucket."""
    return f"prepared/{sha256}-{size}{suffix}"


def staged_render_key(job: str) -> str:
    """Name a job's file as rendered, in the staging bucket."""
    return f"renders/{job}.mp4"


def refuse_by_name(key: str) -> Refusal:
    """Refuse an object that can never be part of a job."""
    suffix = suffix_of(key)
    named = f"a {suffix} file" if suffix else "a file without a suffix"
    return Refusal(
        f"{named} cannot be part of a job",
        "a job is a video such as clip.mp4 or clip.mov with clip.json beside it, "
        "and an image (.png .jpg .jpeg .webp) if clip.json names one",
    )


def describe_missing(kind: FileKind, key: str) -> str:
    """Describe what a file of a kind waits for."""
    if kind is FileKind.CLIP:
        return f"waits for its sidecar {sidecar_key(key)}; drop it beside the clip"
    if kind is FileKind.SIDECAR:
        return f"waits for its clip, such as {stem(key)}.mp4; drop it beside the sidecar"
    return (
        "waits for a sidecar or preset that names it in first_frame; "
        "drop clip.json with that field, and clip.mp4"
    )


def describe_missing_frame(frame_key: str) -> str:
    """Describe a clip that waits for its first frame."""
    return f"waits for its first frame {frame_key}; drop that image, or correct first_frame"


def _fit(head: str, tail: str) -> str:
    """Join two parts of a key; a head that is too long for S3 is cut, and a hash tells it apart."""
    room = MAX_KEY_BYTES - len(tail.encode())
    if len(head.encode()) <= room:
        return head + tail
    digest = hashlib.sha256(head.encode()).hexdigest()[:8]
    return f"{head.encode()[: room - 9].decode(errors='ignore')}~{digest}{tail}"

"""Clips on this machine, with the files beside them, checked as the functions check them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from retake.domain.footage import Footage
from retake.domain.input_files import (
    PRESET_NAME,
    FileKind,
    deciding_sidecar,
    kind_of,
    refuse_by_name,
    sidecar_key,
)
from retake.domain.limits import MAX_KEY_BYTES
from retake.domain.media import IMAGE_HEADER_BYTES, check_first_frame
from retake.domain.refusal import Refusal

_ROOM_BYTES = 64  # of a key, for the longer names that are made of it


@dataclass(frozen=True)
class LocalClip:
    """A file that is a clip, or looks like one.

    Attributes:
        path: where it is.
        key: the key that it gets in the input bucket.
        in_folder: whether its whole folder is dropped.
    """

    path: Path
    key: str
    in_folder: bool

    def check(self, max_seconds: float) -> Footage | Refusal | None:
        """Check the key and the content.

        Parameters:
            max_seconds: the duration that a clip must stay under.

        Returns:
            What the clip is, or why it is refused; `None` if FFmpeg's libraries are not installed,
            and then the functions look at it.
        """
        return _check_key(self) or _look(self.path, max_seconds)

    def read_sidecar(self) -> bytes | None:
        """Read the sidecar beside the clip, if there is one."""
        files = [self.path.with_suffix(suffix) for suffix in (".json", ".JSON")]
        name = deciding_sidecar([file.name for file in files if file.is_file()])
        return self.path.with_name(name).read_bytes() if name else None


def find_clips(paths: Iterable[Path], prefix: str) -> Iterator[LocalClip]:
    """Yield clips, and the clips in folders, which keep their folder's name in their keys."""
    for path in paths:
        if not path.is_dir():
            yield LocalClip(path, _join_key(prefix, path.name), in_folder=False)
            continue
        for file in sorted(path.rglob("*")):
            inside = file.relative_to(path)
            # Hidden files such as ._clip.mp4 of macOS are not clips.
            hidden = any(part.startswith(".") for part in inside.parts)
            if file.is_file() and not hidden and _is_video(file.name):
                name = (Path(path.name) / inside).as_posix().removeprefix("../")
                yield LocalClip(file, _join_key(prefix, name), in_folder=True)


def refuse_first_frame(image: Path) -> Refusal | None:
    """Check a first frame; return `None` when Segmind takes it."""
    if not image.is_file():
        reason = f"its first frame {image.name} is not beside it"
        return Refusal(reason, "put the image there, or correct first_frame", "first_frame")
    with image.open("rb") as file:
        return check_first_frame(file.read(IMAGE_HEADER_BYTES), image.stat().st_size)


@cache
def misspelled_preset(folder: Path) -> Path | None:
    """Find a preset whose name is not in lower case."""
    for file in folder.iterdir():
        if kind_of(file.name) is FileKind.PRESET and file.name != PRESET_NAME:
            return file
    return None


def _join_key(prefix: str, name: str) -> str:
    return "/".join(part for part in (prefix.strip("/"), name) if part)


def _is_video(name: str) -> bool:
    return kind_of(name) is FileKind.CLIP


def _check_key(clip: LocalClip) -> Refusal | None:
    key, kind = clip.key, kind_of(clip.key)
    if kind is FileKind.OTHER:
        return refuse_by_name(clip.path.name)
    if kind is not FileKind.CLIP:
        return Refusal("it is not a clip", "name a video file")
    too_long = len(key.encode(errors="replace")) > MAX_KEY_BYTES - _ROOM_BYTES
    if too_long or not key.isprintable() or ".." in key.split("/"):
        return Refusal("its name cannot be a key in the bucket", "rename it, or change --prefix")
    if kind_of(sidecar_key(key)) is not FileKind.SIDECAR:
        reason = f"it cannot have its own sidecar: {PRESET_NAME} is the preset of its folder"
        return Refusal(reason, "rename the clip")
    return None


def _look(clip: Path, max_seconds: float) -> Footage | Refusal | None:
    try:
        from retake_media.look import look
    except ImportError:
        return None
    return look(clip, max_seconds=max_seconds)

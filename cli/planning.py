"""From files on this machine to the jobs they shall become, checked by the very rules that the pipeline checks with."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from retake.rules import clip, drop, frame, sidecar
from retake.rules.drop import Kind
from retake.rules.refusal import Refusal
from retake.rules.sidecar import Sidecar

_NO_NOTE = Refusal("there is no note beside it", "say what it shall become: --prompt or --mode, or write {}")
_MIB = 1 << 20
_PART_SIZES = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100)  # MiB; what uploaders choose, the AWS CLI 8


@dataclass(frozen=True)
class Wish:
    """What the command line says about all clips; a sidecar beside a clip decides, this fills in what it leaves out.

    `modes`, one job for each; `frame`, an image for all; `prefix`, the folder in the bucket; `rerun` holds for sidecars, too.
    """

    prompt: str | None = None
    modes: tuple[str, ...] = ()
    frame: Path | None = None
    prefix: str = ""
    rerun: int | None = None


@dataclass(frozen=True)
class Intended:
    """One job that shall be: the clip, the key it shall have in the input bucket, its note, and its first frame."""

    clip: Path
    key: str
    note: bytes
    sidecar: Sidecar
    frame: Path | None = None

    @property
    def note_key(self) -> str:
        return drop.stem(self.key) + ".json"

    @property
    def frame_key(self) -> str:
        return drop.beside(self.key, self.sidecar.first_frame or "")


Rejected = list[tuple[Path, Refusal]]


def plan(paths: Iterable[Path], wish: Wish, max_seconds: float) -> tuple[list[Intended], Rejected]:
    """Plan the jobs of clips and of folders with clips; what the pipeline would refuse is told apart, with the reason.

    One mode leaves a clip its name. Several would overwrite each other there, so each has its own: `clip.mp4` becomes
    `clip.flex_1.mp4`, `clip.flex_3.mp4`.
    """
    planned: dict[str, Intended] = {}
    rejected: Rejected = []
    for path, name in _files(paths):
        for one in _jobs(path, "/".join(part for part in (wish.prefix.strip("/"), name) if part), wish, max_seconds):
            if isinstance(one, Refusal):
                rejected.append((path, one))
            elif (other := planned.setdefault(one.note_key, one)) is not one and other.clip.resolve() != path.resolve():
                rejected.append((path, Refusal(f"it would share its note {one.note_key} with {other.clip}", "rename one of the two")))
    return list(planned.values()), rejected


def etag(path: Path, parts_of: int | None = None) -> str:
    """Compute the ETag that S3 gives a file, uploaded at once or in parts of some bytes."""
    with path.open("rb") as file:
        if parts_of is None:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        digests = [hashlib.md5(part, usedforsecurity=False).digest() for part in iter(lambda: file.read(parts_of), b"")]
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def is_content_of(known: str, path: Path) -> bool:
    """Tell whether an ETag in the bucket is that of a file here, however it was uploaded."""
    _, dash, number = known.partition("-")
    if not dash:
        return etag(path) == known
    sizes = [size * _MIB for size in _PART_SIZES if -(-path.stat().st_size // (size * _MIB)) == int(number)]
    return any(etag(path, size) == known for size in sizes)


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Give the clips, and the names they have under the prefix: a folder's clips keep its name."""
    for path in paths:
        if not path.is_dir():
            yield path, path.name
            continue
        for file in sorted(path.rglob("*")):
            inside = file.relative_to(path)
            hidden = any(part.startswith(".") for part in inside.parts)  # such as ._clip.mp4 of macOS, which is no clip
            if file.is_file() and not hidden and _is_film(file.name):
                yield file, (Path(path.name) / inside).as_posix().removeprefix("../")


def _is_film(name: str) -> bool:
    return drop.kind(name) is Kind.VIDEO or (drop.kind(name) is Kind.OTHER and drop.refuse_by_name(name).cure == drop.VIDEO_CURE)


def _jobs(path: Path, key: str, wish: Wish, max_seconds: float) -> Iterator[Intended | Refusal]:
    if refusal := _check_clip(path, key, max_seconds):
        yield refusal
        return
    beside = [path.with_suffix(suffix) for suffix in (".json", ".JSON")]
    raw = next((file.read_bytes() for file in beside if file.is_file()), None)
    own = sidecar.parse(raw) if raw is not None else Sidecar()
    if isinstance(own, Refusal):
        yield own
        return
    if raw is None and not (wish.prompt or wish.modes or wish.frame):
        yield _NO_NOTE
        return
    fields: dict[str, Any] = json.loads(raw.decode("utf-8-sig")) if raw is not None else {}
    modes = wish.modes if "mode" not in fields else ()
    for mode in modes or (None,):
        note = _filled(fields, wish, mode)
        text = raw if raw is not None and note == fields else json.dumps(note, ensure_ascii=False, indent=2).encode() + b"\n"
        named = f"{drop.stem(key)}.{mode}{key[len(drop.stem(key)) :]}" if len(modes) > 1 else key
        yield _intended(path, named, text, None if "first_frame" in fields else wish.frame)


def _filled(fields: dict[str, Any], wish: Wish, mode: str | None) -> dict[str, Any]:
    """Fill in what a sidecar leaves out."""
    wished: dict[str, Any] = {"prompt": wish.prompt, "mode": mode}
    if wish.frame and "first_frame_url" not in fields:
        wished["first_frame"] = _named_by_content(wish.frame)
    note = {name: value for name, value in wished.items() if value} | fields
    return note | ({"rerun": wish.rerun} if wish.rerun else {})


@cache
def _named_by_content(image: Path) -> str:
    """Name an image so that another one never takes its place: clips that name the old one would be paid for again."""
    return f"{image.stem}-{etag(image)[:8]}{image.suffix.lower()}"


def _intended(path: Path, key: str, text: bytes, wished: Path | None) -> Intended | Refusal:
    note = sidecar.parse(text)
    if isinstance(note, Refusal):
        return note
    image = (wished or path.parent / note.first_frame) if note.first_frame else None
    if image and not image.is_file():
        return Refusal(f"its first frame {image.name} is not beside it", "put the image there, or correct first_frame", "first_frame")
    if image:
        with image.open("rb") as file:
            refusal = frame.check(file.read(frame.HEAD_BYTES), image.stat().st_size)
        if refusal:
            return refusal
    return Intended(path, key, text, note, image)


def _check_clip(path: Path, key: str, max_seconds: float) -> Refusal | None:
    if drop.kind(key) is not Kind.VIDEO:
        return drop.refuse_by_name(path.name) if drop.kind(key) is Kind.OTHER else Refusal("it is no clip", drop.VIDEO_CURE)
    if len(key.encode(errors="replace")) > drop.KEY_BYTES - 64 or not key.isprintable() or ".." in key.split("/"):
        return Refusal("its name cannot be a key in the bucket", "rename it, or choose another --prefix")
    with path.open("rb") as file:

        def read_at(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        checked = clip.check(read_at, path.stat().st_size, max_seconds)
    return checked if isinstance(checked, Refusal) else None

"""From files on this machine to the jobs they shall become, checked by the very rules that the pipeline checks with."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from retake.rules import clip, drop, frame, preset, sidecar
from retake.rules.drop import Kind
from retake.rules.form import Fields
from retake.rules.refusal import Refusal
from retake.rules.sidecar import Sidecar

_NO_NOTE = Refusal("there is no note beside it", "say what it shall become: --prompt or --mode, or write {} in a sidecar or a preset")
_MIB = 1 << 20
_PART_SIZES = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100)  # MiB; what uploaders choose, the AWS CLI 8


@dataclass(frozen=True)
class Wish:
    """What the command line says about all clips; a sidecar beside a clip decides, this fills in what it leaves out, then the preset.

    `modes`, one job for each; `frame`, an image for all; `prefix`, the folder in the bucket; `rerun` holds for sidecars, too.
    """

    prompt: str | None = None
    modes: tuple[str, ...] = ()
    frame: Path | None = None
    prefix: str = ""
    rerun: int | None = None


@dataclass(frozen=True)
class Intended:
    """One job that shall be: the clip, the key it shall have in the input bucket, its note, its first frame, and its folder's preset.

    The note says all that the preset says: the job is the same, but starts at once.
    """

    clip: Path
    key: str
    note: bytes
    sidecar: Sidecar
    frame: Path | None = None
    preset: bytes | None = None

    @property
    def note_key(self) -> str:
        return drop.stem(self.key) + ".json"

    @property
    def frame_key(self) -> str:
        return drop.beside(self.key, self.sidecar.first_frame or "")

    @property
    def preset_key(self) -> str:
        return preset.key_for(self.key)


Rejected = list[tuple[Path, Refusal]]
There = Callable[[str], Fields | Refusal | None]


def plan(paths: Iterable[Path], wish: Wish, max_seconds: float, there: There = lambda key: None) -> tuple[list[Intended], Rejected]:
    """Plan the jobs of clips and of folders with clips; what the pipeline would refuse is told apart, with the reason.

    `there(key)` tells what a preset in the bucket states. A folder takes its presets along, in place of those; a clip that is named
    alone does not, but begins with what the preset beside it says.

    One mode leaves a clip its name. Several would overwrite each other there, so each has its own: `clip.mp4` becomes
    `clip.flex_1.mp4`, `clip.flex_3.mp4`.
    """
    planned: dict[str, Intended] = {}
    rejected: Rejected = []
    for path, name, whole in _files(paths):
        key = "/".join(part for part in (wish.prefix.strip("/"), name) if part)
        for one in _jobs(path, key, wish, max_seconds, there, whole):
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


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, str, bool]]:
    """Give the clips, the names they have under the prefix, and whether their folder is dropped whole: then they keep its name."""
    for path in paths:
        if not path.is_dir():
            yield path, path.name, False
            continue
        for file in sorted(path.rglob("*")):
            inside = file.relative_to(path)
            hidden = any(part.startswith(".") for part in inside.parts)  # such as ._clip.mp4 of macOS, which is no clip
            if file.is_file() and not hidden and _is_film(file.name):
                yield file, (Path(path.name) / inside).as_posix().removeprefix("../"), True


def _is_film(name: str) -> bool:
    return drop.kind(name) is Kind.VIDEO or (drop.kind(name) is Kind.OTHER and drop.refuse_by_name(name).cure == drop.VIDEO_CURE)


@dataclass(frozen=True)
class _Default:
    """What fills in a clip's note last; `states` is `None` without a preset; `goes_along` is the file to be in the bucket before it."""

    states: Fields | Refusal | None
    goes_along: bytes | None = None


@cache
def _misspelt(folder: Path) -> Path | None:
    found = (file for file in folder.iterdir() if drop.kind(file.name) is Kind.PRESET and file.name != preset.NAME)
    return next(found, None)


def _default(path: Path, key: str, there: There, whole: bool) -> _Default:
    file = path.parent / preset.NAME
    if misspelt := _misspelt(path.parent):
        return _Default(Refusal(f"{misspelt} is no preset: the name is {preset.NAME}, in lower case", "rename it"))
    raw = file.read_bytes() if file.is_file() else None
    here = preset.parse(raw) if raw is not None else None
    if isinstance(here, Refusal):
        return _Default(Refusal(f"the preset {file} is refused: {here.reason}", here.cure, here.field))
    if here is not None and whole:
        return _Default(here, raw)
    known = there(preset.key_for(key))
    if isinstance(known, Refusal):
        return _Default(Refusal(f"the preset {preset.key_for(key)} in the bucket is refused: {known.reason}", known.cure, known.field))
    return _Default(known if here is None else (known or {}) | here)


def _jobs(path: Path, key: str, wish: Wish, max_seconds: float, there: There, whole: bool) -> Iterator[Intended | Refusal]:
    if refusal := _check_clip(path, key, max_seconds):
        yield refusal
        return
    beside = [path.with_suffix(suffix) for suffix in (".json", ".JSON") if drop.kind(path.stem + suffix) is Kind.SIDECAR]
    raw = next((file.read_bytes() for file in beside if file.is_file()), None)
    fields = sidecar.FORM.read(raw) if raw is not None else {}
    if isinstance(fields, Refusal):
        yield fields
        return
    default = _default(path, key, there, whole)
    states = default.states
    if isinstance(states, Refusal):
        yield states
        return
    if raw is None and states is None and not (wish.prompt or wish.modes or wish.frame):
        yield _NO_NOTE
        return
    modes = wish.modes if "mode" not in fields else ()
    for mode in modes or (None,):
        note = preset.fill(_filled(fields, wish, mode), states or {}, path.name)
        if isinstance(note, Refusal):
            yield note
            return
        text = raw if raw is not None and note == fields else json.dumps(note, ensure_ascii=False, indent=2).encode() + b"\n"
        named = f"{drop.stem(key)}.{mode}{key[len(drop.stem(key)) :]}" if len(modes) > 1 else key
        one = _intended(path, named, text, None if "first_frame" in fields else wish.frame)
        yield replace(one, preset=default.goes_along) if isinstance(one, Intended) else one


def _filled(fields: Fields, wish: Wish, mode: str | None) -> Fields:
    """Fill in what a sidecar leaves out and the command line says."""
    wished: Fields = {"prompt": wish.prompt, "mode": mode}
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
    if drop.kind(f"{drop.stem(key)}.json") is not Kind.SIDECAR:
        return Refusal(f"it can have no note of its own: {preset.NAME} is the preset of its folder", "rename the clip")
    with path.open("rb") as file:

        def read_at(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        checked = clip.check(read_at, path.stat().st_size, max_seconds)
    return checked if isinstance(checked, Refusal) else None

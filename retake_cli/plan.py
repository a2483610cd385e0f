"""Plans the jobs of local clips, with the rules that the functions apply to a drop."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from retake.domain import footage, preset, sidecar
from retake.domain.footage import Footage
from retake.domain.input_files import (
    PRESET_NAME,
    Drop,
    InputFile,
    beside,
    preset_key,
    sidecar_key,
    stem,
)
from retake.domain.intake import Candidate, InputRecord, resolve
from retake.domain.json_form import Fields
from retake.domain.preparation import Preparation
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar

from .etags import etag_of, etag_of_file
from .local_files import LocalClip, find_clips, misspelled_preset, refuse_first_frame

# Returns what the preset of a key in the bucket states, or why it is refused.
PresetLookup = Callable[[str], Fields | Refusal | None]

_NO_SIDECAR = Refusal(
    "there is no sidecar beside it",
    "describe how it should look with --prompt or --mode, or write {} in a sidecar or a preset",
)


@dataclass(frozen=True, kw_only=True)
class DropOptions:
    """What the command line says about all clips.

    A sidecar beside a clip takes precedence, then these options, then the preset.

    Attributes:
        prompt: how the clips should look.
        modes: one job is made for each of them.
        first_frame: an image for all clips.
        prefix: the folder in the bucket.
        rerun: the number of the take; replaces the one in a sidecar.
        size: the most pixels of the short side that are sent.
        sound: whether the film gets the sound of the clip.
        max_usd: what each clip may cost.
    """

    prompt: str | None = None
    modes: tuple[str, ...] = ()
    first_frame: Path | None = None
    prefix: str = ""
    rerun: int | None = None
    size: int | str | None = None
    sound: str | None = None
    max_usd: float | None = None

    @property
    def describe_clips(self) -> bool:
        """Tell whether they say how a clip should look."""
        return bool(self.prompt or self.modes or self.first_frame)


@dataclass(frozen=True, kw_only=True)
class PlannedDrop:
    """The local files of one job, and the keys that they get in the input bucket.

    Attributes:
        clip: the clip.
        key: its key.
        sidecar_body: the content of its sidecar. It states everything that the preset states,
            which makes the same job but without a wait.
        sidecar: the instructions in it.
        first_frame: the image that they name, if they name one.
        found: what the clip is, if that is known.
        preset_body: the preset of the folder, if it is uploaded, too.
    """

    clip: Path
    key: str
    sidecar_body: bytes
    sidecar: Sidecar
    first_frame: Path | None = None
    found: Footage | None = None
    preset_body: bytes | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """Return what will be done to the clip before it is sent, in plain words."""
        return footage.plan(self.found, self.sidecar.short_side).steps if self.found else ()

    @property
    def sidecar_key(self) -> str:
        """Return the key of the sidecar."""
        return sidecar_key(self.key)

    @property
    def frame_key(self) -> str:
        """Return the key of the first frame."""
        return beside(self.key, self.sidecar.first_frame or "")

    @property
    def preset_key(self) -> str:
        """Return the key of the preset that applies to the clip."""
        return preset_key(self.key)

    def candidate(
        self, bucket: str, *, clip_sha256: str, frame_sha256: str, now: datetime
    ) -> Candidate:
        """Return what the functions decide about once all files are in the bucket.

        Parameters:
            bucket: the input bucket.
            clip_sha256: the SHA-256 of the clip.
            frame_sha256: that of the first frame; empty without one.
            now: when the files are uploaded.
        """
        body = self.sidecar_body
        first_frame: InputFile | None = None
        if self.first_frame:
            size = self.first_frame.stat().st_size
            first_frame = InputFile(self.frame_key, "", size, now, sha256=frame_sha256)
        drop = Drop(
            bucket=bucket,
            clip=InputFile(self.key, "", self.clip.stat().st_size, now, sha256=clip_sha256),
            sidecar=InputFile(self.sidecar_key, etag_of(body), len(body), now),
            first_frame=first_frame,
        )
        record = InputRecord(bucket=bucket, key=self.key)
        own = sidecar.FORM.read(body)
        instructions = resolve(drop, own, None, record, now.timestamp())
        made = Preparation(made_of="", expires_at=0, clip_sha256=clip_sha256)
        return Candidate(drop, record, instructions, preparation=made)


@dataclass(frozen=True)
class Rejection:
    """A local clip that is not dropped, and why."""

    path: Path
    refusal: Refusal


def plan(
    paths: Iterable[Path],
    options: DropOptions,
    max_clip_seconds: float,
    find_preset: PresetLookup = lambda key: None,
) -> tuple[list[PlannedDrop], list[Rejection]]:
    """Plan the jobs of clips, and of folders with clips.

    A folder brings its presets along, and they replace those in the bucket. A clip that is named
    alone does not; the preset beside it fills in first, then the one in the bucket.

    With one mode, a clip keeps its name. With several, each job has its own, because they would
    overwrite each other: `clip.flex_1.mp4`, `clip.flex_3.mp4`.

    Parameters:
        paths: clips and folders.
        options: what the command line says about all of them.
        max_clip_seconds: the duration that a clip must stay under.
        find_preset: looks up the presets in the bucket.

    Returns:
        What can be dropped, and what the functions would refuse.
    """
    planned: dict[str, PlannedDrop] = {}
    rejections: list[Rejection] = []
    for clip in find_clips(paths, options.prefix):
        for drop in _plan_clip(clip, options, max_clip_seconds, find_preset):
            if isinstance(drop, Refusal):
                rejections.append(Rejection(clip.path, drop))
                continue
            other = planned.setdefault(drop.sidecar_key, drop)
            if other is not drop and other.clip.resolve() != clip.path.resolve():
                reason = f"it would share its sidecar {drop.sidecar_key} with {other.clip}"
                rejections.append(Rejection(clip.path, Refusal(reason, "rename one of the two")))
    return list(planned.values()), rejections


@dataclass(frozen=True)
class _Defaults:
    """What a preset fills in.

    Attributes:
        fields: what it states; `None` without a preset.
        body: its content, if it is uploaded, too.
    """

    fields: Fields | None
    body: bytes | None = None


@dataclass(frozen=True)
class _Source:
    """A clip, with what its sidecar and its preset state.

    Attributes:
        clip: the clip.
        found: what it is, if that is known.
        own: the fields of its sidecar.
        own_body: the content of its sidecar; `None` without one.
        defaults: what the preset fills in.
    """

    clip: LocalClip
    found: Footage | None
    own: Fields
    own_body: bytes | None
    defaults: _Defaults

    @property
    def is_described(self) -> bool:
        """Tell whether a sidecar or a preset says how the clip should look."""
        return self.own_body is not None or self.defaults.fields is not None


def _plan_clip(
    clip: LocalClip, options: DropOptions, max_clip_seconds: float, find_preset: PresetLookup
) -> Iterator[PlannedDrop | Refusal]:
    """Yield the jobs of a clip, or why it is refused."""
    found = clip.check(max_clip_seconds)
    source = found if isinstance(found, Refusal) else _read_source(clip, found, find_preset)
    if isinstance(source, Refusal):
        yield source
        return
    if not (source.is_described or options.describe_clips):
        yield _NO_SIDECAR
        return
    modes = () if "mode" in source.own else options.modes
    for mode in modes or (None,):
        key = _key_of_mode(clip.key, mode) if mode and len(modes) > 1 else clip.key
        yield _plan_job(source, key, options, mode)


def _read_source(
    clip: LocalClip, found: Footage | None, find_preset: PresetLookup
) -> _Source | Refusal:
    body = clip.read_sidecar()
    own = {} if body is None else sidecar.FORM.read(body)
    if isinstance(own, Refusal):
        return own
    defaults = _read_defaults(clip, find_preset)
    if isinstance(defaults, Refusal):
        return defaults
    return _Source(clip, found, own, body, defaults)


def _read_defaults(clip: LocalClip, find_preset: PresetLookup) -> _Defaults | Refusal:
    folder = clip.path.parent
    if misspelled := misspelled_preset(folder):
        reason = f"{misspelled} is not a preset: the name is {PRESET_NAME}, in lower case"
        return Refusal(reason, "rename it")
    file = folder / PRESET_NAME
    body = file.read_bytes() if file.is_file() else None
    local = None if body is None else preset.parse(body)
    if isinstance(local, Refusal):
        return _refuse_preset(str(file), local)
    if local is not None and clip.in_folder:
        return _Defaults(local, body)
    key = preset_key(clip.key)
    stored = find_preset(key)
    if isinstance(stored, Refusal):
        return _refuse_preset(f"{key} in the bucket", stored)
    return _Defaults(stored if local is None else (stored or {}) | local)


def _plan_job(
    source: _Source, key: str, options: DropOptions, mode: str | None
) -> PlannedDrop | Refusal:
    clip, own = source.clip.path, source.own
    wanted = _with_options(own, options, mode)
    filled = preset.fill(wanted, source.defaults.fields or {}, clip.name)
    if isinstance(filled, Refusal):
        return filled
    body = source.own_body
    if body is None or filled != own:  # a sidecar that states everything is uploaded as it is
        body = to_body(filled)
    instructions = sidecar.parse(body)
    if isinstance(instructions, Refusal):
        return instructions
    first_frame: Path | None = None
    if instructions.first_frame:
        first_frame = options.first_frame if "first_frame" not in own else None
        first_frame = first_frame or clip.parent / instructions.first_frame
        refusal = refuse_first_frame(first_frame)
        if refusal:
            return refusal
    return PlannedDrop(
        clip=clip,
        key=key,
        sidecar_body=body,
        sidecar=instructions,
        first_frame=first_frame,
        found=source.found,
        preset_body=source.defaults.body,
    )


def to_body(fields: Fields) -> bytes:
    """Return a sidecar's content with some fields."""
    return json.dumps(fields, ensure_ascii=False, indent=2).encode() + b"\n"


def _with_options(own: Fields, options: DropOptions, mode: str | None) -> Fields:
    """Return a sidecar's fields with what it leaves out filled in from the options."""
    given: Fields = {
        "prompt": options.prompt,
        "mode": mode,
        "size": options.size,
        "sound": options.sound,
        "max_usd": options.max_usd,
    }
    if options.first_frame and "first_frame_url" not in own:
        given["first_frame"] = _named_by_content(options.first_frame)
    fields = {name: value for name, value in given.items() if value} | own
    return fields | {"rerun": options.rerun} if options.rerun else fields


@cache
def _named_by_content(image: Path) -> str:
    """Name an image so that no other one replaces it: its clips would be paid for again."""
    return f"{image.stem}-{etag_of_file(image)[:8]}{image.suffix.lower()}"


def _key_of_mode(key: str, mode: str) -> str:
    return f"{stem(key)}.{mode}{key[len(stem(key)) :]}"


def _refuse_preset(name: str, refusal: Refusal) -> Refusal:
    return Refusal(f"the preset {name} is refused: {refusal.reason}", refusal.cure, refusal.field)

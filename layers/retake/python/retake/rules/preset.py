"""The folder preset: what `_retake.json` gives the clips of its folder, and when a clip waits for something else."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

from . import sidecar
from .drop import File, Kind, beside, missing, stem
from .form import Fields, Form, short
from .refusal import Refusal
from .sidecar import Sidecar

NAME = "_retake.json"
GRACE = 30  # seconds that a clip without a sidecar waits for one before it starts with the preset alone
_SIDECAR: dict[str, Any] = sidecar.SCHEMA["properties"]
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("preset.schema.json").read_bytes())
SCHEMA["properties"] = {name: _SIDECAR[name] if "$ref" in field else field for name, field in SCHEMA["properties"].items()}
FORM = Form("the preset", SCHEMA, elsewhere=_SIDECAR.keys() - SCHEMA["properties"].keys())


@dataclass(frozen=True)
class Preset:
    """A preset as it is in the bucket now: its file, and what it states, or why it is refused."""

    file: File
    states: Fields | Refusal


@dataclass(frozen=True)
class Waits:
    """A clip that may not start yet: `why`, in plain words; `until` the second at which it starts whatever comes, if there is one."""

    why: str
    until: int | None = None


def key_for(key: str) -> str:
    """Give the key of the preset for a clip: in the same folder, in this one spelling."""
    return beside(key, NAME)


def parse(raw: bytes) -> Fields | Refusal:
    """Read a preset as strictly as a sidecar."""
    return FORM.read(raw)


def fill(own: Fields, preset: Fields, key: str) -> Fields | Refusal:
    """Fill in what a clip's sidecar does not state; gives what a sidecar would state that said it all itself."""
    filled = {name: value for name, value in preset.items() if name not in own and name != "$schema"}
    if "first_frame_url" in own:
        filled.pop("first_frame", None)
    if "first_frame" in filled:
        filled["first_frame"] = filled["first_frame"].replace("{name}", stem(key).rpartition("/")[2])
        if sidecar.FORM.check({"first_frame": filled["first_frame"]}):
            reason = f"the preset makes {short(filled['first_frame'])} of the clip's name, which cannot be a first frame"
            return Refusal(reason, "rename the clip, or name its first frame in a sidecar of its own", "first_frame")
    return filled | own


def merge(own: Fields, preset: Fields, key: str) -> Sidecar | Refusal:
    """Make a clip's note of what its sidecar and its folder's preset state."""
    filled = fill(own, preset, key)
    return filled if isinstance(filled, Refusal) else sidecar.note(filled)


def decide(clip: File, own: Fields | None, preset: Preset | None, since: float, now: float) -> Sidecar | Refusal | Waits:
    """Say what a clip starts with, or what it waits for.

    Parameters: `own`, what its sidecar states, `None` without one; `preset`, that of its folder; `since`, when it was first seen.
    """
    if preset and isinstance(preset.states, Refusal):
        return Waits(f"waits until {preset.file.key} is corrected: {preset.states.reason}; {preset.states.cure}")
    if own is None and preset is None:
        return Waits(missing(Kind.VIDEO, clip.key))
    if own is None and preset:
        start = ceil(max(since, clip.modified.timestamp(), preset.file.modified.timestamp())) + GRACE
        if now < start:
            at = datetime.fromtimestamp(start, UTC).strftime("%H:%M:%S")
            return Waits(f"starts with {preset.file.key} at {at} UTC, unless its own sidecar {stem(clip.key)}.json comes first", start)
    return merge(own or {}, preset.states if preset and isinstance(preset.states, dict) else {}, clip.key)

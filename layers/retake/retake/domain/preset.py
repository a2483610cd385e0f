"""The folder preset: what `_retake.json` fills in for the clips of its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import sidecar
from .input_files import PRESET_NAME, InputFile, stem
from .json_form import Fields, JsonForm, quote
from .prices import FolderCap
from .refusal import Refusal
from .sidecar import Sidecar

_SIDECAR_FIELDS: dict[str, Any] = sidecar.SCHEMA["properties"]
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("preset.schema.json").read_bytes())
SCHEMA["properties"] = {
    name: _SIDECAR_FIELDS[name] if "$ref" in field else field
    for name, field in SCHEMA["properties"].items()
}
FORM = JsonForm(
    "the preset", SCHEMA, elsewhere=_SIDECAR_FIELDS.keys() - SCHEMA["properties"].keys()
)


_OF_FOLDER = ("$schema", "daily_usd")  # fields that no sidecar gets


@dataclass(frozen=True)
class Preset:
    """A preset as it is in the bucket now.

    Attributes:
        file: its version.
        fields: what it states, or why it is refused.
    """

    file: InputFile
    fields: Fields | Refusal

    @property
    def cap(self) -> FolderCap | None:
        """Return what may be spent in a day for the clips of its folder."""
        if isinstance(self.fields, Refusal) or "daily_usd" not in self.fields:
            return None
        folder = self.file.key.removesuffix(PRESET_NAME)
        return FolderCap(folder, float(self.fields["daily_usd"]))


def parse(raw: bytes) -> Fields | Refusal:
    """Read a preset strictly, as `JsonForm.read` does."""
    return FORM.read(raw)


def fill(own: Fields, preset: Fields, clip_key: str) -> Fields | Refusal:
    """Return a sidecar's fields with what it leaves out filled in from the preset."""
    defaults = {
        name: value for name, value in preset.items() if name not in own and name not in _OF_FOLDER
    }
    if "first_frame_url" in own:
        defaults.pop("first_frame", None)
    if "first_frame" in defaults:
        clip_name = stem(clip_key).rpartition("/")[2]
        name = defaults["first_frame"] = defaults["first_frame"].replace("{name}", clip_name)
        if sidecar.FORM.check({"first_frame": name}):
            return Refusal(
                f"the preset turns the clip's name into {quote(name)}, "
                "which is not a valid first_frame",
                "rename the clip, or name its first frame in a sidecar of its own",
                "first_frame",
            )
    return defaults | own


def merge(own: Fields, preset: Fields, clip_key: str) -> Sidecar | Refusal:
    """Return the instructions that a clip's sidecar and its folder's preset give together."""
    filled = fill(own, preset, clip_key)
    return filled if isinstance(filled, Refusal) else Sidecar.from_fields(filled)

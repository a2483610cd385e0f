"""The sidecar contract: bytes of `clip.json` in, a note for Segmind or a refusal out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .form import MAX_BYTES as MAX_BYTES
from .form import Fields, Form
from .refusal import Refusal

SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("sidecar.schema.json").read_bytes())
FORM = Form("the sidecar", SCHEMA)


@dataclass(frozen=True)
class Sidecar:
    """A valid note; fields left out are `None`, but for `mode`, which has its default."""

    prompt: str | None = None
    mode: str = SCHEMA["properties"]["mode"]["default"]
    first_frame: str | None = None
    first_frame_url: str | None = None
    rerun: int | None = None

    def canonical(self) -> str:
        """Give the one spelling of this note: sorted JSON without what is left out, so equal notes are equal text."""
        fields = {name: value for name, value in vars(self).items() if value is not None}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def parse(raw: bytes) -> Sidecar | Refusal:
    """Read a sidecar strictly; as `Form.read`, but gives the note."""
    fields = FORM.read(raw)
    return fields if isinstance(fields, Refusal) else note(fields)


def note(fields: Fields) -> Sidecar:
    """Make the note of the fields that a valid sidecar states; the text of `canonical` gives the same note again."""
    rerun = fields.get("rerun")
    return Sidecar(
        prompt=fields.get("prompt") or None,
        mode=fields.get("mode", Sidecar.mode),
        first_frame=fields.get("first_frame"),
        first_frame_url=fields.get("first_frame_url"),
        rerun=None if rerun is None else int(rerun),
    )

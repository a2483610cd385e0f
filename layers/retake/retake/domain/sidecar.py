"""The sidecar contract: bytes of `clip.json` in; instructions for Segmind, or a refusal, out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .json_form import Fields, JsonForm
from .refusal import Refusal

SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("sidecar.schema.json").read_bytes())
FORM = JsonForm("the sidecar", SCHEMA)


@dataclass(frozen=True)
class Sidecar:
    """Valid instructions for one clip; see `sidecar.schema.json` for the fields.

    Fields that are left out are `None`, except `mode`, which has its default.
    """

    prompt: str | None = None
    mode: str = SCHEMA["properties"]["mode"]["default"]
    first_frame: str | None = None
    first_frame_url: str | None = None
    rerun: int | None = None

    @classmethod
    def from_fields(cls, fields: Fields) -> "Sidecar":
        """Create it from the fields of a valid file; `canonical` text gives the same again."""
        rerun = fields.get("rerun")
        return cls(
            prompt=fields.get("prompt") or None,
            mode=fields.get("mode", cls.mode),
            first_frame=fields.get("first_frame"),
            first_frame_url=fields.get("first_frame_url"),
            rerun=None if rerun is None else int(rerun),
        )

    def canonical(self) -> str:
        """Return the one spelling of these instructions, so equal ones are equal text."""
        fields = {name: value for name, value in vars(self).items() if value is not None}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse(raw: bytes) -> Sidecar | Refusal:
    """Read a sidecar strictly, as `JsonForm.read` does."""
    fields = FORM.read(raw)
    return fields if isinstance(fields, Refusal) else Sidecar.from_fields(fields)

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

    Fields that are left out are `None`, or have their default.
    """

    prompt: str | None = None
    mode: str = SCHEMA["properties"]["mode"]["default"]
    first_frame: str | None = None
    first_frame_url: str | None = None
    rerun: int | None = None
    size: str = str(SCHEMA["properties"]["size"]["default"])
    sound: str = SCHEMA["properties"]["sound"]["default"]
    max_usd: float | None = None

    @classmethod
    def from_fields(cls, fields: Fields) -> "Sidecar":
        """Create it from the fields of a valid file; `canonical` text gives the same again."""
        rerun, size = fields.get("rerun"), fields.get("size", cls.size)
        return cls(
            prompt=fields.get("prompt") or None,
            mode=fields.get("mode", cls.mode),
            first_frame=fields.get("first_frame"),
            first_frame_url=fields.get("first_frame_url"),
            rerun=None if rerun is None else int(rerun),
            size=size if isinstance(size, str) else str(int(size)),
            sound=fields.get("sound", cls.sound),
            max_usd=fields.get("max_usd"),
        )

    @property
    def short_side(self) -> int | None:
        """Return the most pixels of the short side that are sent; `None` for all."""
        return int(self.size) if self.size.isdecimal() else None

    def as_fields(self) -> Fields:
        """Return the fields of a valid file that states all of these instructions."""
        fields = {**vars(self), "size": self.short_side or self.size}
        return {name: value for name, value in fields.items() if value is not None}

    def canonical(self) -> str:
        """Return the one spelling of these instructions, so equal ones are equal text."""
        return json.dumps(
            self.as_fields(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )


def parse(raw: bytes) -> Sidecar | Refusal:
    """Read a sidecar strictly, as `JsonForm.read` does."""
    fields = FORM.read(raw)
    return fields if isinstance(fields, Refusal) else Sidecar.from_fields(fields)

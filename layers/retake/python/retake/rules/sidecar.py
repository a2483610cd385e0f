"""The sidecar contract: bytes of `clip.json` in, a note for Segmind or a refusal out."""

import json
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import fastjsonschema

from .refusal import Refusal

MAX_BYTES = 64 * 1024
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("sidecar.schema.json").read_bytes())
_FIELDS: dict[str, Any] = SCHEMA["properties"]
_NOT_AN_OBJECT = Refusal("the sidecar is not a JSON object", 'write an object such as {"prompt": "a watercolour painting"}')
_validate = fastjsonschema.compile(SCHEMA, use_default=False)


@dataclass(frozen=True)
class Sidecar:
    """A valid note; fields left out are `None`, but for `mode`, which has its default."""

    prompt: str | None = None
    mode: str = _FIELDS["mode"]["default"]
    first_frame: str | None = None
    first_frame_url: str | None = None
    rerun: int | None = None

    def canonical(self) -> str:
        """Give the one spelling of this note: sorted JSON without what is left out, so equal notes are equal text."""
        fields = {name: value for name, value in vars(self).items() if value is not None}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def parse(raw: bytes) -> Sidecar | Refusal:
    """Read a sidecar strictly.

    Parameters: `raw`, the file's bytes (a UTF-8 byte order mark is fine; reading one byte more than `MAX_BYTES` is enough).
    Returns the note, or the refusal that names the field, the rule and the cure. Raises nothing.
    """
    if len(raw) > MAX_BYTES:
        return Refusal("the sidecar is larger than 64 KB", "keep the note short: only the fields of the contract")
    try:
        fields = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeError:
        return Refusal("the sidecar is not UTF-8 text", "save it as UTF-8")
    except _Duplicate as duplicate:
        return Refusal(f"the field {_short(str(duplicate))} stands twice", "keep one of the two", _field(str(duplicate)))
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return Refusal(f"the sidecar is not JSON{where}", 'write an object such as {"prompt": "a watercolour painting"}')
    try:
        _validate(fields)
    except fastjsonschema.JsonSchemaValueException as error:
        try:
            return _explain(fields, error)
        except RecursionError:
            return _NOT_AN_OBJECT
    rerun = fields.get("rerun")
    return Sidecar(
        prompt=fields.get("prompt") or None,
        mode=fields.get("mode", Sidecar.mode),
        first_frame=fields.get("first_frame"),
        first_frame_url=fields.get("first_frame_url"),
        rerun=None if rerun is None else int(rerun),
    )


class _Duplicate(ValueError):
    """A field that stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Duplicate(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _explain(fields: Any, error: Any) -> Refusal:
    if not isinstance(fields, dict):
        return _NOT_AN_OBJECT
    if error.rule == "additionalProperties":
        unknown = next(name for name in fields if name not in _FIELDS)
        known = ", ".join(name for name in _FIELDS if name != "$schema")
        return Refusal(
            f"the field {_short(unknown)} is unknown",
            f"{_nearest(unknown, list(_FIELDS))}the fields are {known}",
            _field(unknown),
        )
    if error.rule == "not":
        return Refusal("first_frame and first_frame_url stand together", "keep one of the two", "first_frame_url")
    name = error.path[1]
    description = _FIELDS[name].get("description", "")
    if error.rule == "enum":
        modes = _FIELDS[name]["enum"]
        hint = _nearest(fields[name], modes) if isinstance(fields[name], str) else ""
        return Refusal(f"{name} {_short(fields[name])} does not exist", f"{hint}choose one of {', '.join(modes)}", name)
    return Refusal(f"{name} {_short(fields[name])} breaks the rule “{error.rule}: {error.rule_definition}”", description, name)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
    return text if len(text) <= 80 else text[:77] + "..."


def _field(name: str) -> str:
    return name[:100].encode(errors="replace").decode()


def _nearest(word: str, known: list[str]) -> str:
    folded = word.strip().lower().replace("-", "_").replace(" ", "_")[:100]
    near = get_close_matches(folded, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}? " if near else ""

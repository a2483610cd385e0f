"""JSON files that people write: bytes in; out the fields they state, or a refusal that names the field, the rule and the cure."""

import json
from collections import Counter
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import fastjsonschema

from .refusal import Refusal

MAX_BYTES = 64 * 1024
Fields = dict[str, Any]


class Form:
    """One kind of such files.

    `what` names it in refusals; `schema` is its contract; `elsewhere` are fields of a clip's own sidecar that have no place in it.
    """

    def __init__(self, what: str, schema: dict[str, Any], elsewhere: Collection[str] = ()) -> None:
        self._what, self._fields, self._elsewhere = what, schema["properties"], elsewhere
        self._validate = fastjsonschema.compile(schema, use_default=False)
        self._not_an_object = Refusal(f"{what} is not a JSON object", 'write an object such as {"prompt": "a watercolour painting"}')

    def read(self, raw: bytes) -> Fields | Refusal:
        """Read a file strictly.

        Parameters: `raw`, the file's bytes (a UTF-8 byte order mark is fine; reading one byte more than `MAX_BYTES` is enough).
        Returns the fields as they stand, or the refusal. Raises nothing.
        """
        if len(raw) > MAX_BYTES:
            return Refusal(f"{self._what} is larger than 64 KB", "keep the note short: only the fields of the contract")
        try:
            fields = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
            json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeError:
            return Refusal(f"{self._what} is not UTF-8 text", "save it as UTF-8")
        except _Duplicate as duplicate:
            return Refusal(f"the field {short(str(duplicate))} stands twice", "keep one of the two", _field(str(duplicate)))
        except (ValueError, RecursionError) as error:
            where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            return Refusal(f"{self._what} is not JSON{where}", self._not_an_object.cure)
        return self.check(fields) or fields

    def check(self, fields: Any) -> Refusal | None:
        """Check what was read; `None` when it keeps the contract."""
        try:
            self._validate(fields)
        except fastjsonschema.JsonSchemaValueException as error:
            try:
                return self._explain(fields, error)
            except RecursionError:
                return self._not_an_object
        return None

    def _explain(self, fields: Any, error: Any) -> Refusal:
        if not isinstance(fields, dict):
            return self._not_an_object
        if error.rule == "additionalProperties":
            unknown = next(name for name in fields if name not in self._fields)
            known = ", ".join(name for name in self._fields if name != "$schema")
            if unknown in self._elsewhere:
                hint = f"{unknown} is for one clip: write it in the clip's own sidecar; here "
            else:
                hint = _nearest(unknown, list(self._fields))
            return Refusal(f"the field {short(unknown)} is unknown", f"{hint}the fields are {known}", _field(unknown))
        if error.rule == "not":
            return Refusal("first_frame and first_frame_url stand together", "keep one of the two", "first_frame_url")
        name = error.path[1]
        description = self._fields[name].get("description", "")
        if error.rule == "enum":
            modes = self._fields[name]["enum"]
            hint = _nearest(fields[name], modes) if isinstance(fields[name], str) else ""
            return Refusal(f"{name} {short(fields[name])} does not exist", f"{hint}choose one of {', '.join(modes)}", name)
        return Refusal(f"{name} {short(fields[name])} breaks the rule “{error.rule}: {error.rule_definition}”", description, name)


class _Duplicate(ValueError):
    """A field that stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> Fields:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Duplicate(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def short(value: Any) -> str:
    """Show a value in a refusal."""
    text = json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
    return text if len(text) <= 80 else text[:77] + "..."


def _field(name: str) -> str:
    return name[:100].encode(errors="replace").decode()


def _nearest(word: str, known: list[str]) -> str:
    folded = word.strip().lower().replace("-", "_").replace(" ", "_")[:100]
    near = get_close_matches(folded, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}? " if near else ""

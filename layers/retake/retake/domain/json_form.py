"""JSON files that people write: bytes in; the fields, or a refusal that names the field, out."""

import json
from collections import Counter
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import fastjsonschema

from .limits import MAX_JSON_BYTES
from .refusal import Refusal

Fields = dict[str, Any]


class JsonForm:
    """One kind of JSON file.

    Parameters:
        name: what refusals call it, such as "the sidecar".
        schema: its JSON Schema.
        elsewhere: fields that belong into a clip's own sidecar and not into this file.
    """

    def __init__(self, name: str, schema: dict[str, Any], elsewhere: Collection[str] = ()) -> None:
        self._name, self._fields, self._elsewhere = name, schema["properties"], elsewhere
        self._validate = fastjsonschema.compile(schema, use_default=False)
        self._not_an_object = Refusal(
            f"{name} is not a JSON object",
            'write an object such as {"prompt": "a watercolor painting"}',
        )

    def read(self, raw: bytes) -> Fields | Refusal:
        """Read a file strictly.

        Parameters:
            raw: the file's bytes. A UTF-8 byte order mark is fine, and one byte more than
                `MAX_JSON_BYTES` is enough to tell that the file is too large.

        Returns:
            The fields as they stand, or the refusal. Raises nothing.
        """
        if len(raw) > MAX_JSON_BYTES:
            return Refusal(f"{self._name} is larger than 64 KB", "keep only the known fields")
        try:
            fields = json.loads(
                raw.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant
            )
            json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeError:
            return Refusal(f"{self._name} is not UTF-8 text", "save it as UTF-8")
        except _DuplicateFieldError as duplicate:
            name = str(duplicate)
            reason = f"the field {quote(name)} appears twice"
            return Refusal(reason, "keep one of the two", _storable(name))
        except (ValueError, RecursionError) as error:
            where = ""
            if isinstance(error, json.JSONDecodeError):
                where = f" at line {error.lineno}, column {error.colno}"
            return Refusal(f"{self._name} is not valid JSON{where}", self._not_an_object.cure)
        return self.check(fields) or fields

    def check(self, fields: Any) -> Refusal | None:
        """Check parsed content against the schema; return `None` when it is valid."""
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
            return self._explain_unknown(next(name for name in fields if name not in self._fields))
        if error.rule == "not":
            reason = "first_frame and first_frame_url cannot be used together"
            return Refusal(reason, "keep one of the two", "first_frame_url")
        name = error.path[1]
        if error.rule == "enum":
            allowed = [str(value) for value in self._fields[name]["enum"]]
            hint = _nearest(fields[name], allowed) if isinstance(fields[name], str) else ""
            cure = f"{hint}choose one of {', '.join(allowed)}"
            return Refusal(f"{name} {quote(fields[name])} does not exist", cure, name)
        rule = f"{error.rule}: {error.rule_definition}"
        reason = f"{name} {quote(fields[name])} violates the rule “{rule}”"
        return Refusal(reason, self._fields[name].get("description", ""), name)

    def _explain_unknown(self, name: str) -> Refusal:
        known = ", ".join(field for field in self._fields if field != "$schema")
        if name in self._elsewhere:
            hint = f"{name} applies to one clip: write it in the clip's own sidecar; here "
        else:
            hint = _nearest(name, list(self._fields))
        cure = f"{hint}the fields are {known}"
        return Refusal(f"the field {quote(name)} is unknown", cure, _storable(name))


class _DuplicateFieldError(ValueError):
    """A field appears twice in one object."""


def quote(value: Any) -> str:
    """Quote a value for a refusal, in at most 80 characters."""
    text = json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
    return text if len(text) <= 80 else text[:77] + "..."


def _unique(pairs: list[tuple[str, Any]]) -> Fields:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _DuplicateFieldError(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _storable(name: str) -> str:
    return name[:100].encode(errors="replace").decode()


def _nearest(word: str, known: list[str]) -> str:
    folded = word.strip().lower().replace("-", "_").replace(" ", "_")[:100]
    near = get_close_matches(folded, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}? " if near else ""

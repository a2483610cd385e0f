"""DynamoDB's expressions, as far as the pipeline uses them, compiled to functions.

An expression is compiled once; names and values are looked up each time.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

Item = Mapping[str, Any]
Names = Mapping[str, str]
Values = Mapping[str, Any]
_Operand = Callable[[Item, Names, Values], Any]
_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+-]|[#:]?\w+)")
_KEYWORDS = {"AND", "OR", "NOT", "SET", "REMOVE", "ADD"}
_RESERVED = frozenset(map(str.upper, ReservedKeywords.get_reserved_keywords()))
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class InvalidExpressionError(Exception):
    """An expression that DynamoDB would reject, or that is not supported here."""


@dataclass(frozen=True)
class Condition:
    """A compiled condition.

    Attributes:
        holds: tells whether an item fulfills it.
        placeholders: the names and values in it, such as `#name` and `:value`.
    """

    holds: Callable[[Item, Names, Values], bool]
    placeholders: frozenset[str]


@dataclass(frozen=True)
class Update:
    """A compiled update.

    Attributes:
        apply: returns an item as it is after the update.
        placeholders: the names and values in it.
    """

    apply: Callable[[Item, Names, Values], dict[str, Any]]
    placeholders: frozenset[str]


@cache
def condition(text: str) -> Condition:
    """Compile a condition, a filter, or a key condition."""
    parser = _Parser(text)
    holds = parser.either()
    parser.end()
    return Condition(holds, parser.placeholders)


@cache
def update(text: str) -> Update:
    """Compile an update with SET, REMOVE, and ADD."""
    parser = _Parser(text)
    steps = parser.steps()

    def apply(item: Item, names: Names, values: Values) -> dict[str, Any]:
        after = dict(item)
        for step in steps:
            step(after, item, names, values)
        return after

    return Update(apply, parser.placeholders)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        if "".join(self._tokens) != "".join(text.split()):
            raise InvalidExpressionError(text)
        self._text, self._at = text, 0
        self.placeholders = frozenset(token for token in self._tokens if token[0] in "#:")

        for token in self._tokens:
            if token.upper() in _RESERVED and token.upper() not in _KEYWORDS:
                raise InvalidExpressionError(f"{text!r}: {token} is a reserved word")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *expected: str) -> str:
        token = self._peek()
        if not token or (expected and token.upper() not in expected):
            raise InvalidExpressionError(f"{self._text!r}: {token!r} is not one of {expected}")
        self._at += 1
        return token

    def _accept(self, token: str) -> bool:
        if self._peek().upper() != token:
            return False
        self._at += 1
        return True

    def end(self) -> None:
        if self._peek():
            raise InvalidExpressionError(f"{self._text!r}: {self._peek()!r} is too much")

    def either(self) -> Callable[[Item, Names, Values], bool]:
        parts = [self._all()]
        while self._accept("OR"):
            parts.append(self._all())
        if len(parts) == 1:
            return parts[0]
        return lambda *given: any(part(*given) for part in parts)

    def _all(self) -> Callable[[Item, Names, Values], bool]:
        parts = [self._one()]
        while self._accept("AND"):
            parts.append(self._one())
        if len(parts) == 1:
            return parts[0]
        return lambda *given: all(part(*given) for part in parts)

    def _one(self) -> Callable[[Item, Names, Values], bool]:
        if self._accept("NOT"):
            negated = self._one()
            return lambda *given: not negated(*given)
        if self._accept("("):
            inner = self.either()
            self._take(")")
            return inner
        if self._peek() in ("attribute_exists", "attribute_not_exists", "begins_with"):
            return self._function()
        left, compare, right = self._operand(), _COMPARE[self._take(*_COMPARE)], self._operand()

        def holds(item: Item, names: Names, values: Values) -> bool:
            a, b = left(item, names, values), right(item, names, values)
            if a is None or b is None or type(a) is not type(b):
                return compare is _COMPARE["<>"]
            return compare(a, b)

        return holds

    def _function(self) -> Callable[[Item, Names, Values], bool]:
        name = self._take()
        self._take("(")
        path = self._operand()
        if name == "begins_with":
            self._take(",")
            beginning = self._operand()
            self._take(")")
            return lambda *given: str(path(*given) or "").startswith(beginning(*given))
        self._take(")")
        if name == "attribute_exists":
            return lambda *given: path(*given) is not None
        return lambda *given: path(*given) is None

    def _operand(self) -> _Operand:
        token = self._take()
        if token == "if_not_exists":  # noqa: S105 - a function of DynamoDB
            self._take("(")
            path = self._operand()
            self._take(",")
            default = self._operand()
            self._take(")")

            def existing(*given: Any) -> Any:
                found = path(*given)
                return default(*given) if found is None else found

            return existing
        if token.startswith(":"):
            return lambda item, names, values: values[token]
        if token.startswith("#"):
            return lambda item, names, values: item.get(names[token])
        if not token[0].isalpha():
            raise InvalidExpressionError(f"{self._text!r}: {token!r} is no operand")
        return lambda item, names, values: item.get(token)

    def _name(self) -> Callable[[Names], str]:
        token = self._take()
        return (lambda names: names[token]) if token.startswith("#") else (lambda names: token)

    def steps(self) -> list[Callable[[dict[str, Any], Item, Names, Values], None]]:
        found = []
        while self._peek():
            make = {"SET": self._set, "REMOVE": self._remove, "ADD": self._add}
            clause = make[self._take(*make).upper()]
            found.append(clause())
            while self._accept(","):
                found.append(clause())
        return found

    def _set(self) -> Callable[[dict[str, Any], Item, Names, Values], None]:
        name = self._name()
        self._take("=")
        value = self._operand()

        def step(after: dict[str, Any], item: Item, names: Names, values: Values) -> None:
            after[name(names)] = value(item, names, values)

        return step

    def _remove(self) -> Callable[[dict[str, Any], Item, Names, Values], None]:
        name = self._name()
        return lambda after, item, names, values: after.pop(name(names), None) and None

    def _add(self) -> Callable[[dict[str, Any], Item, Names, Values], None]:
        name, value = self._name(), self._operand()

        def step(after: dict[str, Any], item: Item, names: Names, values: Values) -> None:
            after[name(names)] = item.get(name(names), 0) + value(item, names, values)

        return step

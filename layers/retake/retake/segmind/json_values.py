"""JSON from outside whose shape is not certain: parse it, and walk through it."""

import json
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 4  # of nested values that are looked into


def parse_json(text: str) -> Any:
    """Parse JSON; return `None` when the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def walk(value: Any, *, text: bool = False, depth: int = MAX_DEPTH) -> Iterator[Any]:
    """Yield a value and those within it, in reading order.

    Parameters:
        value: anything that JSON can hold.
        text: whether to look into texts that are JSON themselves.
        depth: how deep to look.
    """
    yield value
    within: list[Any] = []
    if depth and isinstance(value, dict):
        within = list(value.values())
    elif depth and text and isinstance(value, str):
        within = [parse_json(value)]
    for item in within:
        yield from walk(item, text=text, depth=depth - 1)

"""Where the tests' clips come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

KEY = "SG_of_the_tests"


@dataclass
class Store:
    """A little web server with ranges, as a bucket's presigned URLs are; remembers the ranges it was asked for."""

    folder: Path
    url: str = ""
    ranges: list[tuple[str, str | None]] = field(default_factory=list)

"""Media as bytes, for tests that drop them."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def clip_bytes(clip: Path) -> bytes:
    return clip.read_bytes()


@pytest.fixture(scope="session")
def look_bytes(look: Path) -> bytes:
    return look.read_bytes()

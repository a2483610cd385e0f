"""Takes with real clips, and a browser to look at them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.gallery import Film, Take
from retake.rules.states import State
from tests import media

from .browser import CHROMIUM, Browser, running

NOW = datetime(2026, 11, 23, 9, 40, tzinfo=UTC)
HOSTILE = (
    "<script>window.hit = 1</script>",
    "</title></style></script><img src=x onerror='window.hit = 1'>",
    '" autofocus onfocus="window.hit = 1" x=\'',
    "javascript:window.hit=1//.mp4",
    "{{ 7 * 7 }}{% raw %}${window.hit = 1}",
    "http://127.0.0.1:9/leak.png",
    "a\u202egpj.4pm",
    "half \ud83d of a sign",
    "bell \x07 nul \0 line\u2028separator",
    "&lt;b&gt; &amp;",
)


def take(number: int = 0, clip: str = "shoot/clip.mp4", **fields: Any) -> Take:
    """Make a take; a higher number is older, slower and dearer."""
    given: dict[str, Any] = {"state": State.DELIVERED, "message": "Done.", "mode": "flex_1", "prompt": "ink", "length": 2.0}
    given |= {"at": NOW - timedelta(minutes=number), "took": 60.0 + number, "cost_usd": 0.6 + number / 100}
    return Take(f"{number:032x}", clip, **given | fields)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips of 2 s, one red and then moving, one of them styled."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "media").mkdir()
    media.clip(folder / "media" / "one.before.mp4", seconds=2, size="320x180")
    media.clip(folder / "media" / "one.after.mp4", "-vf", "negate,hue=h=90", seconds=2, size="320x180")
    return folder


@pytest.fixture(scope="session")
def films() -> dict[str, Film]:
    return {name: Film(f"media/one.{name}.mp4") for name in ("before", "after")}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium is installed, and the gallery is looked at with one (Debian: apt-get install chromium)")
    with running() as browser:
        yield browser

"""Real clips, and a browser to watch them in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retake_cli.commands.gallery import Video
from tests.support import media
from tests.support.browser import CHROMIUM, Browser, running


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of two seconds and its restyled version."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "media").mkdir()
    media.clip(folder / "media/one.before.mp4", seconds=2, size="320x180")
    style = ("-vf", "negate,hue=h=90")
    media.clip(folder / "media/one.after.mp4", *style, seconds=2, size="320x180")
    return folder


@pytest.fixture(scope="session")
def videos() -> dict[str, Video]:
    """Both clips, as the fields of a take."""
    return {name: Video(f"media/one.{name}.mp4") for name in ("before", "after")}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless browser."""
    if not CHROMIUM:
        pytest.skip("this needs Chromium (on Debian: apt-get install chromium)")
    with running() as browser:
        yield browser

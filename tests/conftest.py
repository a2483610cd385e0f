"""Media for all tests that need a stack."""

from pathlib import Path

import pytest

from tests import media


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("media") / "clip.mp4")


@pytest.fixture(scope="session")
def look(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.image(tmp_path_factory.mktemp("media") / "look.png")

"""Fixtures that several suites share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from moto import mock_aws

from tests.support import media
from tests.support.server import Server, serving
from tests.support.world import World, create_jobs_table, jobs_table

settings.register_profile("fast", deadline=None, max_examples=40, database=None)
settings.load_profile("fast")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clip."""
    return media.clip(tmp_path_factory.mktemp("media") / "clip.mp4")


@pytest.fixture(scope="session")
def look(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image that can be a first frame."""
    return media.image(tmp_path_factory.mktemp("media") / "look.png")


@pytest.fixture
def server() -> Iterator[Server]:
    """An HTTP server that responds as scripted."""
    with serving() as server:
        yield server


@pytest.fixture
def other_server() -> Iterator[Server]:
    """A second such server."""
    with serving() as server:
        yield server


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The jobs table, in moto."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with mock_aws():
        create_jobs_table()
        yield jobs_table()


@pytest.fixture
def world(table: Any) -> World:
    """The pipeline in this process."""
    return World(table)

"""Fixtures that several suites share."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support import media
from tests.support.aws.dynamodb import Table
from tests.support.server import Server, serving
from tests.support.world import World, jobs_table

settings.register_profile("fast", deadline=None, max_examples=40, database=None)
settings.load_profile("fast")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let CI ask that nothing is skipped silently."""
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Turn a skip into a failure with `--no-skips`; a failure that is expected is no skip."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not be skipped: {report.longrepr[-1]}"
    return report


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
def table() -> Table:
    """The jobs table, in memory."""
    return jobs_table()


@pytest.fixture
def world(table: Table) -> World:
    """The pipeline in this process."""
    return World(table)

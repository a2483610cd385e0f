"""Stacks whose functions can be killed, and whose queue returns messages soon."""

from collections.abc import Iterator

import pytest

from local.cloud import CloudConfig, running
from tests.support.stack import PATIENCE_SECONDS, Stack

from .harsh import DROPS, Harshness, LaggingCopy
from .killer import Killer


@pytest.fixture(scope="session")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    return Killer(tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="session")
def fragile(tmp_path_factory: pytest.TempPathFactory, killer: Killer) -> Iterator[Stack]:
    config = CloudConfig(
        wait_scale=0.005,
        daily_budget_usd=100_000,
        simulator=("--render-seconds", "0.3"),
        environment=killer.environment,
    )
    with running(config, tmp_path_factory.mktemp("cloud")) as cloud:
        stack = Stack(cloud)
        stack.shorten_visibility(2)
        yield stack


@pytest.fixture(scope="session")
def harshness(tmp_path_factory: pytest.TempPathFactory) -> Harshness:
    return Harshness(tmp_path_factory.mktemp("harshness"))


@pytest.fixture(scope="session")
def harsh(tmp_path_factory: pytest.TempPathFactory, harshness: Harshness) -> Iterator[Stack]:
    """A stack like `fragile`, on a harsh cloud."""
    config = CloudConfig(
        wait_scale=0.005,
        daily_budget_usd=100_000,
        simulator=("--render-seconds", "0.3"),
        environment=Killer(harshness.folder).environment | harshness.environment,
    )
    with running(config, tmp_path_factory.mktemp("harsh")) as cloud:
        stack = Stack(cloud, patience_seconds=PATIENCE_SECONDS + DROPS * 10)
        stack.shorten_visibility(2)
        with LaggingCopy(stack).following():
            yield stack

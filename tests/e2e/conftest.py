"""The whole pipeline on the embedded cloud, with roles enforced, next to the simulator."""

from collections.abc import Iterator

import pytest

from local.cloud import CloudConfig, running
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that all tests share; no message may fail in it, and what always holds must hold."""
    folder = tmp_path_factory.mktemp("cloud")
    config = CloudConfig(
        wait_scale=0.005,
        daily_budget_usd=100_000,
        simulator=("--render-seconds", "0.5"),
    )
    with running(config, folder) as cloud:
        stack = Stack(cloud)
        yield stack
        stack.check()
    assert '"message":"not processed"' not in (folder / "ministack.log").read_text()

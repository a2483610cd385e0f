"""The whole pipeline on the embedded cloud, with roles enforced, beside the simulator."""

from collections.abc import Iterator

import pytest

from local.cloud import Wanted, running
from tests.stack import Stack


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("cloud")
    wanted = Wanted(wait_scale=0.005, daily_budget_usd=100_000, simulator=("--render-seconds", "0.5"))
    with running(wanted, folder) as cloud:
        stack = Stack(cloud)
        yield stack
        stack.check()
    assert '"message":"not taken"' not in (folder / "ministack.log").read_text()

"""What the contract tests share."""

from collections.abc import Iterator

import pytest

from local.cloud import CloudConfig
from local.cloud.processes import stop
from local.cloud.servers import start_ministack


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The emulator of the embedded cloud, without a stack; its URL."""
    pids: list[int] = []
    try:
        yield start_ministack(CloudConfig(), tmp_path_factory.mktemp("emulator"), pids)
    finally:
        stop(pids)

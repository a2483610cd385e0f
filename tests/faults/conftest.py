"""A stack whose functions can be killed, with a queue that gives messages back soon."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import Wanted, running
from tests.stack import Stack

HOOK = Path(__file__).parent / "hook"


class Faults:
    """Arms the kills; see `hook/sitecustomize.py`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._orders = 0

    def arm(self, function: str, before: int) -> str:
        """Have the next run of a function die before its n-th side effect; gives the order's name."""
        self._orders += 1
        name = f"order-{self._orders}"
        (self._folder / "fired.json").unlink(missing_ok=True)
        (self._folder / "new.json").write_text(json.dumps({"id": name, "function": function, "before": before}))
        (self._folder / "new.json").rename(self._folder / "armed.json")
        return name

    def disarm(self) -> bool:
        """End an order; tells whether a function died of it."""
        (self._folder / "armed.json").unlink(missing_ok=True)
        return (self._folder / "fired.json").exists()

    def trace(self, order: str) -> list[str]:
        """List the side effects that were counted under an order."""
        log = self._folder / "trace.log"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [words[3] for words in lines if words[0] == order]


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def fragile(tmp_path_factory: pytest.TempPathFactory, faults: Faults) -> Iterator[Stack]:
    environment = {"PYTHONPATH": str(HOOK), "RETAKE_FAULTS": str(faults._folder)}
    wanted = Wanted(wait_scale=0.005, daily_budget_usd=100_000, simulator=("--render-seconds", "0.3"), environment=environment)
    with running(wanted, tmp_path_factory.mktemp("cloud")) as cloud:
        stack = Stack(cloud)
        stack.sqs.set_queue_attributes(QueueUrl=cloud.outputs["DropQueueUrl"], Attributes={"VisibilityTimeout": "2"})
        yield stack

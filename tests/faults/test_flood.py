"""Many clips at once: all delivered, each paid once, no 429 drawn, never more at Segmind than the request limit can follow.

FLOOD sets how many (default 32).
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.cloud import Wanted, running
from retake.rules.gate import Limits
from tests import stack as stacks
from tests.stack import Stack

FLOOD = int(os.environ.get("FLOOD", "32"))
SCALE = 0.2
REQUESTS = 50 if FLOOD > 200 else 12  # a minute, so that the bound is felt; a scaled one has five times as many, see Wanted.scaled_requests


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    wanted = Wanted(
        wait_scale=SCALE,
        requests_per_minute=REQUESTS,
        daily_budget_usd=100_000,
        simulator=("--render-seconds", "1", "--credits", "100000"),
        environment={"LAMBDA_ACCOUNT_CONCURRENCY": "64"},  # or the emulator starts a process for each of hundreds of calls at once
    )
    with running(wanted, tmp_path_factory.mktemp("narrow")) as cloud:
        yield Stack(cloud)


def through(stack: Stack) -> int:
    return sum(job["state"] == "DELIVERED" and "queue" not in job for job in stack.jobs())


def test_a_flood_is_let_through_as_fast_as_the_limit_allows(narrow: Stack, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "PATIENCE", 400 + FLOOD * 6)
    limits = Limits(round(REQUESTS / SCALE))
    assert limits.in_flight < FLOOD, "the bound is to be felt"
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.3):
            at_segmind = [request for request in narrow.ledger()["requests"] if request["state"] in ("QUEUED", "PROCESSING")]
            most[0] = max(most[0], len(at_segmind))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        keys = [f"flood/{number}.mp4" for number in range(FLOOD)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: narrow.drop(key, clip), keys))
            list(pool.map(lambda key: narrow.drop(key[:-4] + ".json", {"prompt": key}), keys))
        narrow.eventually(lambda: narrow.sweep() or through(narrow) == FLOOD, "all through")
    finally:
        over.set()
        watcher.join()
    ledger = narrow.ledger()
    assert ledger["paid_requests"] == FLOOD
    assert ledger["rate_limited"] == 0
    assert 0 < most[0] <= limits.in_flight
    narrow.check()
    assert narrow.dead_letters() == 0

"""Many clips at once in a young account, which allows ten calls of functions at a time.

All are delivered, each is paid once, and the request rate is never exceeded.

FLOOD sets how many (default 30).
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.cloud import CloudConfig, running
from retake.domain.admission import Quotas
from retake.domain.input_files import sidecar_key
from retake.domain.job import FOLLOWED, State
from tests.support.stack import Stack

FLOOD = int(os.environ.get("FLOOD", "30"))
# Requests a minute, low enough for the limit to matter. A scaled minute has more: see
# CloudConfig.scaled_requests.
SCALE, REQUESTS = (0.2, 50) if FLOOD > 200 else (0.1, 6)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a low request rate, in an account that throttles functions."""
    config = CloudConfig(
        wait_scale=SCALE,
        requests_per_minute=REQUESTS,
        daily_budget_usd=100_000,
        simulator=("--render-seconds", "1", "--credits", "100000"),
        environment={"LAMBDA_ACCOUNT_CONCURRENCY": "10"},
    )
    with running(config, tmp_path_factory.mktemp("narrow")) as cloud:
        stack = Stack(cloud, patience_seconds=400 + FLOOD * 6)
        stack.shorten_visibility(5)  # of a message whose function is throttled, on top of its work
        yield stack


class Watcher:
    """Watches how many requests are in flight at Segmind.

    Attributes:
        highest: the highest number seen.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stopped = threading.Event()
        self.highest = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch in a thread for as long as the context lasts."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            requests = self._stack.ledger()["requests"]
            in_flight = [each for each in requests if each["state"] in ("QUEUED", "PROCESSING")]
            self.highest = max(self.highest, len(in_flight))


def test_a_flood_is_delivered_within_the_request_rate(narrow: Stack, clip: Path) -> None:
    quotas = Quotas(round(REQUESTS / SCALE))
    assert quotas.max_in_flight < FLOOD, "the limit must matter"
    keys = [f"flood/{number}.mp4" for number in range(FLOOD)]
    watcher = Watcher(narrow)
    with watcher.watching():
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: narrow.drop(key, clip), keys))
            list(pool.map(lambda key: narrow.drop(sidecar_key(key), {"prompt": key}), keys))
        narrow.eventually(lambda: settled_after_sweep(narrow) == FLOOD, "the end of all jobs")
    ledger = narrow.ledger()
    assert ledger["paid_requests"] == FLOOD
    assert ledger["rate_limited"] == 0
    assert 0 < watcher.highest <= quotas.max_in_flight
    narrow.check()
    assert narrow.dead_letters() == 0
    assert narrow.waiting("EventDeadLetterQueueUrl") == 0
    assert narrow.throttled_calls() > 0, "the account's limit must matter"


def settled_after_sweep(stack: Stack) -> int:
    """Sweep, and count the jobs that are delivered and settled.

    The emulator drops an event whose function is throttled, such as that of a wait loop that failed
    for the same reason. AWS tries again, so no job waits here for its next check, in five minutes.
    """
    stack.make_all_due(FOLLOWED)
    stack.sweep()
    jobs = stack.jobs()
    return sum(job.state is State.DELIVERED and job.follow_up is None for job in jobs)

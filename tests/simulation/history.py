"""One history: drops, the real functions, the weather, and the laws."""

import sys
import traceback
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

from retake.domain.limits import FILE_LIFETIME_SECONDS

from .cloud import INPUT, Cloud
from .drops import Plan, plan
from .invariants import Invariants
from .kernel import START, Kernel
from .segmind import BILLINGS, Account
from .weather import STORM_SECONDS, Weather

DROPS = 20
PATIENCE_SECONDS = 3 * 3600  # after the storm; a render that begins late may take over an hour
QUIET_SECONDS = 1200  # after which not even a lease may be left
# What nobody reads here.
UNUSED = (
    *("logger.info", "logger.warning", "logger.error"),
    *("metrics.add_metric", "metrics.flush_metrics"),
)
# Of a result file. A week would take long to simulate, and brings nothing that hours do not.
SHORT_LIFETIME_SECONDS = 5000
BEFORE_MIDNIGHT = 15.2 * 3600  # from START


@dataclass
class Result:
    """How a history went.

    Attributes:
        seed: its seed.
        problems: what did not hold.
        trace: what happened.
        reached: transitions of jobs, by fault.
        seconds: how long it took in virtual time.
    """

    seed: int
    problems: list[str]
    trace: list[str]
    reached: Counter[tuple[str, str, str]]
    seconds: float


class History:
    """One history.

    Parameters:
        seed: decides about everything.
        drops: how many clips are dropped.
        only: the numbers of those that are dropped; `None` for all.
    """

    def __init__(self, seed: int, drops: int = DROPS, only: list[int] | None = None) -> None:
        self.seed = seed
        dice = Kernel(seed).dice("history")
        poor = dice.random() < 0.1  # one day's budget is not enough
        loses_results = dice.random() < 0.05
        self.kernel = Kernel(seed, START + (BEFORE_MIDNIGHT if poor else 0))
        self._patience = PATIENCE_SECONDS
        self._patience += 3 * 86400 if poor else 0
        self._patience += 3 * SHORT_LIFETIME_SECONDS if loses_results else 0
        per_minute = dice.choice((5, 20, 50))
        self.account = Account("SG_first", 1000.0, per_minute)
        self.cloud = Cloud(
            self.kernel,
            Weather.of(dice),
            self.account,
            budget_usd=max(5, drops * 0.6) if poor else 1000,
            concurrency=dice.choice((10, 10, 1000)),
        )
        self.cloud.segmind.loses_results = loses_results
        self.invariants = Invariants(self.kernel, self.cloud)
        plans = plan(self.kernel.dice("drops"), drops)
        self.plans: list[Plan] = [
            each for number, each in enumerate(plans) if only is None or number in only
        ]
        self._waiting = sum(len(each.puts) for each in self.plans)
        for each in self.plans:
            for put in each.puts:
                self.kernel.after(put.at, lambda put=put: self._put(put))
        self._quiet_since = 0.0
        self._plan_troubles(dice)

    def _put(self, put: Any) -> None:
        self._waiting -= 1
        if put.body is None:
            self.kernel.log(f"{put.key} is deleted")
            self.cloud.storage.buckets[INPUT].objects.pop(put.key, None)
        else:
            self.kernel.log(f"{put.key} is dropped")
            self.cloud.storage.put(INPUT, put.key, put.body)

    def _plan_troubles(self, dice: Any) -> None:
        """Plan a rotated key, used up credits, and executions that are stopped."""
        kernel = self.kernel
        if dice.random() < 0.2:
            at = dice.uniform(0, STORM_SECONDS / 2)
            kernel.after(at, lambda: setattr(self.account, "key", "SG_second"))
            later = max(0, at + dice.uniform(-30, 600))
            kernel.after(later, lambda: setattr(self.cloud, "secret", "SG_second"))
        if dice.random() < 0.2:
            self.account.credits_usd = dice.uniform(0, 6)
            kernel.after(
                dice.uniform(600, STORM_SECONDS),
                lambda: setattr(self.account, "credits_usd", 1000.0),
            )
        if dice.random() < 0.2:
            change = partial(setattr, self.cloud.segmind, "billing", dice.choice(BILLINGS))
            kernel.after(dice.uniform(0, STORM_SECONDS), change)
        if dice.random() < 0.1:
            self.cloud.segmind.history_fails_until = kernel.now + dice.uniform(600, 6000)
        stops = kernel.dice("stops")

        def stop() -> None:
            weather = self.cloud.weather
            for share, status in (
                (weather.execution_stopped, "ABORTED"),
                (weather.execution_failed, "FAILED"),
            ):
                running = self.cloud.machine.running()
                if running and stops.random() < share:
                    self.cloud.machine.end(stops.choice(running), status)
            if kernel.now < kernel.began + STORM_SECONDS:
                kernel.after(120, stop)

        kernel.after(120, stop)

    def _is_over(self) -> bool:
        """Tell whether everything has come to its end, or nothing will."""
        kernel, cloud = self.kernel, self.cloud
        if self._waiting or kernel.now < kernel.began + STORM_SECONDS:
            return False
        self.invariants.check_punctual()
        if kernel.now > kernel.began + STORM_SECONDS + self._patience:
            self.invariants.note(f"it is not over {self._patience:.0f} s after the storm")
            return True
        if cloud.lambdas.running or cloud.machine.running():
            return False
        if any(queue.messages for queue in cloud.queues.values()):
            return False
        records = cloud.database.items.items()
        for key, item in records:
            if key[0].startswith("job#"):
                attention = item.get("hold_reason") == "attention"
                if "follow_up" in item and not attention:
                    return False
            elif "follow_up" in item:
                return False
        if not cloud.is_audited() or cloud.unknown_costs():
            return False
        self._quiet_since = self._quiet_since or kernel.now
        return kernel.now > self._quiet_since + QUIET_SECONDS or not cloud.leases()

    def _sleep(self, seconds: float) -> None:
        assert self.kernel.current
        self.kernel.current.wait(seconds)

    def _log_exception(self, message: str, **_: Any) -> None:
        error = sys.exc_info()[1]
        frame = traceback.extract_tb(error.__traceback__)[-1] if error else None
        where = f"{frame.name}:{frame.lineno}" if frame else ""
        self.kernel.log(f"{message}: {type(error).__name__} {str(error)[:150]} in {where}")

    def run(self) -> Result:
        """Run it to its end, and check the laws."""
        kernel = self.kernel
        loses_results = self.cloud.segmind.loses_results
        lifetime = SHORT_LIFETIME_SECONDS if loses_results else FILE_LIFETIME_SECONDS
        patches = {
            "retake.aws.dynamodb.time": SimpleNamespace(sleep=self._sleep),
            "retake.aws.dynamodb.random": kernel.dice("pauses"),
            "retake.aws.s3._PART_BYTES": 1000,
            "retake.services.poll.FILE_LIFETIME_SECONDS": lifetime,
            "retake.services.fetch.FILE_LIFETIME_SECONDS": lifetime,
            "retake.services.recover.FILE_LIFETIME_SECONDS": lifetime,
            "retake.observability.logger.exception": self._log_exception,
            **dict.fromkeys(map("retake.observability.{}".format, UNUSED), _ignore),
        }
        with ExitStack() as context:
            for name, replacement in patches.items():
                context.enter_context(mock.patch(name, replacement))
            kernel.run(self._is_over)
        self.invariants.check(self.plans)
        return Result(
            seed=self.seed,
            problems=self.invariants.problems,
            trace=kernel.trace,
            reached=self.invariants.reached,
            seconds=kernel.now - kernel.began,
        )


def _ignore(*_: Any, **__: Any) -> None:
    """Do nothing."""

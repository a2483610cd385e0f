"""Virtual time, and processes that run in it one at a time: the same seed gives the same history.

A process is a greenlet. It runs until it waits; then the next one in the order of time continues.
"""

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

import greenlet

TEST_SECONDS = 47  # not a minute, in which the same may happen again and again
START = 1_800_000_000.0  # 2027-01-15, 08:00:00 UTC


class KilledError(BaseException):
    """Raised in a process that was killed; nothing that it does afterwards has an effect."""


class Kernel:
    """The clock and the agenda.

    Parameters:
        seed: of all dice.
        start: the first second, since the epoch.

    Attributes:
        began: the first second.
        now: the time in seconds.
        current: the process that runs; `None` between two.
        trace: what happened, one line each.
    """

    def __init__(self, seed: int, start: float = START) -> None:
        self.seed, self.now = seed, start
        self.current: Process | None = None
        self.trace: list[str] = []
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()
        self.began = start

    def dice(self, name: str) -> Random:
        """Return dice of their own for a purpose, so that one decision does not shift others."""
        return Random(f"{self.seed} {name}")

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something later."""
        heapq.heappush(self._agenda, (self.now + seconds, next(self._number), action))

    def run(self, until: Callable[[], bool]) -> None:
        """Do what is on the agenda until a condition holds, which is tested now and then."""
        test_at = self.now
        while self._agenda:
            at, _, action = heapq.heappop(self._agenda)
            while test_at <= at:
                if until():
                    return
                test_at += TEST_SECONDS
            self.now = max(self.now, at)
            action()

    def run_for(self, seconds: float) -> None:
        """Do what is on the agenda for some time."""
        end = self.now + seconds
        while self._agenda and self._agenda[0][0] <= end:
            self.now, _, action = heapq.heappop(self._agenda)
            action()
        self.now = end

    def log(self, line: str) -> None:
        """Add a line to the trace."""
        who = self.current.name if self.current else "-"
        self.trace.append(f"{self.now - self.began:10.3f} {who:12} {line}")


class Process:
    """Something that runs in virtual time, such as one invocation of a function.

    Parameters:
        kernel: its kernel.
        name: for the trace.
        main: what it does.
        ended: called with the result and the error of `main`, unless it is killed.

    Attributes:
        faults: the kinds of faults that it has met.
        is_late: whether a call took so long that what follows comes later than planned.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        main: Callable[[], object],
        ended: Callable[[object, BaseException | None], object],
    ) -> None:
        self.kernel, self.name = kernel, name
        self.faults: set[str] = set()
        self.is_over = self.is_killed = self.is_late = False
        self._main, self._ended = main, ended
        self._waits = 0
        self._greenlet = greenlet.greenlet(self._run)
        kernel.after(0, self._continue)

    def _run(self) -> None:
        result, error = None, None
        try:
            self.check()
            result = self._main()
        except KilledError:
            pass
        except BaseException as raised:  # noqa: BLE001 - as the runtime of a function
            error = raised
        self.is_over = True
        if not self.is_killed:
            self._ended(result, error)

    def _continue(self) -> None:
        if self.is_over:
            return
        self.kernel.current = self
        self._greenlet.switch()
        self.kernel.current = None

    def wait(self, seconds: float) -> None:
        """Let time pass; called by the process itself."""
        self.check()
        self._waits += 1
        this = self._waits
        self.kernel.after(seconds, lambda: self._waits == this and self._continue())
        self._greenlet.parent.switch()  # type: ignore[union-attr]
        self.check()

    def check(self) -> None:
        """Raise if the process was killed."""
        if self.is_killed:
            raise KilledError

    def kill(self) -> None:
        """End the process where it waits; called by something else."""
        if not self.is_over:
            self.is_killed = True
            self._waits += 1
            self._continue()

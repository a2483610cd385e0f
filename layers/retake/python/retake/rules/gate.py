"""The gate: may a job be submitted, may a request be made, now?

One small state decides for all jobs. Leases bound what is under way at Segmind, so that nothing queues there longer than its record
lives; the request log bounds how often Segmind is asked. No counters: a lease that is not given back expires, and the log forgets.
"""

from dataclasses import dataclass, field, replace
from math import ceil

from .planner import Plan
from .states import Held

WINDOW = 62  # seconds that `RequestsPerMinute` is counted over: a minute, and what a request may be late on its way
LEASE = 3600  # seconds; the life of a record at Segmind
RENDER_SECONDS = 164.0  # Segmind's published mean for this model


@dataclass(frozen=True)
class Limits:
    """What the account allows: `requests_per_minute`, submits and polls together."""

    requests_per_minute: int

    @property
    def in_flight(self) -> int:
        """How many jobs may be at Segmind at once: what the request budget can follow to the end.

        A job costs one submit, about `polls` polls and one look at the result, over its render time.
        """
        plan, elapsed, polls = Plan(), 0.0, 0
        while elapsed < RENDER_SECONDS:
            elapsed += plan.wait(polls)
            polls += 1
        return max(1, ceil(self.requests_per_minute / (2 + polls) * RENDER_SECONDS / 60))


@dataclass(frozen=True)
class Gate:
    """The gate's state: `leases` maps a job to the second its lease ends, `requests` a second to the requests made in it."""

    leases: dict[str, int] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)

    def admit(self, job: str, limits: Limits, now: float) -> "Gate | Shut":
        """Let one job be submitted: take its lease and one request, or tell why not."""
        if len(self._running(now).keys() | {job}) > limits.in_flight:
            return Shut(Held.CAPACITY, "as many clips are rendering as the request limit can follow", 60)
        asked = self.ask(limits, now)
        if isinstance(asked, Shut):
            return asked
        return replace(asked, leases=self._running(now) | {job: ceil(now) + LEASE})

    def ask(self, limits: Limits, now: float) -> "Gate | Shut":
        """Let one request be made, or tell how long to wait."""
        recent = {second: count for second, count in self.requests.items() if second > now - WINDOW}
        if sum(recent.values()) >= limits.requests_per_minute:
            wait = ceil(min(recent) + WINDOW - now)
            return Shut(Held.RATE, f"{limits.requests_per_minute} requests a minute are used up", max(1, wait))
        return replace(self, requests=recent | {int(now): recent.get(int(now), 0) + 1})

    def release(self, job: str, now: float) -> "Gate":
        """Give a lease back; giving back what is gone changes nothing."""
        return replace(self, leases={lease: end for lease, end in self._running(now).items() if lease != job})

    def free(self, limits: Limits, now: float) -> int:
        """Count the leases that are free."""
        return max(0, limits.in_flight - len(self._running(now)))

    def _running(self, now: float) -> dict[str, int]:
        return {job: end for job, end in self.leases.items() if end > now}


@dataclass(frozen=True)
class Shut:
    """The gate is shut: why, in plain words, and the seconds after which asking again makes sense."""

    held: Held
    reason: str
    wait: int

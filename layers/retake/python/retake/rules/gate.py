"""The gate: may a job be submitted, may a request be made, now?

One small state decides for all jobs. Leases bound what is under way at Segmind, so that nothing queues there longer than its record
lives; the request log bounds how often Segmind is asked; a hold keeps everything back while the account is in trouble; the day's ledger
parks what the budget does not cover. Nothing leaks when a function dies: a lease that is not given back expires, the log forgets, and the
ledger changes only together with a lease.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from math import ceil, inf
from statistics import fmean

from .planner import PRIOR, Plan
from .states import Held

WINDOW = 64  # seconds that `RequestsPerMinute` is counted over: a minute, and what a request may be late on its way
LEASE = 3600  # seconds; the life of a record at Segmind
PRICE = 0.60  # USD; Segmind's published mean, booked until the real cost is known
FIRST_PROBE, LONGEST_PROBE = 60, 900  # seconds between two tries whether a hold is over
MOST_LOST = 10  # answers in a row that may be lost before submits are kept back: an outage must not use up every job's second try
SHORT = 0.8  # of the requests a minute; from there on polls come more rarely


@dataclass(frozen=True)
class Limits:
    """What the account allows: `requests_per_minute`, submits and polls together, and `daily_budget_usd`."""

    requests_per_minute: int
    daily_budget_usd: float = inf

    @property
    def in_flight(self) -> int:
        """How many jobs may be at Segmind at once: what the request budget can follow to the end.

        A job costs one submit, its polls and one look at the result, until its end is seen. That is reckoned with the usual render, not
        with those of the present: the more jobs wait in Segmind's own queue, the longer they take, and the more would be let in.
        """
        polls, seconds = _usual()
        return max(1, ceil(self.requests_per_minute / (2 + polls) * seconds / 60))


@dataclass(frozen=True)
class Hold:
    """Everything is kept back; at the second `probe_at` one job may try whether it is over, the next one `wait` seconds later."""

    held: Held
    reason: str
    probe_at: int
    wait: int = FIRST_PROBE


@dataclass(frozen=True)
class Gate:
    """The gate's state.

    `leases` maps a job to the second its lease ends, `requests` a second to the requests made in it; until the second `paused_until`
    nothing is asked; `hold` is the account's trouble, if there is one; `spent_usd` is what was booked on `day`; `parked` is the last day on
    which the budget was reached; `lifted` is the second at which the last hold ended; `lost` counts the answers lost in a row; `news` is
    what people have not been told yet.
    """

    leases: dict[str, int] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)
    paused_until: int = 0
    hold: Hold | None = None
    day: str = ""
    spent_usd: float = 0.0
    parked: str = ""
    lifted: int = 0
    lost: int = 0
    news: list[dict[str, str]] = field(default_factory=list)

    def admit(self, job: str, limits: Limits, now: float) -> "Gate | Shut":
        """Let one job be submitted: take its lease, book its price, take one request; or tell why not."""
        if self.hold and now < self.hold.probe_at:
            return Shut(self.hold.held, self.hold.reason)
        running, today = self._running(now), self._today(now)
        if job not in running and len(running) >= limits.in_flight:
            return Shut(Held.CAPACITY, "as many clips are rendering as the request limit can follow")
        booked = job in running and _day(running[job] - LEASE) == today
        spent = round(self._spent(now) + (0 if booked else PRICE), 6)
        if not booked and spent > limits.daily_budget_usd:
            budget = f"the day's budget of {limits.daily_budget_usd:g} USD is used up"
            return Shut(Held.BUDGET, f"{budget}; goes on at midnight UTC, or when it is raised")
        asked = self.ask(limits, now)
        if isinstance(asked, Shut):
            return asked
        hold = self.hold and replace(self.hold, probe_at=ceil(now) + self.hold.wait, wait=min(LONGEST_PROBE, 2 * self.hold.wait))
        return replace(asked, leases=running | {job: int(now) + LEASE}, hold=hold, day=today, spent_usd=spent)

    def ask(self, limits: Limits, now: float) -> "Gate | Shut":
        """Let one request be made, or tell how long to wait."""
        if now < self.paused_until:
            return Shut(Held.RATE, "Segmind asked for a pause", ceil(self.paused_until - now))
        recent = {second: count for second, count in self.requests.items() if second > now - WINDOW}
        if sum(recent.values()) >= limits.requests_per_minute:
            wait = ceil(min(recent) + WINDOW - now)
            return Shut(Held.RATE, f"{limits.requests_per_minute} requests a minute are used up", max(1, wait))
        return replace(self, requests=recent | {int(now): recent.get(int(now), 0) + 1})

    def stretch(self, limits: Limits, now: float) -> float:
        """Tell by how much longer gaps between polls should be: 1 while requests are left, up to 2 when they are used up."""
        recent = sum(count for second, count in self.requests.items() if second > now - WINDOW)
        return 1 + max(0.0, min(1.0, (recent / limits.requests_per_minute - SHORT) / (1 - SHORT)))

    def release(self, job: str, now: float, cost_usd: float | None = None) -> "Gate":
        """Give a lease back, and correct the ledger by the real cost (`None`: unknown); giving back what is gone changes nothing."""
        end, spent, today = self.leases.get(job), self._spent(now), self._today(now)
        if end is not None and cost_usd is not None and _day(end - LEASE) == today:
            spent = max(0.0, spent - PRICE + cost_usd)
        left = {lease: until for lease, until in self._running(now).items() if lease != job}
        return replace(self, leases=left, day=today, spent_usd=round(spent, 6))

    def keep_back(self, held: Held, reason: str, now: float) -> "Gate":
        """Put a hold in force; one for the same reason goes on as it is, and an outage tells nothing of an account in trouble."""
        if self.hold and (self.hold.held is held or held is Held.RATE):
            return self
        return replace(self, hold=Hold(held, reason, ceil(now) + FIRST_PROBE), news=[*self.news, _news("Held", held, reason)])

    def lose(self, reason: str, now: float) -> "Gate":
        """Count an answer that was lost; too many in a row keep submits back."""
        lost = replace(self, lost=min(MOST_LOST, self.lost + 1))
        return lost.keep_back(Held.RATE, f"Segmind's answers get lost: {reason}", now) if lost.lost == MOST_LOST else lost

    def lift(self, now: float) -> "Gate":
        """End the hold: a submit was accepted."""
        if self.hold is None:
            return replace(self, lost=0)
        over = _news("Resumed", self.hold.held, "Segmind takes requests again; held jobs go on")
        return replace(self, hold=None, lost=0, lifted=int(now), news=[*self.news, over])

    def pause(self, seconds: int, now: float) -> "Gate":
        """Ask nothing for some seconds: Segmind said that it was too much."""
        return replace(self, paused_until=max(self.paused_until, ceil(now) + seconds))

    def park(self, reason: str, now: float) -> "Gate":
        """Note that the day's budget was reached."""
        today = self._today(now)
        return self if self.parked == today else replace(self, parked=today, news=[*self.news, _news("Held", Held.BUDGET, reason)])

    def told(self, event: dict[str, str]) -> "Gate":
        """Forget news that people were told."""
        return replace(self, news=[other for other in self.news if other != event])

    def free(self, limits: Limits, now: float) -> int:
        """Count the jobs that could be let through now."""
        if now < self.paused_until:
            return 0
        if self.hold:
            return int(now >= self.hold.probe_at)
        covered = min(1e6, (limits.daily_budget_usd - self._spent(now)) / PRICE + 1e-6)
        return max(0, min(limits.in_flight - len(self._running(now)), int(covered)))

    def figures(self, limits: Limits, now: float) -> dict[str, float]:
        """Say how things stand: jobs at Segmind, whether the account is held, what was spent today, and whether that is all."""
        spent = self._spent(now)
        return {
            "JobsAtSegmind": len(self._running(now)),
            "AccountHeld": int(self.hold is not None),
            "SpentTodayUsd": spent,
            "BudgetReached": int(spent + PRICE > limits.daily_budget_usd),
        }

    def _running(self, now: float) -> dict[str, int]:
        return {job: end for job, end in self.leases.items() if end > now}

    def _spent(self, now: float) -> float:
        return self.spent_usd if self.day == self._today(now) else 0.0

    def _today(self, now: float) -> str:
        """The day of the ledger never goes back, whatever a function's clock says."""
        return max(self.day, _day(now))


@dataclass(frozen=True)
class Shut:
    """The gate is shut: why, in plain words, and the seconds after which asking again makes sense."""

    held: Held
    reason: str
    wait: int = 60


def _news(what: str, held: Held, message: str) -> dict[str, str]:
    return {"what": what, "held": held, "message": message}


@cache
def _usual() -> tuple[float, float]:
    """The mean polls of a job, and the mean age in seconds at which its end is seen, before anything is learned."""
    plan = Plan.learn()
    polls, seconds = zip(*map(plan.seen, PRIOR), strict=True)
    return fmean(polls), fmean(seconds)


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()

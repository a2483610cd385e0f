"""Admission control: may a job be submitted, may a request be made, now?

One small state decides for all jobs. *Leases* bound what is in flight at Segmind, so that nothing
queues there longer than its record lives. The *request rate* bounds how often Segmind is asked.
The *budget* parks what the day does not cover. The *circuit* opens while the account is in
trouble. Nothing leaks when a function dies: `sweep` releases a lease that its job no longer needs,
any other one expires, the rate forgets, and what is booked for a job is booked under its name
until its cost is known.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from math import ceil, inf
from statistics import fmean

from .job import HoldReason, Job
from .limits import DAY_SECONDS, RECORD_LIFETIME_SECONDS
from .poll_schedule import PRIOR, PollSchedule
from .prices import FLAT_USD, Estimate, Prices, Work
from .refusal import Refusal

RATE_WINDOW_SECONDS = 64  # a minute, and what a request may be late on its way
LEASE_SECONDS = RECORD_LIFETIME_SECONDS
LONG_LEASE_SECONDS = 900  # most jobs end sooner
LOOK_UP_SECONDS = 300  # between two looks into the history for a cost that is unknown
MAX_BOOKINGS = 500  # that wait for their cost, about 50 KB; more would make writes dear
MIN_COMPARED = 5  # jobs of a day, before their costs are compared with their estimates
FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS = 60, 900  # between two probes of an open circuit
MAX_LOST_RESPONSES = 10  # in a row: an outage must not use up the second attempt of every job
SCARCE_FROM = 0.8  # of the requests a minute; from there on, polls come less often
PAUSE_MESSAGE = "Segmind asked for a pause"


@dataclass(frozen=True)
class Quotas:
    """What the account allows.

    Attributes:
        requests_per_minute: submits and polls together.
        daily_budget_usd: what may be spent in a day (UTC).
        max_job_usd: what one job may cost, unless its sidecar says more.
    """

    requests_per_minute: int
    daily_budget_usd: float = inf
    max_job_usd: float = inf

    @property
    def max_in_flight(self) -> int:
        """Return how many jobs may be in flight: what the request rate can follow to the end.

        A job costs one submit, its polls and one request for the result, until its end is seen.
        This uses the usual render, not the recent ones: the more jobs wait in Segmind's own
        queue, the longer they take, and the more would be admitted.
        """
        polls, seconds = _usual_render()
        return max(1, ceil(self.requests_per_minute / (2 + polls) * seconds / 60))


@dataclass(frozen=True)
class Denial:
    """Why something is not admitted.

    Attributes:
        reason: the hold reason of a job that is denied.
        message: the same in plain words.
        retry_seconds: after how many seconds asking again makes sense.
    """

    reason: HoldReason
    message: str
    retry_seconds: int = 60


@dataclass(frozen=True)
class AccountEvent:
    """Something that happened to all jobs and is not published yet.

    Attributes:
        name: `Held` or `Resumed`.
        hold_reason: why.
        message: the same in plain words.
    """

    name: str
    hold_reason: HoldReason
    message: str


@dataclass(frozen=True)
class Leases:
    """The jobs in flight.

    Attributes:
        expire_at: for each job, the second at which its lease expires.
    """

    expire_at: Mapping[str, int] = field(default_factory=dict)

    def active(self, now: float) -> dict[str, int]:
        """Return the leases that have not expired."""
        return {job: end for job, end in self.expire_at.items() if end > now}

    def long(self, now: float) -> list[str]:
        """Return the jobs whose leases are active for unusually long."""
        usual = now + LEASE_SECONDS - LONG_LEASE_SECONDS
        return [job for job, end in self.active(now).items() if end <= usual]

    def acquire(self, job_id: str, now: float) -> "Leases":
        """Acquire a lease, or renew it."""
        return Leases(self.active(now) | {job_id: int(now) + LEASE_SECONDS})

    def release(self, job_id: str, now: float) -> "Leases":
        """Release a lease; releasing what is gone changes nothing."""
        return Leases({job: end for job, end in self.active(now).items() if job != job_id})


@dataclass(frozen=True)
class RequestRate:
    """The requests of the last minute.

    Attributes:
        counts: requests made in each second.
        paused_until: nothing is requested before this second.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    paused_until: int = 0

    def acquire(self, limit: int, now: float) -> "RequestRate | Denial":
        """Count one request, or say how long to wait."""
        if now < self.paused_until:
            return Denial(HoldReason.RATE, PAUSE_MESSAGE, ceil(self.paused_until - now))
        recent = self._recent(now)
        if sum(recent.values()) >= limit:
            wait = ceil(min(recent) + RATE_WINDOW_SECONDS - now)
            message = f"{limit} requests a minute are used up"
            return Denial(HoldReason.RATE, message, max(1, wait))
        second = int(now)
        return replace(self, counts=recent | {second: recent.get(second, 0) + 1})

    def pause(self, seconds: int, now: float) -> "RequestRate":
        """Request nothing for some seconds: Segmind's rate limit was exceeded."""
        return replace(self, paused_until=max(self.paused_until, ceil(now) + seconds))

    def stretch(self, limit: int, now: float) -> float:
        """Return how much longer gaps between polls should be, from 1 to 2 when none is left."""
        used = sum(self._recent(now).values()) / limit
        return 1 + max(0.0, min(1.0, (used - SCARCE_FROM) / (1 - SCARCE_FROM)))

    def _recent(self, now: float) -> dict[int, int]:
        since = now - RATE_WINDOW_SECONDS
        return {second: count for second, count in self.counts.items() if second > since}


@dataclass(frozen=True)
class Booking:
    """What is booked for a job until its cost is known.

    Attributes:
        day: the day (UTC, ISO 8601) of its submit.
        usd: its estimate.
        is_learned: whether the estimate was learned from costs.
        folder: the folder whose cap it counts toward, if that has one.
        look_at: when its cost is looked up, in seconds since the epoch; 0 while it is followed.
    """

    day: str
    usd: float
    is_learned: bool = False
    folder: str | None = None
    look_at: int = 0


@dataclass(frozen=True)
class Budget:
    """The money of one day, and of jobs whose cost is unknown.

    Attributes:
        day: the day (UTC, ISO 8601) that the sums are about.
        spent_usd: what the jobs of that day cost, as far as it is known.
        spent_in: the same for each folder that has a cap.
        bookings: by job, what is booked until its cost is known.
        compared: how many costs of the day can be compared with an estimate that was learned.
        compared_usd: the sum of these costs.
        estimated_usd: the sum of their estimates.
        exhausted_on: the last day on which the budget was exhausted.
    """

    day: str = ""
    spent_usd: float = 0.0
    spent_in: Mapping[str, float] = field(default_factory=dict)
    bookings: Mapping[str, Booking] = field(default_factory=dict)
    compared: int = 0
    compared_usd: float = 0.0
    estimated_usd: float = 0.0
    exhausted_on: str = ""

    def today(self, now: float) -> str:
        """Return the day; it never goes back, whatever a function's clock says."""
        return max(self.day, day_of(now))

    def at(self, now: float) -> "Budget":
        """Return the money of today: a new day begins with nothing spent."""
        today = self.today(now)
        if today == self.day:
            return self
        yesterday = day_of(datetime.fromisoformat(f"{today}T00:00Z").timestamp() - DAY_SECONDS)
        kept = {job: each for job, each in self.bookings.items() if each.day >= yesterday}
        return Budget(day=today, bookings=kept, exhausted_on=self.exhausted_on)

    def booked(self, now: float, folder: str | None = None) -> float:
        """Return what is spent and booked today, in USD.

        Parameters:
            folder: only what counts toward the cap of a folder.
        """
        today = self.at(now)
        spent = today.spent_usd if folder is None else today.spent_in.get(folder, 0.0)
        bookings = [each for each in today.bookings.values() if each.day == today.day]
        if folder is not None:
            bookings = [each for each in bookings if each.folder == folder]
        return round(spent + sum(each.usd for each in bookings), 6)

    def holds(self, job_id: str, now: float) -> bool:
        """Tell whether something is booked today for a job."""
        booking = self.bookings.get(job_id)
        return booking is not None and booking.day == self.today(now)

    def book(self, job_id: str, estimate: Estimate, folder: str | None, now: float) -> "Budget":
        """Book the estimate of a job that is sent today."""
        today = self.at(now)
        booking = Booking(today.day, estimate.usd, estimate.is_learned, folder)
        return replace(today, bookings={**today.bookings, job_id: booking})

    def settle(self, job_id: str, cost_usd: float, now: float) -> "Budget":
        """Replace what is booked for a job by its cost; again changes nothing."""
        today = self.at(now)
        booking = today.bookings.get(job_id)
        if booking is None:
            return today
        rest = {job: each for job, each in today.bookings.items() if job != job_id}
        after = replace(today, bookings=rest)
        if booking.day != today.day:
            return after
        after = after._spend(booking, cost_usd)
        if not (booking.is_learned and cost_usd):
            return after
        return replace(
            after,
            compared=after.compared + 1,
            compared_usd=round(after.compared_usd + cost_usd, 6),
            estimated_usd=round(after.estimated_usd + booking.usd, 6),
        )

    def wait_for_cost(self, job_id: str, now: float) -> "Budget":
        """Keep what is booked for a job that has ended until its cost is found in the history."""
        today = self.at(now)
        booking = today.bookings.get(job_id)
        if booking is None:
            return today
        waiting = sum(each.look_at > 0 for each in today.bookings.values())
        if waiting >= MAX_BOOKINGS and not booking.look_at:
            rest = {job: each for job, each in today.bookings.items() if job != job_id}
            after = replace(today, bookings=rest)
            return after._spend(booking, booking.usd) if booking.day == today.day else after
        later = replace(booking, look_at=int(now) + LOOK_UP_SECONDS)
        return replace(today, bookings={**today.bookings, job_id: later})

    def drift(self) -> float:
        """Return by which share the costs of today differ from their estimates."""
        if self.compared < MIN_COMPARED:
            return 0.0
        return self.compared_usd / self.estimated_usd - 1

    def _spend(self, booking: Booking, usd: float) -> "Budget":
        spent_in = dict(self.spent_in)
        if booking.folder is not None:
            spent_in[booking.folder] = round(spent_in.get(booking.folder, 0.0) + usd, 6)
        return replace(self, spent_usd=round(self.spent_usd + usd, 6), spent_in=spent_in)


@dataclass(frozen=True)
class OpenCircuit:
    """All submits are held, except one probe at a time.

    Attributes:
        reason: the hold reason of all jobs.
        message: the same in plain words.
        probe_at: the second at which one job may try whether the trouble is over.
        probe_seconds: how long after that the next one may.
    """

    reason: HoldReason
    message: str
    probe_at: int
    probe_seconds: int = FIRST_PROBE_SECONDS


@dataclass(frozen=True)
class Circuit:
    """The circuit breaker between the jobs and Segmind's account.

    Attributes:
        opened: why it is open; `None` while it is closed.
        closed_at: the second at which it was closed last.
        lost_responses: responses lost in a row.
    """

    opened: OpenCircuit | None = None
    closed_at: int = 0
    lost_responses: int = 0

    def open(self, reason: HoldReason, message: str, now: float) -> "Circuit":
        """Open the circuit; an outage says nothing new about an account in trouble."""
        if self.opened and (self.opened.reason is reason or reason is HoldReason.RATE):
            return self
        return replace(self, opened=OpenCircuit(reason, message, ceil(now) + FIRST_PROBE_SECONDS))

    def lose_response(self, message: str, now: float) -> "Circuit":
        """Count a lost response; too many in a row open the circuit."""
        lost = replace(self, lost_responses=min(MAX_LOST_RESPONSES, self.lost_responses + 1))
        if lost.lost_responses < MAX_LOST_RESPONSES:
            return lost
        return lost.open(HoldReason.RATE, f"Segmind's responses get lost: {message}", now)

    def close(self, now: float) -> "Circuit":
        """Close the circuit: a submit was accepted."""
        return Circuit(closed_at=int(now)) if self.opened else replace(self, lost_responses=0)

    def probe(self, now: float) -> "Circuit":
        """Use up the probe that is due, and schedule the next one."""
        if not self.opened:
            return self
        opened = replace(
            self.opened,
            probe_at=ceil(now) + self.opened.probe_seconds,
            probe_seconds=min(MAX_PROBE_SECONDS, 2 * self.opened.probe_seconds),
        )
        return replace(self, opened=opened)


@dataclass(frozen=True)
class Admission:
    """The state that decides for all jobs; stored as one item.

    Attributes:
        leases: the jobs in flight.
        rate: the requests of the last minute.
        budget: the money of the day.
        circuit: the circuit breaker.
        prices: what the next jobs will cost.
        outbox: events about the account that are still to be published.
    """

    leases: Leases = field(default_factory=Leases)
    rate: RequestRate = field(default_factory=RequestRate)
    budget: Budget = field(default_factory=Budget)
    circuit: Circuit = field(default_factory=Circuit)
    prices: Prices = field(default_factory=Prices)
    outbox: tuple[AccountEvent, ...] = ()

    def estimate(self, job: Job) -> Estimate:
        """Estimate what a job will cost."""
        return self.prices.estimate(work_of(job))

    def refusal(self, job: Job, quotas: Quotas) -> Refusal | None:
        """Return why a job is too dear to be sent at all."""
        assert job.sidecar  # noqa: S101 - only jobs with instructions are submitted
        return self.prices.refusal(job.footage, job.sidecar, quotas, job.cap)

    def admit(self, job: Job, quotas: Quotas, now: float) -> "Admission | Denial":
        """Admit one job to Segmind: acquire its lease, book its price, count one request."""
        opened = self.circuit.opened
        if opened and now < opened.probe_at:
            return Denial(opened.reason, opened.message)
        active = self.leases.active(now)
        if job.id not in active and len(active) >= quotas.max_in_flight:
            message = "as many clips are rendering as the request rate can follow"
            return Denial(HoldReason.CAPACITY, message)
        budget = self.budget.at(now)
        if not budget.holds(job.id, now):
            estimate, folder = self.estimate(job), job.cap.folder if job.cap else None
            budget = budget.book(job.id, estimate, folder, now)
            if budget.booked(now) > quotas.daily_budget_usd:
                exhausted = f"the daily budget of {quotas.daily_budget_usd:g} USD is used up"
                message = f"{exhausted}; jobs continue at midnight UTC, or when it is raised"
                return Denial(HoldReason.BUDGET, message)
            if job.cap and budget.booked(now, job.cap.folder) > job.cap.daily_usd:
                cap = f"{job.cap.daily_usd:g} USD a day for {job.cap.folder or 'the bucket'}"
                message = f"the cap of {cap} is used up; it continues at midnight UTC"
                return Denial(HoldReason.FOLDER_BUDGET, message)
        rate = self.rate.acquire(quotas.requests_per_minute, now)
        if isinstance(rate, Denial):
            return rate
        return replace(
            self,
            leases=self.leases.acquire(job.id, now),
            rate=rate,
            budget=budget,
            circuit=self.circuit.probe(now),
        )

    def request(self, quotas: Quotas, now: float) -> "Admission | Denial":
        """Admit one request, or say how long to wait."""
        rate = self.rate.acquire(quotas.requests_per_minute, now)
        return rate if isinstance(rate, Denial) else replace(self, rate=rate)

    def release(
        self,
        job_id: str,
        now: float,
        cost_usd: float | None = None,
        prices: Prices | None = None,
    ) -> "Admission":
        """Release a job's lease and correct the budget; releasing what is gone changes nothing.

        Parameters:
            job_id: the job.
            now: seconds since the epoch.
            cost_usd: the real cost; `None` while it is unknown.
            prices: what was learned from it.
        """
        if cost_usd is None:
            budget = self.budget.wait_for_cost(job_id, now)
        else:
            budget = self.budget.settle(job_id, cost_usd, now)
        return replace(
            self,
            leases=self.leases.release(job_id, now),
            budget=budget,
            prices=prices or self.prices,
        )

    def release_forgotten(self, settled: Collection[str], now: float) -> "Admission":
        """Release the long leases of settled jobs; one that was renewed meanwhile is not long.

        Such a lease has bought nothing, so neither has its booking, unless that waits for a cost.
        """
        after = self
        for job_id in self.leases.long(now):
            booking = self.budget.bookings.get(job_id)
            if job_id not in settled:
                continue
            if booking and booking.look_at:
                after = replace(after, leases=after.leases.release(job_id, now))
            else:
                after = after.release(job_id, now, cost_usd=0)
        return after

    def bookings_to_check(self, now: float) -> dict[str, Booking]:
        """Return what is booked for jobs that are not in flight, and not checked lately."""
        active = self.leases.active(now)
        return {
            job: booking
            for job, booking in self.budget.at(now).bookings.items()
            if booking.look_at <= now and job not in active
        }

    def open_circuit(self, reason: HoldReason, message: str, now: float) -> "Admission":
        """Open the circuit, and announce it."""
        return self._with_circuit(self.circuit.open(reason, message, now))

    def lose_response(self, message: str, now: float) -> "Admission":
        """Count a response that was lost; too many in a row open the circuit."""
        return self._with_circuit(self.circuit.lose_response(message, now))

    def close_circuit(self, now: float) -> "Admission":
        """Close the circuit: a submit was accepted. Announce it, if it was open."""
        closed = replace(self, circuit=self.circuit.close(now))
        if not self.circuit.opened:
            return closed
        message = "Segmind accepts requests again; held jobs continue"
        return closed._announce("Resumed", self.circuit.opened.reason, message)

    def pause(self, seconds: int, now: float) -> "Admission":
        """Request nothing for some seconds."""
        return replace(self, rate=self.rate.pause(seconds, now))

    def exhaust_budget(self, message: str, now: float) -> "Admission":
        """Announce that the daily budget is exhausted, once a day."""
        today = self.budget.today(now)
        if self.budget.exhausted_on == today:
            return self
        exhausted = replace(self, budget=replace(self.budget, exhausted_on=today))
        return exhausted._announce("Held", HoldReason.BUDGET, message)

    def published(self, event: AccountEvent) -> "Admission":
        """Remove an event that was published from the outbox."""
        return replace(self, outbox=tuple(other for other in self.outbox if other != event))

    def stretch(self, quotas: Quotas, now: float) -> float:
        """Return how much longer gaps between polls should be while requests are scarce."""
        return self.rate.stretch(quotas.requests_per_minute, now)

    def free_slots(self, quotas: Quotas, now: float) -> int:
        """Return how many jobs could be admitted now."""
        if now < self.rate.paused_until:
            return 0
        if self.circuit.opened:
            return int(now >= self.circuit.opened.probe_at)
        return max(0, quotas.max_in_flight - len(self.leases.active(now)))

    def left_usd(self, quotas: Quotas, now: float) -> float:
        """Return how much of today's budget is left."""
        return round(quotas.daily_budget_usd - self.budget.booked(now), 6)

    def metrics(self, quotas: Quotas, now: float) -> dict[str, float]:
        """Return the figures for CloudWatch."""
        booked = self.budget.booked(now)
        return {
            "JobsInFlight": len(self.leases.active(now)),
            "CircuitOpen": int(self.circuit.opened is not None),
            "SpentTodayUsd": booked,
            "BudgetExhausted": int(self.left_usd(quotas, now) < FLAT_USD),
            "PriceDriftPercent": round(100 * abs(self.budget.at(now).drift())),
        }

    def _with_circuit(self, circuit: Circuit) -> "Admission":
        changed = replace(self, circuit=circuit)
        opened = circuit.opened
        if opened is None or opened == self.circuit.opened:
            return changed
        return changed._announce("Held", opened.reason, opened.message)

    def _announce(self, name: str, reason: HoldReason, message: str) -> "Admission":
        return replace(self, outbox=(*self.outbox, AccountEvent(name, reason, message)))


@cache
def _usual_render() -> tuple[float, float]:
    """Return a job's mean polls, and the mean age at which its end is seen, before learning."""
    schedule = PollSchedule.learn()
    polls, seconds = zip(*map(schedule.end_seen, PRIOR), strict=True)
    return fmean(polls), fmean(seconds)


def work_of(job: Job) -> Work | None:
    """Return what Segmind has to do for a job; `None` if its clip was not looked at."""
    if job.footage is None or job.sidecar is None:
        return None
    return Work.of(job.footage, job.sidecar.short_side)


def day_of(now: float) -> str:
    """Return the day (UTC, ISO 8601) of a second since the epoch."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()

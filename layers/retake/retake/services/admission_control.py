"""Admission control as the functions use it, and what follows from it: events and wake-ups."""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

from ..aws.admission_store import AdmissionStore
from ..aws.follow_ups import FollowUps
from ..aws.messaging import DropQueue, EventBus
from ..domain.admission import AccountEvent, Booking, Denial, Quotas
from ..domain.job import HoldReason, Job
from ..domain.prices import Estimate, Prices
from ..domain.refusal import Refusal

MAX_AT_ONCE = 10  # held jobs that one free slot may wake
MAX_STALE = 10  # held jobs that the index may still show after they were admitted


class AdmissionControl:
    """Admits jobs and requests, or says why not."""

    def __init__(
        self, *, store: AdmissionStore, quotas: Quotas, clock: Callable[[], float]
    ) -> None:
        self._store, self._quotas, self._clock = store, quotas, clock

    def read_with_job(self, job_id: str) -> Job | None:
        """Read a job; a request or a release that follows at once saves its own read."""
        return self._store.read_with_job(job_id)

    def admit(self, job: Job) -> Denial | None:
        """Admit one job to Segmind; return why not, else `None`."""
        return self._store.change(
            lambda admission: admission.admit(job, self._quotas, self._clock())
        )

    def check(self, job: Job) -> Denial | Refusal | None:
        """Return why a job would not be admitted now, or never, without changing anything."""
        admission = self._store.read()
        if refusal := admission.refusal(job, self._quotas):
            return refusal
        outcome = admission.admit(job, self._quotas, self._clock())
        return outcome if isinstance(outcome, Denial) else None

    def estimate(self, job: Job) -> Estimate:
        """Estimate what a job will cost, by the prices that were read a moment ago."""
        return self._store.read_recent().estimate(job)

    def request(self) -> Denial | None:
        """Admit one request; return why not, else `None`."""
        return self._store.change(lambda admission: admission.request(self._quotas, self._clock()))

    def release(
        self, job_id: str, cost_usd: float | None = None, prices: Prices | None = None
    ) -> bool:
        """Release a job's lease at its real cost.

        Parameters:
            job_id: the job.
            cost_usd: its cost; `None` while it is unknown.
            prices: what was learned from it.

        Returns:
            False when too many functions changed the state at once.
        """
        return not self._store.change(
            lambda admission: admission.release(job_id, self._clock(), cost_usd, prices)
        )

    def bookings_to_check(self) -> dict[str, Booking]:
        """Return what is booked for jobs that are not in flight, and not checked lately."""
        return self._store.read_recent().bookings_to_check(self._clock())

    def long_leases(self) -> list[str]:
        """Return the ids of the jobs whose leases are active for unusually long."""
        return self._store.read_recent().leases.long(self._clock())

    def release_forgotten(self, settled: Collection[str]) -> None:
        """Release the long leases of settled jobs."""
        self._store.change(lambda admission: admission.release_forgotten(settled, self._clock()))

    def pause(self, seconds: int) -> None:
        """Request nothing for some seconds."""
        self._store.change(lambda admission: admission.pause(seconds, self._clock()))

    def open_circuit(self, reason: HoldReason, message: str) -> None:
        """Open the circuit: the account is in trouble."""
        self._store.change(lambda admission: admission.open_circuit(reason, message, self._clock()))

    def close_circuit(self) -> None:
        """Close the circuit: a submit was accepted."""
        self._store.change(lambda admission: admission.close_circuit(self._clock()))

    def lose_response(self, message: str) -> None:
        """Count a lost response."""
        self._store.change(lambda admission: admission.lose_response(message, self._clock()))

    def exhaust_budget(self, message: str) -> None:
        """Announce that the daily budget is exhausted."""
        self._store.change(lambda admission: admission.exhaust_budget(message, self._clock()))

    def published(self, event: AccountEvent) -> None:
        """Remove an event that was published from the outbox."""
        self._store.change(lambda admission: admission.published(event))

    def outbox(self) -> tuple[AccountEvent, ...]:
        """Return the events that are still to be published."""
        return self._store.read_recent().outbox

    def closed_since(self, second: float) -> bool:
        """Tell whether the circuit was closed at or after a second."""
        return self._store.read_recent().circuit.closed_at >= second

    def stretch(self) -> float:
        """Return how much longer gaps between polls should be while requests are scarce."""
        return self._store.read_recent().stretch(self._quotas, self._clock())

    def free_slots(self) -> int:
        """Return how many jobs could be admitted now, whatever they cost."""
        return self._store.read_recent().free_slots(self._quotas, self._clock())

    def affordable(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yield the jobs without a lease that what is left of today's budget covers together."""
        admission, now = self._store.read_recent(), self._clock()
        leased, left = admission.leases.active(now), admission.left_usd(self._quotas, now)
        for job in jobs:
            if job.id in leased:
                continue
            usd = 0.0 if admission.budget.holds(job.id, now) else admission.estimate(job).usd
            if usd <= left:
                left = round(left - usd, 6)
                yield job

    def metrics(self) -> dict[str, float]:
        """Return the figures for CloudWatch."""
        return self._store.read_recent().metrics(self._quotas, self._clock())


class Outbox:
    """Publishes the events of admission control at least once."""

    def __init__(self, *, admission: AdmissionControl, events: EventBus) -> None:
        self._admission, self._events = admission, events

    def publish(self) -> None:
        """Publish what is pending; what fails now is published by the next sweep."""
        for event in self._admission.outbox():
            detail = {"held": event.hold_reason, "message": event.message}
            self._events.put(event.name, detail)
            self._admission.published(event)


class Waker:
    """Wakes jobs, oldest first."""

    def __init__(
        self, *, follow_ups: FollowUps, admission: AdmissionControl, queue: DropQueue
    ) -> None:
        self._follow_ups, self._admission, self._queue = follow_ups, admission, queue

    def wake(self, job_id: str) -> None:
        """Wake one job."""
        self._queue.send_job(job_id)

    def wake_next(self) -> None:
        """Wake as many held jobs as could be admitted now."""
        free = min(self._admission.free_slots(), MAX_AT_ONCE)
        if free:
            # The index lags: it can still show a job that was just admitted as held.
            held = self._follow_ups.held(free + MAX_STALE)
            for job in islice(self._admission.affordable(held), free):
                self.wake(job.id)

    def any_held(self) -> bool:
        """Tell whether other jobs are in line."""
        return bool(self._follow_ups.held(1))

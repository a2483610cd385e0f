"""What jobs cost, and today's budget as admission control counts it."""

from collections.abc import Iterator
from dataclasses import dataclass

from retake.aws import cost_sums
from retake.domain.cost_sum import CostSum, of_job
from retake.domain.job import FollowUpQueue, Job, State

from . import jobs
from .console import now
from .stack import Stack


@dataclass(frozen=True)
class TodaysBudget:
    """The money of this day (UTC), in USD.

    Attributes:
        booked: what is spent, or booked for jobs in flight.
        limit: the daily budget.
    """

    booked: float
    limit: float

    @property
    def left(self) -> float:
        """Return what is left."""
        return max(0.0, self.limit - self.booked)


def read_costs(stack: Stack, prefix: str = "") -> Iterator[CostSum]:
    """Yield what the jobs below a prefix cost: settled ones in sums, the others one by one."""
    following = stack.follow_ups.all([FollowUpQueue.DUE])
    unsettled = [entry.id for entry in following if isinstance(entry, Job) and entry.may_cost]
    settled = _read_settled(stack, prefix)
    # The index lags: a job that it still shows may be settled, and so in a sum.
    for job in stack.jobs.get_many(unsettled).values():
        if job.follow_up and job.key.startswith(prefix):
            yield of_job(job)
    yield from settled


def _read_settled(stack: Stack, prefix: str) -> list[CostSum]:
    if not prefix or prefix.endswith("/"):
        sums = cost_sums.read(stack.table)
        return [costs for costs in sums if costs.folder.startswith(prefix)]
    # The prefix ends within a folder or a name, so it divides the sums.
    ended = jobs.read_newest(stack.table, [State.DELIVERED, State.LOST], prefix)
    return [of_job(job) for job in jobs.jobs_of(ended) if job.follow_up is None]


def todays_budget(stack: Stack) -> TodaysBudget:
    """Read what is booked today."""
    budget = stack.admission.read().budget
    return TodaysBudget(budget.booked(now().timestamp()), stack.daily_budget_usd)

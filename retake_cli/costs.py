"""Today's budget, as admission control counts it."""

from dataclasses import dataclass

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


def todays_budget(stack: Stack) -> TodaysBudget:
    """Read what is booked today."""
    budget = stack.admission.read().budget
    return TodaysBudget(budget.booked(now().timestamp()), stack.daily_budget_usd)

"""What jobs cost, by the day of their submit and by folder."""

from dataclasses import dataclass
from datetime import UTC

from .admission import PRICE_USD
from .job import Job, State


@dataclass(frozen=True, kw_only=True)
class CostSum:
    """What the jobs of one day and folder cost.

    Attributes:
        day: the day of their submit (UTC), in ISO format.
        folder: the folder of their clips, with a slash at its end.
        jobs: how many there are.
        billed_usd: what Segmind says that they cost.
        unpriced_jobs: those of them whose cost is unknown.
    """

    day: str
    folder: str
    jobs: int
    billed_usd: float = 0
    unpriced_jobs: int = 0

    @property
    def usd(self) -> float:
        """Return the sum; unknown costs count with the price that is booked for them."""
        return self.billed_usd + self.unpriced_jobs * PRICE_USD


def of_job(job: Job) -> CostSum:
    """Return what one job costs, or nothing if it costs nothing."""
    submitted = job.entered.get(State.SUBMITTING, job.began)
    is_unpriced = job.may_cost and job.cost_usd is None
    return CostSum(
        day=submitted.astimezone(UTC).date().isoformat(),
        folder=job.key.rpartition("/")[0] + "/",
        jobs=int(job.may_cost),
        billed_usd=(job.cost_usd or 0) if job.may_cost else 0,
        unpriced_jobs=int(is_unpriced),
    )

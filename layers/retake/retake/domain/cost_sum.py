"""What jobs cost, by the day of their submit, folder, mode and size."""

from dataclasses import dataclass, replace
from datetime import UTC

from .job import Job, State
from .sidecar import Sidecar


@dataclass(frozen=True, kw_only=True)
class CostSum:
    """What the jobs of one day, folder, mode and size cost.

    Attributes:
        day: the day of their submit (UTC), in ISO format.
        folder: the folder of their clips, with a slash at its end.
        mode: of their sidecars.
        size: of their sidecars.
        jobs: how many there are.
        estimated_usd: what they were estimated to cost.
        billed_usd: what Segmind says that they cost.
        unpriced_jobs: those of them whose cost is unknown.
        unpriced_usd: the estimates of these.
    """

    day: str
    folder: str
    mode: str = ""
    size: str = ""
    jobs: int
    estimated_usd: float = 0
    billed_usd: float = 0
    unpriced_jobs: int = 0
    unpriced_usd: float = 0

    @property
    def usd(self) -> float:
        """Return the sum; unknown costs count with their estimates."""
        return self.billed_usd + self.unpriced_usd


def of_job(job: Job) -> CostSum:
    """Return what one job costs, or nothing if it costs nothing."""
    submitted = job.entered.get(State.SUBMITTING, job.began)
    sidecar = job.sidecar or Sidecar()
    is_unpriced = job.may_cost and job.cost_usd is None
    return CostSum(
        day=submitted.astimezone(UTC).date().isoformat(),
        folder=job.key.rpartition("/")[0] + "/",
        mode=sidecar.mode,
        size=sidecar.size,
        jobs=int(job.may_cost),
        estimated_usd=job.estimated_usd if job.may_cost else 0,
        billed_usd=(job.cost_usd or 0) if job.may_cost else 0,
        unpriced_jobs=int(is_unpriced),
        unpriced_usd=job.estimated_usd if is_unpriced else 0,
    )


def correction(priced: Job) -> CostSum:
    """Return what has to be added when the cost of a settled job has become known."""
    return replace(
        of_job(priced),
        jobs=0,
        estimated_usd=0,
        unpriced_jobs=-1,
        unpriced_usd=-priced.estimated_usd,
    )

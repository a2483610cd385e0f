"""The end of a job, wherever it was reached: status file, event, lease, render time."""

from ..aws.job_store import JobStore
from ..aws.messaging import EventBus
from ..aws.past_jobs import PastJobs
from ..domain import status_file
from ..domain.admission import work_of
from ..domain.job import FOLLOWED, PAID, Job
from ..domain.prices import Cost, Prices
from ..observability import count, logger
from .admission_control import AdmissionControl
from .status_files import StatusFiles


class Settlement:
    """Publishes outcomes where people and programs look. Settling twice is harmless."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        status_files: StatusFiles,
        events: EventBus,
        admission: AdmissionControl,
        past_jobs: PastJobs,
    ) -> None:
        self._jobs, self._status_files, self._events = jobs, status_files, events
        self._admission, self._past_jobs = admission, past_jobs

    def settle(self, job_id: str) -> None:
        """Settle a job that has ended; leave one that has not to `sweep`."""
        job = self._admission.read_with_job(job_id)
        if job is None or job.follow_up is None:
            return
        if not job.has_ended:
            logger.warning("wait loop ended before its job", job_id=job_id, state=job.state)
            if job.state in FOLLOWED:
                self._jobs.update(job, due_in=0)
            return
        cost = job.cost_usd if job.state in PAID else 0
        if not self._admission.release(job_id, cost, self._learn(job)):
            return
        self._status_files.publish(job_id, job)
        outcome = job.state.capitalize()
        self._events.put(outcome, status_file.of_job(job))
        count(outcome)
        self._jobs.settle(job)

    def correct(self, job: Job, cost_usd: float) -> None:
        """Correct what is booked for a settled job whose cost was unknown."""
        self._admission.release(job.id, cost_usd, self._learn(job))
        self._status_files.publish(job.id)

    def _learn(self, job: Job) -> Prices | None:
        """Learn from a job; return the prices if it has changed them."""
        work = work_of(job)
        cost = Cost(job.id[:8], work, job.cost_usd) if work and job.cost_usd else None
        if cost is None and job.render_seconds is None:
            return None
        costs = self._past_jobs.add(job.render_seconds, cost)
        return Prices.learn(costs) if cost else None

"""The end of a job, wherever it was reached: status file, event, lease, render time."""

from ..aws.job_store import JobStore
from ..aws.messaging import EventBus
from ..aws.render_times import RenderTimes
from ..domain import status_file
from ..domain.job import FOLLOWED, PAID
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
        render_times: RenderTimes,
    ) -> None:
        self._jobs, self._status_files, self._events = jobs, status_files, events
        self._admission, self._render_times = admission, render_times

    def release_forgotten(self) -> None:
        """Release the long leases of jobs that are settled already.

        A function acquired such a lease because it had read the job before, and then died.
        """
        jobs = self._jobs.get_many(self._admission.long_leases()).values()
        settled = [job.id for job in jobs if job.has_ended and job.follow_up is None]
        if settled:
            self._admission.release_forgotten(settled)

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
        if not self._admission.release(job_id, cost):
            return
        self._status_files.publish(job_id, job)
        outcome = job.state.capitalize()
        self._events.put(outcome, status_file.of_job(job))
        count(outcome)
        if job.render_seconds is not None:
            self._render_times.add(job.render_seconds)
        self._jobs.settle(job)

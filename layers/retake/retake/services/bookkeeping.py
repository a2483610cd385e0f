"""Keeps the books right: leases and bookings of jobs that are over, and costs that are unknown."""

from ..aws.job_store import JobStore
from ..domain.admission import Booking
from ..domain.job import PAID, Job
from ..observability import logger
from ..segmind.client import SegmindClient
from ..segmind.responses import read_history_cost
from .admission_control import AdmissionControl
from .settle import Settlement

MAX_LOOKS = 10  # into the history, in one sweep


class Bookkeeping:
    """What `sweep` does about money and leases."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        segmind: SegmindClient,
        admission: AdmissionControl,
        settlement: Settlement,
    ) -> None:
        self._jobs, self._segmind = jobs, segmind
        self._admission, self._settlement = admission, settlement

    def run(self) -> None:
        """Do what is due; what fails is tried again by the next sweep."""
        for step in (self.release_forgotten, self.look_up_costs):
            try:
                step()
            except Exception:  # noqa: BLE001 - leases expire, and no job waits for a cost
                logger.exception("the books could not be brought up to date")

    def metrics(self) -> dict[str, float]:
        """Return the figures for CloudWatch."""
        return self._admission.metrics()

    def release_forgotten(self) -> None:
        """Release the long leases of jobs that are settled already.

        A function acquired such a lease because it had read the job before, and then died.
        """
        jobs = self._jobs.get_many(self._admission.long_leases()).values()
        settled = [job.id for job in jobs if job.has_ended and job.follow_up is None]
        if settled:
            self._admission.release_forgotten(settled)

    def look_up_costs(self) -> None:
        """Correct what is booked for jobs whose costs were unknown when they ended."""
        bookings = self._admission.bookings_to_check()
        due = sorted(bookings, key=lambda job_id: bookings[job_id].look_at)[:MAX_LOOKS]
        jobs = self._jobs.get_many(due)
        for job_id in due:
            job = jobs.get(job_id)
            if job and (not job.has_ended or job.follow_up):
                self._admission.release(job_id)  # its settlement corrects it
            elif job is None or job.state not in PAID or _bought_nothing(job, bookings[job_id]):
                self._admission.release(job_id, 0)
            elif job.cost_usd is not None:
                self._settlement.correct(job, job.cost_usd)
            elif not self._look_up(job):
                return  # requests are scarce

    def _look_up(self, job: Job) -> bool:
        """Look up a cost; return whether it could be asked for."""
        assert job.request_id  # noqa: S101 - it was paid
        if self._admission.request():
            return False
        found = read_history_cost(self._segmind.history(job.request_id), job.request_id)
        cost = job.believable(found)
        if cost is None:
            self._admission.release(job.id)
            return True
        logger.info("cost found in the history", job_id=job.id, cost_usd=cost)
        priced = self._jobs.price(job, cost)
        if priced:
            self._settlement.correct(priced, cost)
        return True


def _bought_nothing(job: Job, booking: Booking) -> bool:
    """Tell whether a function booked a job that was settled already, and then died."""
    return job.cost_usd is not None and not booking.look_at

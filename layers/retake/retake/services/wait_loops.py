"""Starts wait loops with a poll schedule that is learned from the last renders."""

from collections.abc import Callable

from ..aws.messaging import Executions
from ..aws.past_jobs import PastJobs
from ..domain.job import Job
from ..domain.poll_schedule import PollSchedule
from ..domain.wait_loop import WaitLoop


class WaitLoops:
    """Starts wait loops, and tells whether one runs."""

    def __init__(
        self,
        *,
        executions: Executions,
        past_jobs: PastJobs,
        random: Callable[[], float],
    ) -> None:
        self._executions, self._past_jobs, self._random = executions, past_jobs, random

    def start(self, job: Job) -> None:
        """Start the wait loop of a job that was just submitted."""
        schedule = self._learned().jittered(self._random())
        self._start(job, schedule, wait_seconds=schedule.seconds_until_next(0))

    def replace(self, job: Job) -> None:
        """Start the wait loop of a job whose last execution is gone; it polls at once."""
        self._start(job, self._learned())

    def is_running(self, job: Job) -> bool:
        """Tell whether a job's execution is in progress."""
        return self._executions.is_running(job.id, job.run)

    def _start(self, job: Job, schedule: PollSchedule, wait_seconds: int = 0) -> None:
        self._executions.start(
            WaitLoop(job_id=job.id, run=job.run, schedule=schedule, wait_seconds=wait_seconds)
        )

    def _learned(self) -> PollSchedule:
        return PollSchedule.learn(self._past_jobs.render_seconds())

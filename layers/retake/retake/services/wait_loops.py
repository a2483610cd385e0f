"""Starts wait loops with a poll schedule that is learned from the last renders."""

from collections.abc import Callable

from ..aws.messaging import Executions
from ..aws.render_times import RenderTimes
from ..domain.job import Job
from ..domain.poll_schedule import PollSchedule
from ..domain.wait_loop import WaitLoop


class WaitLoops:
    """Starts wait loops, and tells whether one runs."""

    def __init__(
        self,
        *,
        executions: Executions,
        render_times: RenderTimes,
        random: Callable[[], float],
    ) -> None:
        self._executions, self._render_times, self._random = executions, render_times, random

    def start(self, job: Job) -> None:
        """Start the wait loop of a job that was just submitted."""
        schedule = self._learned().jittered(self._random())
        wait = schedule.seconds_until_next(0)
        loop = WaitLoop(job_id=job.id, schedule=schedule, wait_seconds=wait)
        self._executions.start(loop, job.run)

    def replace(self, job: Job) -> None:
        """Start the wait loop of a job whose last execution is gone; it polls at once."""
        self._executions.start(WaitLoop(job_id=job.id, schedule=self._learned()), job.run)

    def is_running(self, job: Job) -> bool:
        """Tell whether a job's execution is in progress."""
        return self._executions.is_running(job.id, job.run)

    def _learned(self) -> PollSchedule:
        return PollSchedule.learn(self._render_times.recent())

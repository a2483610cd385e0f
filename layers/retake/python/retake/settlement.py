"""The end of a job, wherever it was reached: answer, event, lease, next job."""

from collections.abc import Callable
from typing import Any

from .adapters.jobs import JobsTable
from .adapters.messages import DropQueue, EventBus
from .answers import Answers
from .gatekeeper import Gatekeeper
from .observability import logger, measure
from .rules import answer
from .rules.states import ENDED, PAID, State

Clock = Callable[[], float]
NEXT_AT_ONCE = 10  # held jobs that one free slot's message may wake at most


class Settlement:
    """Writes outcomes where people and programs look, and lets the next jobs go."""

    def __init__(self, jobs: JobsTable, answers: Answers, events: EventBus, queue: DropQueue, gate: Gatekeeper, clock: Clock) -> None:
        self._jobs, self._answers, self._events, self._queue = jobs, answers, events, queue
        self._gate, self._clock = gate, clock

    def settle(self, job_id: str) -> None:
        """Settle a job that has ended, once; one that has not is left to `sweep`, which looks at it at once."""
        job = self._jobs.job(job_id)
        if job is None or "queue" not in job:
            return
        if State(job["state"]) not in ENDED:
            logger.warning("its wait-loop has ended, the job has not", job_id=job_id, state=job["state"])
            if job["state"] in (State.RENDERING, State.DELIVERING):
                self._jobs.note(job, at=int(self._clock()))
            return
        if not self._gate.release(job_id, job.get("cost_usd") if State(job["state"]) in PAID else 0):
            return
        self._answers.tell(job_id)
        self.announce(str(job["state"]).capitalize(), answer.of_job(job))
        measure(job["state"].capitalize())
        if "render_seconds" in job:
            self._jobs.learn(job["render_seconds"])
        self._jobs.note(job, queue=None, at=None)

    def announce(self, what: str, detail: dict[str, Any]) -> None:
        """Put one event for people and programs."""
        self._events.put(f"Retake {what}", detail)

    def tell_news(self) -> None:
        """Tell people what has happened to all jobs; what could not be told now is told by the next `sweep`."""
        for event in self._gate.news():
            self.announce(event["what"], {"held": event["held"], "message": event["message"]})
            self._gate.told(event)

    def let_next_go(self) -> None:
        """Wake as many held jobs as the gate would let through, oldest first."""
        if free := min(self._gate.free(), NEXT_AT_ONCE):
            for job in self._jobs.held(free):
                self._queue.go_on(job["id"])

"""The state of one wait loop, as it travels through the Step Functions execution."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from .poll_schedule import PollSchedule

LOST_RACE_SECONDS = 5  # until the next look at a job that another function has just written
FIRST_RETRY_SECONDS = 30  # until something is copied again


class NextStep(StrEnum):
    """What the state machine does next; `statemachine/modify_video.asl.json` branches on it."""

    WAIT = "WAIT"
    FETCH = "FETCH"
    FINISH = "FINISH"
    SETTLE = "SETTLE"


class Question(StrEnum):
    """What the next poll asks Segmind for."""

    STATUS = "status"
    RESULT = "result"  # the request is known to be completed
    HISTORY = "history"  # the request's record is known to be gone


@dataclass(frozen=True, kw_only=True)
class WaitLoop:
    """The state of one wait loop.

    Attributes:
        job_id: the job.
        run: the run of the job that it follows; a newer run has a wait loop of its own.
        schedule: the ages at which it is polled.
        polls: polls so far.
        elapsed: seconds waited so far, as the state machine counts.
        queued_at: the age in seconds at which Segmind last had the job in its queue; 0 if never.
        question: what the next poll asks for.
        next_step: what the state machine does next.
        wait_seconds: how long it waits, if it waits.
    """

    job_id: str
    run: int
    schedule: PollSchedule
    polls: int = 0
    elapsed: float = 0
    queued_at: float = 0
    question: Question = Question.STATUS
    next_step: NextStep = NextStep.WAIT
    wait_seconds: int = 0

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "WaitLoop":
        """Read the state that Step Functions passes to a function."""
        return cls(
            job_id=event["job_id"],
            run=event["run"],
            schedule=PollSchedule(tuple(event["poll_ages"])),
            polls=event["polls"],
            elapsed=event["elapsed"],
            queued_at=event["queued_at"],
            question=Question(event["question"]),
            next_step=NextStep(event["next"]),
            wait_seconds=event["wait_seconds"],
        )

    def as_event(self) -> dict[str, Any]:
        """Return the state as a function hands it back to Step Functions."""
        return {
            "job_id": self.job_id,
            "run": self.run,
            "poll_ages": list(self.schedule.ages),
            "polls": self.polls,
            "elapsed": self.elapsed,
            "queued_at": self.queued_at,
            "question": self.question,
            "next": self.next_step,
            "wait_seconds": self.wait_seconds,
        }

    def waiting(self, seconds: int, question: Question | None = None) -> "WaitLoop":
        """Return the state that waits and then asks the same, or another question."""
        return replace(
            self,
            next_step=NextStep.WAIT,
            wait_seconds=seconds,
            question=question or self.question,
        )

    def going_to(self, step: NextStep) -> "WaitLoop":
        """Return the state that continues with another step."""
        return replace(self, next_step=step)

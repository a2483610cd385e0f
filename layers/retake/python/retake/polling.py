"""One look at a job that Segmind works on, and what to do next."""

from collections.abc import Callable, Mapping
from typing import Any

from .adapters.jobs import JobsTable, Row
from .adapters.segmind import Segmind
from .answers import Answers
from .gatekeeper import Gatekeeper
from .observability import logger
from .rules.contract import (
    EARLY,
    FILE_LIFE,
    RECORD_LIFE,
    Completed,
    Failed,
    Found,
    Gone,
    Progress,
    Running,
    Unanswered,
    read_history,
    read_result,
    read_status,
)
from .rules.planner import LONGEST_GAP, Plan
from .rules.states import State

WAIT, DELIVER, SETTLE = "WAIT", "DELIVER", "SETTLE"
LOOK_AGAIN = {"next": WAIT, "wait_seconds": 5}  # somebody else has changed the job meanwhile
Loop = dict[str, Any]


class Polling:
    """Asks once; every expected answer is a value with a next step."""

    def __init__(
        self,
        jobs: JobsTable,
        answers: Answers,
        segmind: Segmind,
        gate: Gatekeeper,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._answers, self._segmind = jobs, answers, segmind
        self._gate, self._clock = gate, clock

    def poll(self, loop: Loop) -> Loop:
        """Look at the job of a wait-loop.

        Parameters: `loop`, the loop's state: `job_id`, `polls` so far, the `plan` of its polls, its `age` at the last one by what was
        waited, and the age at which it was last seen `queued`, if it was; ages in seconds since the submit.
        Returns the loop's state with `next` (`WAIT`, `DELIVER` or `SETTLE`) and `wait_seconds`.
        """
        job = self._jobs.job(loop["job_id"])
        if job is None or job["state"] not in (State.RENDERING, State.DELIVERING):
            return loop | {"next": SETTLE}
        if job["state"] == State.DELIVERING:
            self._look_for_another_address(job)
            return loop | {"next": DELIVER}
        loop = loop | {"age": loop["age"] + loop["wait_seconds"]}
        if wait := self._shut():
            return loop | {"next": WAIT, "wait_seconds": wait}
        age = self._clock() - job["submitted_at"]
        if loop.pop("gone", False) or age > RECORD_LIFE:
            return self._from_history(loop, job, age)
        if loop.get("completed"):
            return self._result(loop, job, {})
        match read_status(self._segmind.status(job["request_id"])):
            case Completed(found):
                if wait := self._shut():  # the next turn's request is for the result at once
                    return loop | {"next": WAIT, "wait_seconds": wait, "completed": True}
                return self._result(loop, job, found)
            case Failed(reason):
                return self._end(loop, job, State.FAILED, reason)
            case Gone() if age > EARLY:
                return self._gone(loop, job, age)
            case Unanswered() as answer:
                return self._unanswered(loop, job, answer)
            case progress:
                planned_age = max(age, loop["age"])  # the clock's, unless the waits of the state machine are scaled
                if isinstance(progress, Running) and progress.queued:
                    loop = loop | {"queued": planned_age}
                wait = Plan.from_input(loop["plan"]).wait(planned_age, loop.get("queued", 0), self._gate.stretch())
                return loop | {"next": WAIT, "polls": loop["polls"] + 1, "wait_seconds": wait}

    def _unanswered(self, loop: Loop, job: Row, answer: Progress) -> Loop:
        logger.warning("no usable answer", job_id=job["id"], answer=repr(answer))
        wait = answer.wait if isinstance(answer, Unanswered) else 15
        if isinstance(answer, Unanswered) and answer.status in (401, 403):
            self._segmind.refresh_key()
        elif isinstance(answer, Unanswered) and answer.status == 429:
            self._gate.pause(wait)
        return loop | {"next": WAIT, "wait_seconds": wait}

    def _result(self, loop: Loop, job: Row, found: Mapping[str, Any]) -> Loop:
        answer = self._segmind.result(job["request_id"])
        if result := read_result(answer, job.get("sent", {})):
            return self._deliver(loop, job, result.url, {**found, **result.metrics})
        age = self._clock() - job["submitted_at"]
        match read_status(answer):
            case Gone() if age > EARLY:
                return self._gone(loop, job, age)
            case progress if answer.status != 200:
                return self._unanswered(loop, job, progress)
        return self._keep_asking(loop, job, f"completed, but its result has no address: {answer.text[:2000]}")

    def _gone(self, loop: Loop, job: Row, age: float) -> Loop:
        if wait := self._shut():  # the next turn's request is for the history at once
            return loop | {"next": WAIT, "wait_seconds": wait, "gone": True}
        return self._from_history(loop, job, age)

    def _from_history(self, loop: Loop, job: Row, age: float) -> Loop:
        answer = self._segmind.history(job["request_id"])
        match read_history(answer, job["request_id"]):
            case Found(url, figures):
                return self._deliver(loop, job, url, figures)
            case Failed(reason):
                return self._end(loop, job, State.FAILED, reason)
        if answer.status not in (200, 404):
            return self._unanswered(loop, job, read_status(answer))
        if age > FILE_LIFE:
            return self._end(loop, job, State.LOST, f"paid, but Segmind no longer has the result of request {job['request_id']}")
        return self._keep_asking(loop, job, f"its record is gone and the history has no address yet: {answer.words}")

    def _deliver(self, loop: Loop, job: Row, url: str, figures: Mapping[str, Any]) -> Loop:
        cost, took = figures.get("cost"), self._render_seconds(loop, job, figures.get("total_time"))
        if self._jobs.advance(job, State.DELIVERING, result_url=url, cost_usd=cost, render_seconds=took, reason=None) is None:
            return loop | LOOK_AGAIN
        self._gate.release(job["id"], cost)
        return loop | {"next": DELIVER}

    def _render_seconds(self, loop: Loop, job: Row, total_time: float | None) -> float | None:
        """Say how long a render took as its plan counts: without the queue, and in the seconds of the waits, which may be scaled."""
        age = self._clock() - float(job["submitted_at"])
        if not total_time or not loop["age"]:
            return None
        planned = max(age, float(loop["age"]))
        return round(max(0.0, min(total_time * planned / max(age, 1), planned) - float(loop.get("queued", 0))), 1)

    def _look_for_another_address(self, job: Row) -> None:
        """The file could not be had where it was said to be: the history may know better."""
        if not job.get("delivery_tries") or self._shut():
            return
        found = read_history(self._segmind.history(job["request_id"]), job["request_id"])
        if isinstance(found, Found) and found.url != job["result_url"]:
            self._jobs.note(job, result_url=found.url)

    def _end(self, loop: Loop, job: Row, state: State, reason: str) -> Loop:
        ended = self._jobs.advance(job, state, reason=reason)
        return loop | ({"next": SETTLE} if ended else LOOK_AGAIN)

    def _keep_asking(self, loop: Loop, job: Row, reason: str) -> Loop:
        """A paid job is never failed for an answer nobody understands: it stays, with the answer, for a person to see."""
        logger.error("a paid result needs a look", job_id=job["id"], reason=reason)
        if job.get("reason") != reason:
            self._jobs.note(job, reason=reason)
        self._answers.tell(job["id"])
        return loop | {"next": WAIT, "wait_seconds": LONGEST_GAP}

    def _shut(self) -> int:
        """Take one request of the budget; the seconds to wait when there is none."""
        shut = self._gate.ask()
        return shut.wait if shut else 0

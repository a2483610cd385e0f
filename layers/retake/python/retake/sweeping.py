"""Finds what stopped half-way and moves it on."""

from collections.abc import Callable

from .adapters.jobs import DUE, HELD, JobsTable, Row
from .adapters.messages import DropQueue, Runs
from .answers import Answers
from .gatekeeper import Gatekeeper
from .notices import Notices
from .observability import logger, measure
from .recovery import Recovery
from .rules.planner import Plan
from .rules.states import ENDED, Held, State
from .settlement import Settlement

MOST = 100  # rows a sweep takes on; the next one is a minute away
OVERDUE = 900  # seconds after which a row that nobody has moved on counts as alone
LONGEST = 35  # seconds after which a sweep takes on no other row; each may take as long as a few slow answers
AGAIN = 300  # seconds until a row that was moved on is looked at again


class Sweeping:
    """Looks after every row whose time has come; each step may be repeated, by two sweeps at once, too."""

    def __init__(
        self,
        jobs: JobsTable,
        answers: Answers,
        settlement: Settlement,
        queue: DropQueue,
        runs: Runs,
        recovery: Recovery,
        notices: Notices,
        gate: Gatekeeper,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._answers, self._settlement = jobs, answers, settlement
        self._queue, self._runs, self._recovery = queue, runs, recovery
        self._notices, self._gate, self._clock = notices, gate, clock

    def sweep(self) -> int:
        """Let held jobs go, and move on what is due; tells how many rows were due."""
        started = self._clock()
        self._settlement.let_next_go()  # before the rows, because a slow history can take the rest of the function's time
        due = self._jobs.due(started, MOST)
        self._recovery.begin()
        for row in due:
            if self._clock() > started + LONGEST:
                break
            try:
                self._place(row) if row["sk"] == "place" else self._job(row)
            except Exception:  # noqa: BLE001 - one row that cannot be moved on must not stop the others
                logger.exception("could not be moved on", pk=row["pk"])
        self._measure()
        try:
            self._settlement.tell_news()
        finally:
            self._mail()
        return len(due)

    def _mail(self) -> None:
        """Mail people, last of all: nothing waits for it, and the next sweep tries again."""
        try:
            self._notices.tell()
        except Exception:  # noqa: BLE001 - without a mail the sweep is no less done
            logger.exception("no mail could be sent, or not be noted as sent; it is tried again")

    def _measure(self) -> None:
        """Tell how things stand; the first page of a count, some thousands, is as good as all."""
        now = self._clock()
        for name, value in self._gate.figures().items():
            measure(name, value)
        measure("JobsHeld", self._jobs.count(HELD, now))
        measure("JobsOverdue", self._jobs.count(DUE, now - OVERDUE))

    def _place(self, place: Row) -> None:
        self._jobs.look_later(place, self._clock() + AGAIN)
        self._queue.look_at(place["bucket"], place["key"])

    def _job(self, job: Row) -> None:
        state, later = State(job["state"]), int(self._clock()) + AGAIN
        logger.info("due", job_id=job["id"], state=state)
        match state:
            case State.SUBMITTING:
                reason = "the function ended before Segmind's answer was recorded"
                if self._jobs.advance(job, State.SUBMIT_UNKNOWN, within=0, reason=reason):
                    self._answers.tell(job["id"])
            case State.SUBMIT_UNKNOWN:
                self._recovery.look(job)
            case State.RENDERING | State.DELIVERING:
                self._follow(job, later)
            case _ if state in ENDED:
                self._settlement.settle(job["id"])
            case State.HELD if job["held"] == Held.ATTENTION:
                self._recovery.look(job)
            case _:  # claimed, or held for a trouble of its own
                self._jobs.note(job, at=later)
                self._queue.go_on(job["id"])

    def _follow(self, job: Row, later: int) -> None:
        """See to it that a wait-loop runs for a job that Segmind has."""
        if self._runs.running(job["id"], job["run"]):
            self._jobs.note(job, at=later)
            return
        run = job["run"] + 1
        if self._jobs.note(job, at=later, run=run):
            self._runs.start(job["id"], run, Plan.learn(self._jobs.renders()).as_input(), 0)

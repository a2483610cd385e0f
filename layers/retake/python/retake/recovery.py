"""A submit whose answer never came: Segmind's history decides whether it runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from .adapters.jobs import JobsTable, Row
from .adapters.messages import DropQueue
from .adapters.segmind import PAGE_ROWS, Segmind
from .answers import Answers
from .gatekeeper import Gatekeeper
from .observability import logger
from .rules import answer
from .rules.contract import is_ours, read_history_list
from .rules.states import Held, State
from .settlement import Settlement

LOOK_AGAIN = 60  # seconds between two looks
LOOKS = 3  # without a trace, over ...
ABSENT_SECONDS = 300  # ... at least so long, before the request counts as absent: how soon a row appears is not known
DEAF_SECONDS = 900  # the history cannot be read for so long, before a person is asked
MOST_PAGES = 20
READ_SECONDS = 30  # after which no further page is asked for: other jobs wait for the same sweep


class Recovery:
    """Looks for lost requests: adopts what it finds, has absent ones sent once more, and asks a person when nobody can know."""

    def __init__(
        self,
        jobs: JobsTable,
        answers: Answers,
        settlement: Settlement,
        segmind: Segmind,
        gate: Gatekeeper,
        queue: DropQueue,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._answers, self._settlement, self._segmind = jobs, answers, settlement, segmind
        self._gate, self._queue, self._clock = gate, queue, clock

    def look(self, job: Row) -> None:
        """Look once for the request of a job in `SUBMIT_UNKNOWN`."""
        if "sent" not in job:  # the function died before there was anything to send
            self._send_again(job)
            return
        if self._gate.ask():
            self._jobs.note(job, at=self._later())
            return
        since = datetime.fromisoformat(job["times"][State.SUBMITTING])
        age = self._clock() - since.timestamp()
        rows = self._rows(since)
        looks = job.get("looks", 0) + (rows is not None)
        if rows is None and age > DEAF_SECONDS:
            self._ask_a_person(job, "Segmind's answer never came, and its history cannot be read")
        elif rows and (request_id := self._ours(job, rows)):
            self._adopt(job, request_id, since)
        elif rows is None or (not job.get("absent") and (looks < LOOKS or age < ABSENT_SECONDS)):
            self._jobs.note(job, at=self._later(), looks=looks)
        elif job.get("resubmitted"):
            self._ask_a_person(job, "Segmind's answer never came, twice, and its history has no trace of the request")
        else:
            self._send_again(job)

    def _send_again(self, job: Row) -> None:
        logger.warning("the request is absent; it is sent once more", job_id=job["id"])
        if self._jobs.note(job, at=self._later(), absent=True):
            self._queue.go_on(job["id"])

    def _rows(self, since: datetime) -> list[Any] | None:
        """Read the history from the day of the submit on; `None` when any page of it cannot be read this time."""
        first, last = (since - timedelta(days=1)).date(), (datetime.fromtimestamp(self._clock(), UTC) + timedelta(days=1)).date()
        rows: list[Any] = []
        began = self._clock()
        for page in range(1, MOST_PAGES + 1):
            if page > 1 and (self._clock() > began + READ_SECONDS or self._gate.ask()):
                return None
            found = read_history_list(self._segmind.history_page(page, first.isoformat(), last.isoformat()))
            if found is None:
                return None
            rows += found
            if len(found) < PAGE_ROWS:
                break
        return rows

    def _ours(self, job: Row, rows: list[Any]) -> str | None:
        known = self._jobs.place(job["bucket"], job["key"]).get("requests", set())
        found = (row["request_id"] for row in rows if is_ours(row, job["sent"]))
        return next((request_id for request_id in found if request_id not in known), None)

    def _adopt(self, job: Row, request_id: str, since: datetime) -> None:
        logger.warning("a lost answer is found in the history", job_id=job["id"], request_id=request_id)
        paid: Row = {"request_id": request_id, "submitted_at": int(since.timestamp()), "reason": None}
        if self._jobs.advance(job, State.RENDERING, within=0, **paid):
            self._jobs.remember_request(job, request_id)
            self._answers.tell(job["id"])

    def _ask_a_person(self, job: Row, why: str) -> None:
        cure = 'look at Segmind\'s history yourself; raise "rerun" in the sidecar to send it again'
        held = self._jobs.advance(job, State.HELD, queue=None, at=None, held=Held.ATTENTION, reason=f"{why}; {cure}")
        if held:
            self._answers.tell(job["id"])
            self._settlement.announce("Held", answer.of_job(held))

    def _later(self) -> int:
        return int(self._clock()) + LOOK_AGAIN

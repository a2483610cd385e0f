"""A submit whose answer never came: Segmind's history decides whether it runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum

from .adapters.jobs import JobsTable, Row
from .adapters.messages import DropQueue
from .adapters.segmind import Segmind
from .answers import Answers
from .gatekeeper import Gatekeeper
from .observability import logger
from .rules import answer
from .rules.contract import FILE_LIFE
from .rules.drop import mark
from .rules.history import Rows, is_ours, read_page
from .rules.states import Held, State
from .settlement import Settlement

LOOK_AGAIN = 60  # seconds between two looks
LOOKS = 3  # without a trace, over ...
ABSENT_SECONDS = 300  # ... at least so long, before the request counts as absent: how soon a row appears is not known
DEAF_SECONDS = 900  # the history has told nothing for so long, before a person is asked
ASKED_AGAIN = 900  # seconds between two looks after that
MOST_PAGES = 50  # a longer history proves no absence
READ_SECONDS = 30  # after which a look goes on the next time: other jobs wait for the same sweep


class Look(Enum):
    """What a look at the history can say beside the request's id."""

    ABSENT = "absent"
    UNCLEAR = "unclear"  # it could not be read, or a row does not say whose it is
    SHUT = "shut"  # the request limit or the time is used up; the look goes on at the same page


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
        self._pages: dict[tuple[int, str, str], Rows | None] = {}

    def begin(self) -> None:
        """Begin a sweep: a page that was read serves all who look in it, and nobody after it."""
        self._pages.clear()

    def look(self, job: Row) -> None:
        """Look once for the request of a job in `SUBMIT_UNKNOWN`, or of one for which a person was asked."""
        asked = job["state"] == State.HELD
        if asked and "asked_at" not in job:
            self._tell_a_person(job)
            return
        # Put off before anything is asked: a history that takes all the time there is must not be first in line again.
        job = self._jobs.note(job, at=int(self._clock()) + (ASKED_AGAIN if asked else LOOK_AGAIN)) or {}
        if not job:
            return
        if "sent" not in job:  # the function died before there was anything to send
            self._send_again(job)
            return
        since = datetime.fromisoformat(job["times"][State.SUBMITTING])
        match self._search(job, since):
            case str(request_id):
                self._adopt(job, request_id, since)
            case Look.ABSENT if not asked:
                self._absent(job, since)
            case Look.UNCLEAR if not asked:
                deaf_since = job.get("deaf_since", int(self._clock()))
                if self._clock() > deaf_since + DEAF_SECONDS:
                    self._ask_a_person(job, "Segmind's answer never came, and its history does not tell")
                else:
                    self._jobs.note(job, deaf_since=deaf_since, page=None)
            case Look.ABSENT | Look.UNCLEAR if self._clock() > since.timestamp() + FILE_LIFE:
                self._jobs.note(job, queue=None, at=None)

    def _absent(self, job: Row, since: datetime) -> None:
        looks, age = job.get("looks", 0) + 1, self._clock() - since.timestamp()
        if not job.get("absent") and (looks < LOOKS or age < ABSENT_SECONDS):
            self._jobs.note(job, looks=looks, deaf_since=None, page=None)
        elif job.get("resubmitted"):
            self._ask_a_person(job, "Segmind's answer never came, twice, and its history has no trace of the request")
        else:
            self._send_again(job)

    def _send_again(self, job: Row) -> None:
        logger.warning("the request is absent; it is sent once more", job_id=job["id"])
        if self._jobs.note(job, absent=True, deaf_since=None, page=None):
            self._queue.go_on(job["id"])

    def _search(self, job: Row, since: datetime) -> str | Look:
        """Read the history from the day before the submit on, page by page, until one brings nothing new."""
        began, verdict, seen = self._clock(), Look.ABSENT, set[str]()
        for page in range(job.get("page", 1), MOST_PAGES + 1):
            rows = self._page(page, since) if self._clock() <= began + READ_SECONDS else Look.SHUT
            if rows is Look.SHUT and verdict is Look.ABSENT:
                self._jobs.note(job, page=page)
            if isinstance(rows, Look):
                return rows if verdict is Look.ABSENT else verdict
            new = [row for row in rows if str(row.get("request_id")) not in seen]
            if not new:
                break
            for row in new:
                seen.add(str(row.get("request_id")))
                if (ours := is_ours(row, job["sent"], mark(job))) is False:
                    continue
                owner = self._jobs.owner(str(row.get("request_id")))
                if ours and owner in (None, mark(job)):
                    return str(row["request_id"])
                if ours is None and owner is None:
                    verdict = Look.UNCLEAR
        else:
            return Look.UNCLEAR
        return verdict

    def _page(self, page: int, since: datetime) -> Rows | Look:
        first = (since - timedelta(days=1)).date().isoformat()
        last = (datetime.fromtimestamp(self._clock(), UTC) + timedelta(days=1)).date().isoformat()
        if (page, first, last) not in self._pages:
            if self._gate.ask():
                return Look.SHUT
            self._pages[page, first, last] = read_page(self._segmind.history_page(page, first, last), page)
        rows = self._pages[page, first, last]
        return Look.UNCLEAR if rows is None else rows

    def _adopt(self, job: Row, request_id: str, since: datetime) -> None:
        logger.warning("a lost answer is found in the history", job_id=job["id"], request_id=request_id)
        paid: Row = {"request_id": request_id, "submitted_at": int(since.timestamp()), "reason": None, "held": None, "asked_at": None}
        if self._jobs.own_request(request_id, mark(job)) and self._jobs.advance(job, State.RENDERING, within=0, **paid):
            self._gate.lift()
            self._answers.tell(job["id"])

    def _ask_a_person(self, job: Row, why: str) -> None:
        cure = 'look at Segmind\'s history yourself; raise "rerun" in the sidecar to send it again'
        if held := self._jobs.advance(job, State.HELD, held=Held.ATTENTION, reason=f"{why}; {cure}"):
            self._tell_a_person(held)

    def _tell_a_person(self, job: Row) -> None:
        self._gate.release(job["id"])
        self._answers.tell(job["id"])
        self._settlement.announce("Held", answer.of_job(job))
        self._jobs.note(job, asked_at=int(self._clock()), at=int(self._clock()) + ASKED_AGAIN)

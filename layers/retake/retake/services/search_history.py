"""Searches Segmind's history for a request whose response was lost."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from ..aws.job_store import JobStore
from ..domain.job import HistorySearch, Job, State
from ..segmind.client import SegmindClient
from ..segmind.history import Row, is_ours, read_page
from .admission_control import AdmissionControl

MAX_PAGES = 50  # a longer history proves no absence
MAX_SECONDS = 30  # then the search continues the next time: other jobs wait for the same sweep


class NotFound(Enum):
    """What a search can say, besides the id of the request."""

    ABSENT = "absent"  # the history was read completely, and the request is not in it
    UNCLEAR = "unclear"  # a page could not be read, or a row does not say whose it is
    INTERRUPTED = "interrupted"  # out of requests or time; the search continues at this page


class HistorySearcher:
    """Reads the history page by page; a page that was read serves all jobs of one sweep."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        segmind: SegmindClient,
        admission: AdmissionControl,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._segmind, self._admission = jobs, segmind, admission
        self._clock = clock
        self._pages: dict[tuple[int, str, str], list[Row] | None] = {}

    def forget_pages(self) -> None:
        """Forget the pages that were read; a new sweep reads new ones."""
        self._pages.clear()

    def find(self, job: Job, search: HistorySearch) -> str | NotFound:
        """Search the history from the day before the submit on, until a page brings nothing new.

        Returns:
            The id of the job's request, or why there is none.
        """
        began = self._clock()
        verdict = NotFound.ABSENT
        seen: set[str] = set()
        for page in range(search.next_page, MAX_PAGES + 1):
            rows: list[Row] | NotFound = NotFound.INTERRUPTED
            if self._clock() <= began + MAX_SECONDS:
                rows = self._page(page, submitted_at(job))
            if isinstance(rows, NotFound):
                if verdict is not NotFound.ABSENT:
                    return verdict
                if rows is NotFound.INTERRUPTED:
                    self._jobs.update(job, search=replace(search, next_page=page))
                return rows
            new = [row for row in rows if str(row.get("request_id")) not in seen]
            if not new:
                return verdict
            seen.update(str(row.get("request_id")) for row in new)
            found = self._match(job, new)
            if isinstance(found, str):
                return found
            if found:
                verdict = found
        return NotFound.UNCLEAR

    def _match(self, job: Job, rows: list[Row]) -> str | NotFound | None:
        """Return the id of the job's request, or UNCLEAR when a row could be its own."""
        assert job.attempt and job.attempt.body  # noqa: S101, PT018 - something was sent
        verdict: NotFound | None = None
        for row in rows:
            ours = is_ours(row, job.attempt.body, job.correlation_id)
            if ours is False:
                continue
            request_id = str(row.get("request_id"))
            owner = self._jobs.request_owner(request_id)
            if ours and owner in (None, job.correlation_id):
                return request_id
            if ours is None and owner is None:
                verdict = NotFound.UNCLEAR
        return verdict

    def _page(self, page: int, since: datetime) -> list[Row] | NotFound:
        day = timedelta(days=1)  # the days of the history may be those of another time zone
        first = (since - day).date().isoformat()
        last = (datetime.fromtimestamp(self._clock(), UTC) + day).date().isoformat()
        if (page, first, last) not in self._pages:
            if self._admission.request():
                return NotFound.INTERRUPTED
            response = self._segmind.history_page(page, first, last)
            self._pages[page, first, last] = read_page(response, page)
        rows = self._pages[page, first, last]
        return NotFound.UNCLEAR if rows is None else rows


def submitted_at(job: Job) -> datetime:
    """Return when a job was sent."""
    return job.entered[State.SUBMITTING]

"""A submit whose response was lost: Segmind's history decides whether it runs."""

from collections.abc import Callable
from dataclasses import replace

from ..aws.job_store import JobStore
from ..aws.messaging import EventBus
from ..domain import status_file
from ..domain.job import HistorySearch, HoldReason, Job, SearchResult, State
from ..domain.limits import FILE_LIFETIME_SECONDS
from ..observability import logger
from .admission_control import AdmissionControl, Waker
from .search_history import HistorySearcher, NotFound, submitted_at
from .status_files import StatusFiles

SEARCH_INTERVAL_SECONDS = 60
# How soon a row appears is not known, so a request counts as absent after so many passes ...
PASSES_BEFORE_ABSENT = 3
ABSENT_AFTER_SECONDS = 300  # ... and at least so long after the submit
UNREADABLE_SECONDS = 900  # the history was unreadable for so long, before a person is notified
NOTIFIED_INTERVAL_SECONDS = 900  # between two searches after that


class Recovery:
    """Adopts lost requests that it finds, resubmits absent ones, else notifies a person."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        searcher: HistorySearcher,
        status_files: StatusFiles,
        events: EventBus,
        waker: Waker,
        admission: AdmissionControl,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._searcher, self._status_files = jobs, searcher, status_files
        self._events, self._waker, self._admission = events, waker, admission
        self._clock = clock

    def begin_sweep(self) -> None:
        """Begin a sweep: pages of the history that were read before are forgotten."""
        self._searcher.forget_pages()

    def begin(self, job: Job) -> None:
        """Begin the search for the request of a job whose function ended within its submit."""
        reason = "the function ended before Segmind's response was recorded"
        if self._jobs.advance(job, State.SUBMIT_UNKNOWN, due_in=0, reason=reason):
            self._status_files.publish(job.id)

    def search(self, job: Job) -> None:
        """Search once for the request of a job in SUBMIT_UNKNOWN, or held for attention."""
        notified = job.state is State.HELD
        search = job.search or HistorySearch()
        if notified and search.notified_at is None:
            self._notify(job, search)
            return
        # Postponed before anything is asked: a slow history must not always be first in line.
        interval = NOTIFIED_INTERVAL_SECONDS if notified else SEARCH_INTERVAL_SECONDS
        current = self._jobs.update(job, due_in=interval)
        if current is None:
            return
        if current.attempt is None or current.attempt.body is None:
            self._resubmit(current, search)  # the function ended before anything was sent
            return
        match self._searcher.find(current, search):
            case str(request_id):
                self._adopt(current, request_id)
            case NotFound.ABSENT if not notified:
                self._is_absent(current, search)
            case NotFound.UNCLEAR if not notified:
                self._is_unclear(current, search)
            case NotFound.ABSENT | NotFound.UNCLEAR:
                if self._seconds_since_submit(current) > FILE_LIFETIME_SECONDS:
                    self._jobs.update(current, follow_up=None)

    def _is_absent(self, job: Job, search: HistorySearch) -> None:
        assert job.attempt  # noqa: S101 - something was sent
        passes = search.passes + 1
        early = self._seconds_since_submit(job) < ABSENT_AFTER_SECONDS
        if not job.is_proven_absent and (passes < PASSES_BEFORE_ABSENT or early):
            again = replace(search, passes=passes, next_page=1, unreadable_since=None)
            self._jobs.update(job, search=again)
        elif job.attempt.number > 1:
            twice = "Segmind's response was lost twice, and its history has no trace"
            self._hold_for_attention(job, twice)
        else:
            self._resubmit(job, search)

    def _is_unclear(self, job: Job, search: HistorySearch) -> None:
        now = int(self._clock())
        since = now if search.unreadable_since is None else search.unreadable_since
        if now > since + UNREADABLE_SECONDS:
            unclear = "Segmind's response was lost, and its history does not say whether it runs"
            self._hold_for_attention(job, unclear)
        else:
            again = replace(search, next_page=1, unreadable_since=since)
            self._jobs.update(job, search=again)

    def _resubmit(self, job: Job, search: HistorySearch) -> None:
        logger.warning("the request is absent; it is resubmitted", job_id=job.id)
        absent = replace(search, result=SearchResult.ABSENT, next_page=1, unreadable_since=None)
        if self._jobs.update(job, search=absent):
            self._waker.wake(job.id)

    def _adopt(self, job: Job, request_id: str) -> None:
        logger.warning("lost request found in history", job_id=job.id, request_id=request_id)
        if not self._jobs.claim_request(request_id, job.correlation_id):
            return
        rendering = self._jobs.advance(
            job,
            State.RENDERING,
            due_in=0,
            request_id=request_id,
            submitted_at=int(submitted_at(job).timestamp()),
            reason=None,
            hold_reason=None,
            search=None,
        )
        if rendering:
            self._admission.close_circuit()
            self._status_files.publish(job.id)

    def _hold_for_attention(self, job: Job, why: str) -> None:
        cure = 'check Segmind\'s history; to send it again, increase "rerun" in the sidecar'
        held = self._jobs.advance(
            job,
            State.HELD,
            hold_reason=HoldReason.ATTENTION,
            reason=f"{why}; {cure}",
        )
        if held:
            self._notify(held, held.search or HistorySearch())

    def _notify(self, job: Job, search: HistorySearch) -> None:
        self._admission.release(job.id)
        self._status_files.publish(job.id)
        self._events.put("Held", status_file.of_job(job))
        notified = replace(search, notified_at=int(self._clock()), next_page=1)
        self._jobs.update(job, due_in=NOTIFIED_INTERVAL_SECONDS, search=notified)

    def _seconds_since_submit(self, job: Job) -> float:
        return self._clock() - submitted_at(job).timestamp()

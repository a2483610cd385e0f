"""One look at a job that Segmind works on, and what to do next."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..aws.job_store import JobStore
from ..domain.job import FOLLOWED, Job, State
from ..domain.limits import (
    FILE_LIFETIME_SECONDS,
    RECORD_LIFETIME_SECONDS,
    REPLICA_LAG_SECONDS,
)
from ..domain.poll_schedule import MAX_GAP_SECONDS
from ..domain.wait_loop import LOST_RACE_SECONDS, NextStep, Question, WaitLoop
from ..observability import logger
from ..segmind.client import SegmindClient
from ..segmind.responses import (
    Completed,
    Failed,
    Found,
    Gone,
    Response,
    Running,
    Unusable,
    read_history_row,
    read_result,
    read_status,
)
from .admission_control import AdmissionControl
from .status_files import StatusFiles

MAX_RAW_RESPONSE = 2000  # characters of a response that are kept for a person


class Poller:
    """Asks once; every expected response is a value with a next step."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        status_files: StatusFiles,
        segmind: SegmindClient,
        admission: AdmissionControl,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._status_files = jobs, status_files
        self._segmind, self._admission, self._clock = segmind, admission, clock

    def poll(self, loop: WaitLoop) -> WaitLoop:
        """Ask Segmind about the job of a wait loop, and return the loop's next state."""
        job = self._admission.read_with_job(loop.job_id)
        if job is None or job.run != loop.run or job.state not in FOLLOWED:
            return loop.going_to(NextStep.SETTLE)
        if job.state is not State.RENDERING:
            self._look_for_another_url(job)
            return loop.going_to(NextStep.FETCH)
        question = loop.question
        if self._age(job) > RECORD_LIFETIME_SECONDS:
            question = Question.HISTORY
        loop = replace(loop, elapsed=loop.elapsed + loop.wait_seconds)
        wait = self._seconds_until_request()
        if wait:
            return loop.waiting(wait, question)
        match question:
            case Question.STATUS:
                return self._ask_status(loop, job)
            case Question.RESULT:
                return self._ask_result(loop, job, {})
            case Question.HISTORY:
                return self._ask_history(replace(loop, question=Question.STATUS), job)

    def _ask_status(self, loop: WaitLoop, job: Job) -> WaitLoop:
        age = self._age(job)
        match read_status(self._segmind.status(_request_id(job))):
            case Completed(metrics):
                wait = self._seconds_until_request()
                if wait:
                    return loop.waiting(wait, Question.RESULT)
                return self._ask_result(loop, job, metrics)
            case Failed(reason):
                return self._end(loop, job, State.FAILED, reason)
            case Gone() if age > REPLICA_LAG_SECONDS:
                return self._record_is_gone(loop, job)
            case Unusable() as unusable:
                return self._retry(loop, job, unusable)
            case progress:
                # The clock's age, unless the waits of the state machine are scaled.
                age = max(age, loop.elapsed)
                if isinstance(progress, Running) and progress.queued:
                    loop = replace(loop, queued_at=age)
                stretch = self._admission.stretch()
                wait = loop.schedule.seconds_until_next(age, loop.queued_at, stretch)
                return replace(loop, polls=loop.polls + 1).waiting(wait)

    def _ask_result(self, loop: WaitLoop, job: Job, metrics: Mapping[str, float]) -> WaitLoop:
        response = self._segmind.result(_request_id(job))
        sent = (job.attempt and job.attempt.body) or {}
        found = read_result(response, sent)
        if found:
            return self._fetch(loop, job, Found(found.url, {**metrics, **found.metrics}))
        progress = read_status(response)
        if isinstance(progress, Gone) and self._age(job) > REPLICA_LAG_SECONDS:
            return self._record_is_gone(loop, job)
        if response.status != 200:
            return self._retry(loop, job, progress)
        raw = response.text[:MAX_RAW_RESPONSE]
        return self._keep_asking(loop, job, f"completed, but its result has no URL: {raw}")

    def _record_is_gone(self, loop: WaitLoop, job: Job) -> WaitLoop:
        wait = self._seconds_until_request()
        if wait:
            return loop.waiting(wait, Question.HISTORY)
        return self._ask_history(loop, job)

    def _ask_history(self, loop: WaitLoop, job: Job) -> WaitLoop:
        response = self._segmind.history(_request_id(job))
        match read_history_row(response, _request_id(job)):
            case Found() as found:
                return self._fetch(loop, job, found)
            case Failed(reason):
                return self._end(loop, job, State.FAILED, reason)
        if response.status not in (200, 404):
            return self._retry(loop, job, read_status(response))
        if self._age(job) > FILE_LIFETIME_SECONDS:
            gone = f"Segmind no longer has the result of request {job.request_id}"
            return self._end(loop, job, State.LOST, f"paid, but {gone}")
        reason = f"its record is gone and the history has no URL yet: {response.words}"
        return self._keep_asking(loop, job, reason)

    def _fetch(self, loop: WaitLoop, job: Job, found: Found) -> WaitLoop:
        cost = job.believable(found.metrics.get("cost"))
        fetching = self._jobs.advance(
            job,
            State.FETCHING,
            result_url=found.url,
            cost_usd=cost,
            render_seconds=self._render_seconds(loop, job, found.metrics.get("total_time")),
            reason=None,
        )
        if fetching is None:
            return loop.waiting(LOST_RACE_SECONDS)
        self._admission.release(job.id, cost)
        return loop.going_to(NextStep.FETCH)

    def _render_seconds(self, loop: WaitLoop, job: Job, total_time: float | None) -> float | None:
        """Return how long a render took as the schedule counts.

        That is without the time in Segmind's queue, and in the seconds of the waits, which may
        be scaled.
        """
        if not total_time or not loop.elapsed:
            return None
        age = self._age(job)
        scaled_age = max(age, loop.elapsed)
        scaled = min(total_time * scaled_age / max(age, 1), scaled_age)
        return round(max(0.0, scaled - loop.queued_at), 1)

    def _look_for_another_url(self, job: Job) -> None:
        """Look into the history when the file was not where it was said to be."""
        if not job.fetch_attempts or self._seconds_until_request():
            return
        response: Response = self._segmind.history(_request_id(job))
        found = read_history_row(response, _request_id(job))
        if isinstance(found, Found) and found.url != job.result_url:
            self._jobs.update(job, result_url=found.url)

    def _end(self, loop: WaitLoop, job: Job, state: State, reason: str) -> WaitLoop:
        if self._jobs.advance(job, state, reason=reason):
            return loop.going_to(NextStep.SETTLE)
        return loop.waiting(LOST_RACE_SECONDS)

    def _retry(self, loop: WaitLoop, job: Job, progress: object) -> WaitLoop:
        logger.warning("unusable response", job_id=job.id, response=repr(progress))
        if not isinstance(progress, Unusable):
            return loop.waiting(15)
        if progress.status in (401, 403):
            self._segmind.refresh_key()
        elif progress.status == 429:
            self._admission.pause(progress.retry_seconds)
        return loop.waiting(progress.retry_seconds)

    def _keep_asking(self, loop: WaitLoop, job: Job, reason: str) -> WaitLoop:
        """Keep a paid job for a person: it never fails for a response nobody understands."""
        logger.error("paid result needs attention", job_id=job.id, reason=reason)
        if job.reason != reason:
            self._jobs.update(job, reason=reason)
        self._status_files.publish(job.id)
        return loop.waiting(MAX_GAP_SECONDS)

    def _seconds_until_request(self) -> int:
        """Count one request, and return 0; or return the seconds until one is admitted."""
        denial = self._admission.request()
        return denial.retry_seconds if denial else 0

    def _age(self, job: Job) -> float:
        return self._clock() - (job.submitted_at or 0)


def _request_id(job: Job) -> str:
    assert job.request_id  # noqa: S101 - a job that renders has one
    return job.request_id

"""Secures a rendered video in the staging bucket, before anything else is done with it."""

from collections.abc import Callable

from ..aws.job_store import JobStore
from ..aws.s3 import StagingBucket, UploadBrokenError
from ..domain.input_files import staged_render_key
from ..domain.job import RENDERED, Job, State
from ..domain.limits import FILE_LIFETIME_SECONDS
from ..domain.wait_loop import (
    FIRST_RETRY_SECONDS,
    LOST_RACE_SECONDS,
    NextStep,
    WaitLoop,
)
from ..observability import logger
from ..segmind.download import ResultFiles, ResultUnavailableError
from .deliver import Deliveries
from .status_files import StatusFiles

MAX_RETRY_SECONDS = 600
MAX_FINISH_ATTEMPTS = 3  # then the file is delivered as it was rendered
_NOT_THERE = (403, 404, 410)


class Fetcher:
    """Streams renders in bounded memory; fetching twice is harmless."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        status_files: StatusFiles,
        files: ResultFiles,
        staging: StagingBucket,
        deliveries: Deliveries,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._status_files, self._files = jobs, status_files, files
        self._staging, self._deliveries, self._clock = staging, deliveries, clock

    def fetch(self, loop: WaitLoop) -> WaitLoop:
        """Secure the render of a wait loop's job, unless it is.

        Returns:
            The loop's next state: FINISH when the render is secured, WAIT when it cannot be copied
            this time, SETTLE when the job has ended.
        """
        job = self._jobs.get(loop.job_id)
        if job is None or job.state not in RENDERED:
            return loop.going_to(NextStep.SETTLE)
        try:
            if not self._is_secured(job):
                self._secure(job)
            if job.finish_attempts >= MAX_FINISH_ATTEMPTS:
                return self._deliver_as_rendered(loop, job)
        except ResultUnavailableError as error:
            if self._is_lost(job, error):
                reason = f"paid, but Segmind no longer has the file: {error}"
                self._jobs.advance(job, State.LOST, reason=reason)
                return loop.going_to(NextStep.SETTLE)
            return self._retry(loop, job, error)
        except UploadBrokenError as error:
            return self._retry(loop, job, error)
        is_rendered = job.state is State.FINISHING or self._jobs.advance(
            job, State.FINISHING, insist=True, reason=None
        )
        return loop.going_to(NextStep.FINISH) if is_rendered else loop.waiting(LOST_RACE_SECONDS)

    def _deliver_as_rendered(self, loop: WaitLoop, job: Job) -> WaitLoop:
        """Deliver the render itself: nothing paid is lost, whatever finishing it runs into."""
        warning = (
            f"delivered as rendered: finishing it failed {job.finish_attempts} times, so it may "
            "have no sound and another length; `retake refinish` tries again for free"
        )
        logger.error(warning, job_id=job.id)
        key = staged_render_key(job.id)
        length = self._staging.size(key)
        delivered = self._deliveries.deliver(
            job, lambda: self._staging.open(key), length, (warning,)
        )
        return loop.going_to(NextStep.SETTLE) if delivered else loop.waiting(LOST_RACE_SECONDS)

    def _is_lost(self, job: Job, error: ResultUnavailableError) -> bool:
        """Tell whether a result that cannot be fetched is given up.

        A file that is not there is lost when its lifetime is over. One that could never be fetched
        for another reason gets a second lifetime.
        """
        lifetimes = 1 if error.status in _NOT_THERE else 2
        return self._clock() > (job.submitted_at or 0) + lifetimes * FILE_LIFETIME_SECONDS

    def _retry(self, loop: WaitLoop, job: Job, error: Exception) -> WaitLoop:
        attempts = job.fetch_attempts
        reason = f"the result could not be copied yet: {error}"
        logger.warning(reason, job_id=job.id, attempts=attempts)
        self._jobs.update(job, fetch_attempts=attempts + 1, reason=reason)
        self._status_files.publish(job.id)
        return loop.waiting(min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(attempts, 9)))

    def _is_secured(self, job: Job) -> bool:
        """Tell whether the render is in the staging bucket; at the first look it is not."""
        if job.state is State.FETCHING and not job.fetch_attempts:
            return False
        return self._staging.etag(staged_render_key(job.id)) is not None

    def _secure(self, job: Job) -> None:
        assert job.result_url  # noqa: S101 - it was rendered
        stream = self._files.open(job.result_url)
        try:
            # Another fetch that was faster has written the same bytes.
            self._staging.put_video(
                staged_render_key(job.id), stream, length=stream.length, metadata={}, replaces=None
            )
        except Exception as error:
            if stream.failure:  # boto3 wraps what its body raises
                raise stream.failure from error
            raise
        finally:
            stream.close()

"""Copies a finished video into the output bucket: in one pass, and never over a newer take."""

from collections.abc import Callable
from dataclasses import dataclass

from ..aws.input_store import InputStore
from ..aws.job_store import JobStore
from ..aws.s3 import OutputBucket, UploadBrokenError
from ..domain.input_files import overtaken_key
from ..domain.job import Job, State
from ..domain.limits import FILE_LIFETIME_SECONDS
from ..domain.wait_loop import NextStep, WaitLoop
from ..observability import logger
from ..segmind.download import ResultFiles, ResultUnavailableError
from .poll import LOST_RACE_SECONDS
from .status_files import StatusFiles

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 30, 600
_NOT_THERE = (403, 404, 410)


@dataclass(frozen=True)
class _Copied:
    key: str
    bytes: int


class Deliverer:
    """Streams results in bounded memory; delivering twice is harmless."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        records: InputStore,
        status_files: StatusFiles,
        files: ResultFiles,
        output: OutputBucket,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._records, self._status_files = jobs, records, status_files
        self._files, self._output, self._clock = files, output, clock

    def deliver(self, loop: WaitLoop) -> WaitLoop:
        """Copy the result of a wait loop's job.

        Returns:
            The loop's next state: SETTLE when the result is delivered, WAIT when it cannot be
            copied this time.
        """
        job = self._jobs.get(loop.job_id)
        if job is None or job.state is not State.DELIVERING:
            return loop.going_to(NextStep.SETTLE)
        self._status_files.publish(job.id, job)
        try:
            copied = self._copy(job)
        except ResultUnavailableError as error:
            if self._is_lost(job, error):
                reason = f"paid, but Segmind no longer has the file: {error}"
                self._jobs.advance(job, State.LOST, reason=reason)
                return loop.going_to(NextStep.SETTLE)
            return self._retry(loop, job, error)
        except UploadBrokenError as error:
            return self._retry(loop, job, error)
        delivered = self._jobs.advance(
            job,
            State.DELIVERED,
            insist=True,
            result=f"s3://{self._output.name}/{copied.key}",
            result_bytes=copied.bytes,
            reason=None,
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
        attempts = job.delivery_attempts
        reason = f"the result could not be copied yet: {error}"
        logger.warning(reason, job_id=job.id, attempts=attempts)
        self._jobs.update(job, delivery_attempts=attempts + 1, reason=reason)
        self._status_files.publish(job.id)
        return loop.waiting(min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(attempts, 9)))

    def _copy(self, job: Job) -> _Copied:
        assert job.sidecar and job.request_id and job.result_url  # noqa: S101, PT018 - it was paid
        metadata = {
            "job-id": job.id,
            "request-id": job.request_id,
            "mode": job.sidecar.mode,
        }
        while True:
            newest = self._records.get(job.key).accepted_job == job.id
            key = job.key if newest else overtaken_key(job.key, job.id)
            replaces = self._output.etag(key)
            stream = self._files.open(job.result_url)
            try:
                etag = self._output.put_video(
                    key, stream, length=stream.length, metadata=metadata, replaces=replaces
                )
            except Exception as error:
                if stream.failure:  # boto3 wraps what its body raises
                    raise stream.failure from error
                raise
            finally:
                stream.close()
            if etag is not None:
                return _Copied(key, stream.received)
            logger.info("another delivery wrote this name; retrying", job_id=job.id, key=key)

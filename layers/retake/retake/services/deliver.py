"""Puts a film into the output bucket under the name of its clip, never over a newer take."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

from ..aws.input_store import InputStore
from ..aws.job_store import JobStore
from ..aws.s3 import Body, OutputBucket
from ..domain.input_files import output_key, overtaken_key
from ..domain.job import Job, State
from ..observability import logger

# What the file says about itself in its metadata: it was restyled by an AI system.
# IPTC: http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia
DIGITAL_SOURCE_TYPE = "compositeWithTrainedAlgorithmicMedia"
AI_SYSTEM = "Luma Modify Video by Segmind"


class Deliveries:
    """Delivers films; delivering twice is harmless."""

    def __init__(self, *, jobs: JobStore, records: InputStore, output: OutputBucket) -> None:
        self._jobs, self._records, self._output = jobs, records, output

    def deliver(
        self, job: Job, open_film: Callable[[], Body], length: int, warnings: tuple[str, ...]
    ) -> Job | None:
        """Put a film into the output bucket, and advance its job to DELIVERED.

        Parameters:
            job: the job, in FINISHING; or in DELIVERED, if its film was made again.
            open_film: opens the film at its start.
            length: its bytes.
            warnings: what a person should know about it.

        Returns:
            The job as it is stored; `None` when another function was faster.

        Raises:
            UploadBrokenError: the upload broke off; it can be repeated.
        """
        key = self._put(job, open_film, length)
        changes: dict[str, Any] = {
            "result": f"s3://{self._output.name}/{key}",
            "result_bytes": length,
            "warnings": warnings,
            "reason": None,
        }
        if job.state is State.DELIVERED:
            return self._jobs.update(job, **changes)
        return self._jobs.advance(job, State.DELIVERED, insist=True, **changes)

    def _put(self, job: Job, open_film: Callable[[], Body], length: int) -> str:
        """Write the film under the name that it has now, and return that."""
        assert job.sidecar and job.request_id  # noqa: S101, PT018 - it was paid
        metadata = {
            "job-id": job.id,
            "request-id": job.request_id,
            "mode": job.sidecar.mode,
            "digital-source-type": DIGITAL_SOURCE_TYPE,
            "ai-system": AI_SYSTEM,
        }
        while True:
            newest = self._records.get(job.key).accepted_job == job.id
            key = output_key(job.key if newest else overtaken_key(job.key, job.id))
            replaces = self._output.etag(key)
            with closing(open_film()) as film:
                etag = self._output.put_video(
                    key, film, length=length, metadata=metadata, replaces=replaces
                )
            if etag is not None:
                return key
            logger.info("another delivery wrote this name; retrying", job_id=job.id, key=key)

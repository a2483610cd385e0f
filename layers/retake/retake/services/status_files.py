"""Keeps the status files true: `<key>.job.json` or `<key>.error.json`, never both."""

from typing import Any

from ..aws.input_store import InputStore
from ..aws.job_store import JobStore
from ..aws.s3 import OutputBucket
from ..domain import status_file
from ..domain.input_files import overtaken_key, status_key
from ..domain.intake import InputRecord
from ..domain.job import Job


class StatusFiles:
    """Writes what the table says, and checks afterwards: the last writer saw the newest state."""

    def __init__(self, *, jobs: JobStore, records: InputStore, output: OutputBucket) -> None:
        self._jobs, self._records, self._output = jobs, records, output

    def publish(self, job_id: str, known: Job | None = None) -> None:
        """Write a job's status file under the name of its result.

        That is the clip's key, or the overtaken key when a newer job owns the clip's key.

        Parameters:
            job_id: the job.
            known: the job, if it has just been read or written.
        """
        pending = [job_id]
        while pending:
            current = pending.pop(0)
            overtaker = self._publish_until_current(current, known)
            known = None
            if overtaker:  # it goes first: the name of its result must not show two states
                pending = [overtaker, current, *pending]

    def is_current(self, job: Job) -> bool:
        """Tell whether the name of a job's result shows this very version of the job."""
        key = status_key(job.key, status_file.suffix(job.state))
        return self._output.status_version(key) == _version(job)

    def publish_waiting(self, record: InputRecord) -> None:
        """Write what a file waits for, unless it has become part of a job meanwhile."""
        self._write(record.key, status_file.JOB_SUFFIX, status_file.of_waiting(record))
        now = self._records.get(record.key)
        if not now.exists:
            self.remove(record.key)
        elif not now.waiting and now.newest_job:
            self.publish(now.newest_job)

    def remove(self, key: str) -> None:
        """Remove the status files of a name."""
        for suffix in status_file.SUFFIXES:
            self._output.remove(status_key(key, suffix))

    def _publish_until_current(self, job_id: str, known: Job | None) -> str | None:
        """Write until nothing changes, or until another job takes over the name: return that."""
        written: tuple[int, str] | None = None
        job = known or self._jobs.get(job_id)
        record = self._records.get(job.key) if job else None
        while job and record:
            if not record.exists:  # a sidecar that was refused, and has been corrected since
                self.remove(job.key)
                return None
            newest = record.newest_job or job_id
            if written == (job.version, newest):
                return None
            if written and written[1] == job_id != newest:
                return newest
            written = (job.version, newest)
            name = job.key if newest == job_id else overtaken_key(job.key, job_id)
            suffix = status_file.suffix(job.state)
            self._write(name, suffix, status_file.of_job(job), _version(job))
            record, job = self._records.get_with_job(job.key, job_id)
        return None

    def _write(
        self, name: str, suffix: str, status: dict[str, Any], version: str | None = None
    ) -> None:
        (other,) = (each for each in status_file.SUFFIXES if each != suffix)
        self._output.remove(status_key(name, other))
        self._output.put_status(status_key(name, suffix), status, version)


def _version(job: Job) -> str:
    return f"{job.id} {job.version}"

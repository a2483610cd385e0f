"""Keeps the files beside the results true: `<key>.job.json` or `<key>.error.json`, never both."""

from .adapters.jobs import JobsTable, Row
from .adapters.storage import OutputBucket
from .rules import answer
from .rules.drop import answer_key, side_key
from .rules.states import State


class Answers:
    """Writes what the table says, and looks again afterwards: whoever writes last has seen the newest truth."""

    def __init__(self, jobs: JobsTable, output: OutputBucket) -> None:
        self._jobs, self._output = jobs, output

    def tell(self, job_id: str) -> None:
        """Write a job's answer under its name: the clip's key, or its side key when a newer job has that."""
        told: tuple[int, str] | None = None
        while job := self._jobs.job(job_id):
            place = self._jobs.place(job["bucket"], job["key"])
            if not place:  # a note that was refused, and has been corrected since
                self.forget(job["key"])
                return
            newest = place.get("newest", job_id)
            if told == (job["v"], newest):
                return
            overtaken = told is not None and told[1] == job_id and newest != job_id
            told = (job["v"], newest)
            name = job["key"] if newest == job_id else side_key(job["key"], job_id)
            self._write(name, answer.suffix(State(job["state"])), answer.of_job(job))
            if overtaken:
                self.tell(newest)

    def tell_waiting(self, place: Row) -> None:
        """Write what a file waits for, unless it has found its job meanwhile."""
        bucket, key = place["bucket"], place["key"]
        self._write(key, answer.JOB_SUFFIX, answer.of_waiting(bucket, key, place["waits"], place["since"]))
        now = self._jobs.place(bucket, key)
        if not now:
            self.forget(key)
        elif "waits" not in now:
            self.tell(now["newest"])

    def forget(self, key: str) -> None:
        """Remove the answers of a file that has become part of a job."""
        for suffix in (answer.JOB_SUFFIX, answer.ERROR_SUFFIX):
            self._output.remove(answer_key(key, suffix))

    def _write(self, name: str, suffix: str, text: dict[str, object]) -> None:
        other = answer.ERROR_SUFFIX if suffix == answer.JOB_SUFFIX else answer.JOB_SUFFIX
        self._output.remove(answer_key(name, other))
        self._output.put_answer(answer_key(name, suffix), text)

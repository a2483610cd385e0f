"""Copies a finished video into the output bucket: one pass, bounded memory, and never over a newer take."""

from collections.abc import Callable
from typing import Any

from .adapters.jobs import JobsTable, Row
from .adapters.segmind import ResultFiles, ResultUnavailable
from .adapters.storage import OutputBucket
from .answers import Answers
from .observability import logger
from .polling import LOOK_AGAIN, SETTLE, WAIT, Loop
from .rules.contract import FILE_LIFE
from .rules.drop import side_key
from .rules.states import State

RETRY_SECONDS = 30
LONGEST_RETRY = 600


class Delivery:
    """Streams results; delivering twice is harmless."""

    def __init__(self, jobs: JobsTable, answers: Answers, files: ResultFiles, output: OutputBucket, clock: Callable[[], float]) -> None:
        self._jobs, self._answers, self._files, self._output, self._clock = jobs, answers, files, output, clock

    def deliver(self, loop: Loop) -> Loop:
        """Copy the result of a wait-loop's job.

        Returns the loop's state with `next`: `SETTLE` when it is there, `WAIT` when it could not be had this time.
        """
        job = self._jobs.job(loop["job_id"])
        if job is None or job["state"] != State.DELIVERING:
            return loop | {"next": SETTLE}
        self._answers.tell(job["id"])
        try:
            result = self._copy(job)
        except ResultUnavailable as error:
            return loop | self._not_yet(job, error)
        found = {"result": f"s3://{self._output.name}/{result['key']}", "bytes": result["bytes"], "reason": None}
        delivered = self._jobs.advance(job, State.DELIVERED, insist=True, **found)
        return loop | ({"next": SETTLE} if delivered else LOOK_AGAIN)

    def _not_yet(self, job: Row, error: ResultUnavailable) -> Loop:
        # What is not there is gone when the file's life is over; what never could be fetched, after another.
        lives = 1 if error.status in (403, 404, 410) else 2
        if self._clock() > job["submitted_at"] + lives * FILE_LIFE:
            self._jobs.advance(job, State.LOST, reason=f"paid, but Segmind no longer has the file: {error}")
            return {"next": SETTLE}
        tries, reason = job.get("delivery_tries", 0), f"the result could not be copied yet: {error}"
        logger.warning(reason, job_id=job["id"], tries=tries)
        self._jobs.note(job, delivery_tries=tries + 1, reason=reason)
        self._answers.tell(job["id"])
        return {"next": WAIT, "wait_seconds": min(LONGEST_RETRY, RETRY_SECONDS * 2 ** min(tries, 9))}

    def _copy(self, job: Row) -> dict[str, Any]:
        about = {"job-id": job["id"], "request-id": job["request_id"], "mode": job["mode"]}
        while True:
            newest = self._jobs.place(job["bucket"], job["key"]).get("accepted") == job["id"]
            key = job["key"] if newest else side_key(job["key"], job["id"])
            replaces = self._output.etag(key)
            stream = self._files.open(job["result_url"])
            try:
                etag = self._output.put_video(key, stream, stream.length, about, replaces)
            except Exception as error:
                if stream.failure:  # boto3 wraps what its body raises
                    raise stream.failure from error
                raise
            finally:
                stream.close()
            if etag is not None:
                return {"key": key, "bytes": stream.at}
            logger.info("another delivery wrote the same name meanwhile; looking again", job_id=job["id"], key=key)

"""Files that are not part of a job yet: they wait visibly, and are looked at again."""

from collections.abc import Callable

from ..aws.input_store import InputStore
from ..aws.messaging import DropQueue, MediaQueue
from ..domain.intake import InputRecord
from .status_files import StatusFiles

GRACE_SECONDS = 180  # a lone sidecar or image stays silent for so long; a lone clip does not
PREPARE_SECONDS = 1200  # in which a clip is prepared, or its function has ended
RECHECK_SECONDS = 300  # until a waiting file is followed up once more


class WaitingFiles:
    """Records and shows what files wait for."""

    def __init__(
        self,
        *,
        records: InputStore,
        status_files: StatusFiles,
        queue: DropQueue,
        media_queue: MediaQueue,
        clock: Callable[[], float],
    ) -> None:
        self._records, self._status_files, self._queue = records, status_files, queue
        self._media_queue, self._clock = media_queue, clock

    def record(self, key: str, message: str, until: int | None = None) -> InputRecord:
        """Record that a file waits; `until` is when it is looked at in any case."""
        due_at = until or self._clock() + GRACE_SECONDS
        return self._records.wait(key, message, due_at=due_at, overrides=until is not None)

    def show(self, record: InputRecord, *, at_once: bool) -> None:
        """Write the status file of a waiting file, at once or when its grace period is over."""
        assert record.waiting  # noqa: S101 - it was just recorded
        overdue = record.waiting.since.timestamp() + GRACE_SECONDS <= self._clock()
        if at_once or overdue:
            self._status_files.publish_waiting(record)
        if overdue:
            self._records.stop_following(record)

    def show_until(self, record: InputRecord, until: int, *, scheduled: bool) -> None:
        """Write the status file of a clip that starts at a known time, and have it looked at.

        Parameters:
            record: the clip's record.
            until: when it starts, in seconds since the epoch.
            scheduled: whether a message for that time was sent before; if it gets lost, `sweep`
                looks at the clip.
        """
        self._status_files.publish_waiting(record)
        if not scheduled:
            delay = max(1, until - int(self._clock()))
            self._queue.send_drop(record.bucket, record.key, delay=delay)

    def prepare(self, record: InputRecord, made_of: str) -> None:
        """Ask for a clip to be prepared, unless that was done; show that it is being prepared.

        Parameters:
            record: the clip's record.
            made_of: what is prepared, see `Candidate.to_prepare`.
        """
        if record.preparing == made_of:
            return  # if the message got lost, `sweep` looks at the clip
        # Sent before it is recorded: a message that comes twice is cheaper than none.
        self._media_queue.send_clip(record.bucket, record.key)
        waiting = self._records.wait(
            record.key,
            "is being prepared",
            due_at=self._clock() + PREPARE_SECONDS,
            overrides=True,
            preparing=made_of,
        )
        self._status_files.publish_waiting(waiting)

    def joined(self, record: InputRecord) -> None:
        """Forget that a file waited: it is part of a job now."""
        if record.exists:
            self._status_files.remove(record.key)
            self._records.remove(record.key)

    def gone(self, key: str) -> None:
        """Forget that a file waited: it is not in the bucket any more."""
        record = self._records.get(key)
        if record.newest_job:
            self._records.stop_following(record)
        elif record.exists:
            self._status_files.remove(key)
            self._records.remove(key)

    def look_again(self, record: InputRecord) -> None:
        """Have a waiting file looked at as if it had been dropped again."""
        self._records.postpone(record, self._clock() + RECHECK_SECONDS)
        self._queue.send_drop(record.bucket, record.key)

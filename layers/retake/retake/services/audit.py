"""Audits the input bucket: objects whose event never came are ingested all the same."""

from collections.abc import Callable

from ..aws.audit_store import AuditStore
from ..aws.input_store import InputStore
from ..aws.messaging import DropQueue
from ..aws.s3 import InputBucket
from ..domain.input_files import FileKind, InputFile, kind_of
from ..observability import count, logger

MAX_OBJECTS = 1000  # that one sweep lists
MAX_MESSAGES = 50  # that one sweep sends; the next one continues there


class BucketAudit:
    """Lists the bucket in bounded pages, with a stored cursor."""

    def __init__(
        self,
        *,
        bucket: InputBucket,
        records: InputStore,
        store: AuditStore,
        queue: DropQueue,
        clock: Callable[[], float],
    ) -> None:
        self._bucket, self._records, self._store = bucket, records, store
        self._queue, self._clock = queue, clock

    def run(self) -> None:
        """Take the next step of the current pass, or begin one if it is due."""
        audit = self._store.read().resume(self._clock())
        if audit is None:
            return
        listed, more = self._bucket.list_after(audit.cursor or "", MAX_OBJECTS)
        found = 0
        for file in listed:
            if found == MAX_MESSAGES:
                more = True
                break
            audit = audit.at(file.key)
            if audit.concerns(file.modified.timestamp()):
                found += self._ingest_if_unknown(file)
        if found:  # a metric costs money in the hours in which it is published
            count("ObjectsFoundByAudit", found)
        self._store.write(audit if more else audit.at(None))

    def _ingest_if_unknown(self, file: InputFile) -> bool:
        if kind_of(file.key) is FileKind.IGNORED:
            return False
        try:
            if self._is_known(file):
                return False
            logger.warning("no event came for this object; it is ingested now", key=file.key)
        except Exception:  # noqa: BLE001 - one file in trouble must not stop the others
            logger.exception("it is not known whether this object was ingested", key=file.key)
        self._queue.send_drop(self._bucket.name, file.key)  # twice does no harm
        return True

    def _is_known(self, file: InputFile) -> bool:
        """Tell whether a record says that this version of an object was ingested."""
        record = self._records.get(file.key)
        if record.waiting and record.waiting.since >= file.modified:
            return True  # it is shown, and followed up
        keys: list[str] = []
        if kind_of(file.key) is FileKind.SIDECAR:
            siblings = self._bucket.siblings(file.key)
            keys = [key for key in siblings if kind_of(key) is FileKind.CLIP]
        elif kind_of(file.key) is FileKind.IMAGE:
            keys = self._records.clips_of_first_frame(file.key)[:1]
        return any(each.has_seen(file) for each in [record, *map(self._records.get, keys)])

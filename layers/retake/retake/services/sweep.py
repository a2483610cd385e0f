"""One sweep: wake held jobs, reconcile what is due, publish metrics, events and the digest."""

from collections.abc import Callable

from ..aws.follow_ups import FollowUps
from ..domain.intake import InputRecord
from ..domain.job import FollowUpQueue, Job
from ..domain.limits import OVERDUE_SECONDS
from ..observability import count, logger
from .admission_control import Outbox, Waker
from .bookkeeping import Bookkeeping
from .notify import EmailDigest
from .reconcile import Reconciler

MAX_RECORDS = 100  # that one sweep reconciles; the next one is a minute away
MAX_SECONDS = 35  # then no other record is begun; each may take as long as a few slow responses


class Sweep:
    """Runs once a minute."""

    def __init__(
        self,
        *,
        follow_ups: FollowUps,
        reconciler: Reconciler,
        waker: Waker,
        bookkeeping: Bookkeeping,
        outbox: Outbox,
        digest: EmailDigest,
        clock: Callable[[], float],
    ) -> None:
        self._follow_ups, self._reconciler, self._waker = follow_ups, reconciler, waker
        self._bookkeeping, self._outbox, self._digest = bookkeeping, outbox, digest
        self._clock = clock

    def run(self) -> int:
        """Sweep once, and return how many records were due."""
        started = self._clock()
        # Before the records, because a slow history can take the rest of the function's time.
        self._waker.wake_next()
        due = self._follow_ups.due(started, MAX_RECORDS)
        self._reconciler.begin_sweep()
        for entry in due:
            if self._clock() > started + MAX_SECONDS:
                break
            self._reconcile(entry)
        self._bookkeeping.run()
        self._publish_metrics()
        try:
            self._outbox.publish()
        finally:
            self._send_digest()
        return len(due)

    def _reconcile(self, entry: Job | InputRecord) -> None:
        try:
            self._reconciler.reconcile(entry)
        except Exception:  # noqa: BLE001 - one record in trouble must not stop the others
            logger.exception("could not be reconciled", key=entry.key)

    def _send_digest(self) -> None:
        """Send the email digest last: nothing waits for it, and the next sweep tries again."""
        try:
            self._digest.send()
        except Exception:  # noqa: BLE001 - a sweep without an email is still complete
            logger.exception("no email digest could be sent or recorded; the next sweep retries")

    def _publish_metrics(self) -> None:
        now = self._clock()
        for name, value in self._bookkeeping.metrics().items():
            count(name, value)
        count("JobsHeld", self._follow_ups.count(FollowUpQueue.HELD, now))
        count("JobsOverdue", self._follow_ups.count(FollowUpQueue.DUE, now - OVERDUE_SECONDS))

"""The email digest: a flood of events becomes a few emails."""

from collections.abc import Callable

from ..aws.email_log import EmailLog
from ..aws.messaging import NotificationQueue, NotificationTopic
from ..domain import email_digest
from ..domain.email_digest import Outcome
from ..observability import logger

MAX_EVENTS = 1000  # in one email
MAX_SECONDS = 10  # then no other event is received
EARLY_SECONDS = 30  # by which a sweep may be early


class EmailDigest:
    """Notifies at once after a quiet time, then collects; each event is sent at least once."""

    def __init__(
        self,
        *,
        log: EmailLog,
        queue: NotificationQueue,
        topic: NotificationTopic,
        interval_minutes: int,
        clock: Callable[[], float],
    ) -> None:
        self._log, self._queue, self._topic, self._clock = log, queue, topic, clock
        self._interval = 60 * interval_minutes - EARLY_SECONDS

    def send(self) -> None:
        """Send one email about all pending events, unless the last email is too recent.

        Events are deleted only after the email was sent.
        """
        now = self._clock()
        if now < self._log.last_sent_at() + self._interval:
            return
        outcomes: list[Outcome] = []
        receipts: list[str] = []
        while True:
            # Waiting makes sure that no more are there; it is not worth it for the first.
            received = self._queue.receive(wait_seconds=1 if receipts else 0)
            for event, receipt in received:
                outcome = email_digest.read(event)
                if outcome:
                    outcomes.append(outcome)
                    receipts.append(receipt)
                else:
                    logger.error("not for the digest; left to dead letters", event=event[:1000])
            full = len(receipts) >= MAX_EVENTS or self._clock() > now + MAX_SECONDS
            if full or not received:
                break
        if not outcomes:
            return
        email = email_digest.compose(outcomes)
        self._topic.publish(email.subject, email.body)
        if not received:  # after a full email, the next one is sent in a minute
            self._log.record(now)
        self._queue.delete(receipts)

"""Mails: what has happened, collected, so that a flood makes a few digests and not a storm."""

from collections.abc import Callable

from .adapters.jobs import JobsTable
from .adapters.messages import NoticeQueue, Topic
from .observability import logger
from .rules import digest
from .rules.digest import Change

MOST = 1000  # events in a mail
LONGEST = 10  # seconds after which no other event is taken
EARLY = 30  # seconds by which a sweep may be early


class Notices:
    """Mails at once what happens after a while of quiet, and then collects for `minutes`; each event is told at least once."""

    def __init__(self, jobs: JobsTable, waiting: NoticeQueue, topic: Topic, minutes: int, clock: Callable[[], float]) -> None:
        self._jobs, self._waiting, self._topic, self._clock = jobs, waiting, topic, clock
        self._pause = 60 * minutes - EARLY

    def tell(self) -> None:
        """Send one mail about all events that wait, unless the last one is too fresh; events go only after the mail did."""
        now = self._clock()
        if now < self._jobs.mailed_at() + self._pause:
            return
        changes: list[Change] = []
        receipts: list[str] = []
        while more := self._waiting.take(1 if receipts else 0):  # to be sure that no more are there takes SQS a second
            for event, receipt in more:
                if change := digest.read(event):
                    changes.append(change)
                    receipts.append(receipt)
                else:
                    logger.error("not to be mailed; it ends among the dead letters", notice=event[:1000])
            if len(receipts) >= MOST or self._clock() > now + LONGEST:
                break
        if not changes:
            return
        mail = digest.compose(changes)
        self._topic.publish(mail.subject, mail.body)
        if not more:  # a mail that is full is followed by the next one in a minute
            self._jobs.mailed(now)
        self._waiting.remove(receipts)

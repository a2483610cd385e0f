"""Events wait in a queue, and people get one email about many of them."""

import json
from collections.abc import Iterator
from itertools import count
from threading import Lock
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from retake.aws.email_log import EmailLog
from retake.aws.messaging import NotificationQueue, NotificationTopic
from retake.services import notify
from retake.services.notify import EmailDigest
from tests.support.events import job_event
from tests.support.stand_ins import REGION
from tests.support.world import World


class Inbox:
    """The notification queue, the topic, and a mailbox (a queue) that subscribes to it, in moto."""

    def __init__(self, world: World) -> None:
        self.sqs, self.sns = (boto3.client(each, region_name=REGION) for each in ("sqs", "sns"))
        self.world = world
        self.received: list[str] = []
        self.queue_url = self.sqs.create_queue(QueueName="notifications")["QueueUrl"]
        self.mailbox_url = self.sqs.create_queue(QueueName="mailbox")["QueueUrl"]
        self.topic = self.sns.create_topic(Name="notifications")["TopicArn"]
        arn = self._attributes(self.mailbox_url, "QueueArn")["QueueArn"]
        self.sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)

    def put(self, *events: str) -> None:
        """Put events into the notification queue."""
        for first in range(0, len(events), 10):
            batch = enumerate(events[first : first + 10])
            entries = [{"Id": str(number), "MessageBody": event} for number, event in batch]
            self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries)

    def sweep(self, minutes: int = 5, sns: Any = None, sqs: Any = None) -> list[str]:
        """Send the digest as a sweep does; return the subjects of the emails that arrive."""
        patient = sqs or self.sqs
        queue = NotificationQueue(sqs=ImpatientSqs(patient, self.received), url=self.queue_url)
        EmailDigest(
            log=EmailLog(table=self.world.table),
            queue=queue,
            topic=NotificationTopic(sns=sns or self.sns, arn=self.topic),
            interval_minutes=minutes,
            clock=self.world.clock,
        ).send()
        return self.emails()

    def emails(self) -> list[str]:
        """Return the subjects of the emails that have arrived."""
        url = self.mailbox_url
        arrived = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        messages = arrived.get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"])["Subject"] for message in messages]

    def pending(self) -> int:
        """Count the events that are still in the notification queue."""
        counts = self._attributes(
            self.queue_url,
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        )
        return sum(int(count) for count in counts.values())

    def return_received(self) -> None:
        """Let the visibility time-out of events that were received and not deleted pass."""
        for receipt in self.received:
            self.sqs.change_message_visibility(
                QueueUrl=self.queue_url, ReceiptHandle=receipt, VisibilityTimeout=0
            )

    def _attributes(self, url: str, *names: str) -> dict[str, str]:
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return dict(found["Attributes"])


class ImpatientSqs:
    """SQS that does not wait for messages, keeps the receipts, and deletes one at a time.

    In threads, moto does not delete safely.
    """

    def __init__(self, sqs: Any, receipts: list[str]) -> None:
        self._sqs, self._receipts, self._lock = sqs, receipts, Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqs, name)

    def receive_message(self, WaitTimeSeconds: int, **options: Any) -> Any:  # noqa: N803
        received = self._sqs.receive_message(WaitTimeSeconds=0, **options)
        self._receipts += [message["ReceiptHandle"] for message in received.get("Messages", ())]
        return received

    def delete_message(self, **options: Any) -> Any:
        with self._lock:
            return self._sqs.delete_message(**options)


class FailingClient:
    """A client of which one operation fails."""

    def __init__(self, working: Any, operation: str) -> None:
        self._working, self._operation = working, operation

    def __getattr__(self, name: str) -> Any:
        if name == self._operation:
            error = {"Error": {"Code": "ServiceUnavailable", "Message": "unavailable"}}
            raise ClientError(error, name)
        return getattr(self._working, name)


@pytest.fixture
def inbox(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield Inbox(world)


def test_the_first_event_is_sent_at_once(inbox: Inbox) -> None:
    assert inbox.sweep() == []
    inbox.put(job_event("Failed", 1))
    assert inbox.sweep() == ["Retake: shoot/clip-1.mp4 failed"]
    assert inbox.pending() == 0


@pytest.mark.slow
def test_a_flood_becomes_one_email_per_interval(inbox: Inbox) -> None:
    by_minute = []
    for minute in range(10):
        inbox.put(*(job_event("Delivered", 50 * minute + number) for number in range(50)))
        inbox.world.clock.now += 60
        by_minute.append(inbox.sweep())
    sent = [email for emails in by_minute for email in emails]
    assert [minute for minute, emails in enumerate(by_minute) if emails] == [0, 5]
    assert sent == ["Retake: 50 delivered", "Retake: 250 delivered"]
    assert inbox.pending() == 200


@pytest.mark.parametrize("seconds", [59.7, 60.3, 75])
def test_an_interval_of_a_minute_means_every_sweep_even_an_early_one(
    inbox: Inbox, seconds: float
) -> None:
    for number in range(3):
        inbox.put(job_event("Delivered", number))
        inbox.world.clock.now += seconds
        assert inbox.sweep(minutes=1) == [f"Retake: shoot/clip-{number}.mp4 delivered"]


@pytest.mark.parametrize(("seconds", "emails"), [(269.9, 0), (270, 1)])
def test_a_sweep_may_be_30_seconds_early(inbox: Inbox, seconds: float, emails: int) -> None:
    inbox.put(job_event("Failed", 1))
    assert len(inbox.sweep(minutes=5)) == 1
    inbox.put(job_event("Failed", 2))
    inbox.world.clock.now += seconds
    assert len(inbox.sweep(minutes=5)) == emails


def test_events_that_do_not_fit_into_an_email_follow_with_the_next_sweep(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "MAX_EVENTS", 20)
    inbox.put(*(job_event("Delivered", number) for number in range(50)))
    sent = []
    for _ in range(4):
        inbox.world.clock.now += 60
        sent += inbox.sweep(minutes=1440)
    assert sent == ["Retake: 20 delivered", "Retake: 20 delivered", "Retake: 10 delivered"]


def test_an_email_is_about_1000_events_at_most(world: World) -> None:
    numbers = count()

    class EndlessQueue:
        def receive(self, wait_seconds: int) -> list[tuple[str, str]]:
            waits.append(wait_seconds)
            return [(job_event("Delivered", next(numbers)), "receipt")]

        def delete(self, receipts: list[str]) -> None:
            assert len(receipts) == 1000

    class Topic:
        def publish(self, subject: str, body: str) -> None:
            sent.append(subject)

    sent: list[str] = []
    waits: list[int] = []
    parts: dict[str, Any] = {"queue": EndlessQueue(), "topic": Topic()}
    log = EmailLog(table=world.table)
    EmailDigest(log=log, interval_minutes=5, clock=world.clock, **parts).send()
    assert sent == ["Retake: 1000 delivered"]
    assert waits == [0, *[1] * 999], "nothing is waited for before there is an event"


@pytest.mark.parametrize(("seconds", "received"), [(5, 30), (5.5, 20)])
def test_after_10_seconds_of_a_slow_queue_the_email_is_sent(
    inbox: Inbox, seconds: float, received: int
) -> None:
    class SlowSqs(ImpatientSqs):
        def receive_message(self, WaitTimeSeconds: int, **options: Any) -> Any:  # noqa: N803
            inbox.world.clock.now += seconds
            return super().receive_message(WaitTimeSeconds, **options)

    inbox.put(*(job_event("Delivered", number) for number in range(40)))
    assert inbox.sweep(sqs=SlowSqs(inbox.sqs, [])) == [f"Retake: {received} delivered"]
    assert inbox.sweep() == [f"Retake: {40 - received} delivered"]


def test_an_email_that_cannot_be_sent_keeps_its_events_and_is_retried_soon(inbox: Inbox) -> None:
    inbox.put(job_event("Failed", 1), job_event("Failed", 2))
    with pytest.raises(ClientError):
        inbox.sweep(sns=FailingClient(inbox.sns, "publish"))
    assert inbox.pending() == 2
    inbox.return_received()
    inbox.world.clock.now += 60
    assert inbox.sweep() == ["Retake: 2 failed"]
    assert inbox.pending() == 0


def test_events_that_were_sent_and_not_deleted_are_sent_again_an_interval_later(
    inbox: Inbox,
) -> None:
    inbox.put(job_event("Lost", 1))
    with pytest.raises(ClientError):
        inbox.sweep(sqs=FailingClient(inbox.sqs, "delete_message_batch"))
    assert inbox.emails() == ["Retake: shoot/clip-1.mp4 lost"]
    inbox.return_received()
    inbox.world.clock.now += 60
    assert inbox.sweep() == []
    inbox.world.clock.now += 240
    assert inbox.sweep() == ["Retake: shoot/clip-1.mp4 lost"]


def test_a_message_that_is_not_an_event_stays_and_stops_nothing(inbox: Inbox) -> None:
    inbox.put("nonsense", job_event("Failed", 1))
    assert inbox.sweep() == ["Retake: shoot/clip-1.mp4 failed"]
    assert inbox.pending() == 1

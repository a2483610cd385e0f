"""Events wait in a queue, and people get one mail for many of them."""

import json
from threading import Lock
from typing import Any

import pytest
from botocore.exceptions import ClientError

from retake import notices
from retake.adapters.messages import NoticeQueue, Topic
from retake.notices import Notices

from .conftest import World, client
from .test_digest import of_job


class Post:
    """The notice queue, the topic, and a queue that subscribes to it, on moto."""

    def __init__(self, world: World) -> None:
        self.sqs, self.sns, self.world, self.taken = client("sqs"), client("sns"), world, list[str]()
        self.url, self.box = (self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("notices", "box"))
        self.topic = self.sns.create_topic(Name="notices")["TopicArn"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.box, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)

    def happen(self, *events: str) -> None:
        for first in range(0, len(events), 10):
            entries = [{"Id": str(place), "MessageBody": text} for place, text in enumerate(events[first : first + 10])]
            self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)

    def sweep(self, minutes: int = 5, sns: Any = None, sqs: Any = None) -> list[str]:
        """Do what a sweep does; give the subjects of the mails that came of it."""
        waiting = NoticeQueue(Hasty(sqs or self.sqs, self.taken), self.url)
        Notices(self.world.jobs, waiting, Topic(sns or self.sns, self.topic), minutes, self.world.clock).tell()
        return self.mails()

    def mails(self) -> list[str]:
        found = self.sqs.receive_message(QueueUrl=self.box, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.sqs.delete_message(QueueUrl=self.box, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"])["Subject"] for message in found]

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(count) for count in counts.values())

    def come_back(self) -> None:
        """Let the time pass after which events come back that were taken and not removed."""
        for receipt in self.taken:
            self.sqs.change_message_visibility(QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=0)


class Hasty:
    """SQS that does not make a test wait for what is not there, notes what it gives, and removes as safely as moto in threads does not."""

    def __init__(self, sqs: Any, given: list[str]) -> None:
        self._sqs, self._given, self._lock = sqs, given, Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqs, name)

    def receive_message(self, WaitTimeSeconds: int, **options: Any) -> Any:  # noqa: N803
        answer = self._sqs.receive_message(WaitTimeSeconds=0, **options)
        self._given += [message["ReceiptHandle"] for message in answer.get("Messages", ())]
        return answer

    def delete_message(self, **options: Any) -> Any:
        with self._lock:
            return self._sqs.delete_message(**options)


class Away:
    """A client of which one call fails."""

    def __init__(self, whole: Any, call: str) -> None:
        self._whole, self._call = whole, call

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "away"}}, name)
        return getattr(self._whole, name)


@pytest.fixture
def post(world: World) -> Post:
    return Post(world)


def test_the_first_change_is_told_at_once(post: Post) -> None:
    assert post.sweep() == []
    post.happen(of_job("Failed", 1))
    assert post.sweep() == ["Retake: shoot/clip-1.mp4 failed"]
    assert post.left() == 0


def test_a_flood_makes_one_mail_in_a_period(post: Post) -> None:
    mails = []
    for minute in range(10):
        post.happen(*(of_job("Delivered", 50 * minute + number) for number in range(50)))
        post.world.clock.now += 60
        mails.append(post.sweep())
    told = [mail for minute in mails for mail in minute]
    assert [minute for minute, mail in enumerate(mails) if mail] == [0, 5]
    assert told == ["Retake: 50 delivered", "Retake: 250 delivered"]
    assert post.left() == 200


@pytest.mark.parametrize("seconds", [59.7, 60.3, 75])
def test_every_minute_means_every_sweep_even_an_early_one(post: Post, seconds: float) -> None:
    for number in range(3):
        post.happen(of_job("Delivered", number))
        post.world.clock.now += seconds
        assert post.sweep(minutes=1) == [f"Retake: shoot/clip-{number}.mp4 delivered"]


def test_what_is_too_much_for_a_mail_follows_with_the_next_sweep(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOST", 20)
    post.happen(*(of_job("Delivered", number) for number in range(50)))
    mails = []
    for _ in range(4):
        post.world.clock.now += 60
        mails += post.sweep(minutes=1440)
    assert mails == ["Retake: 20 delivered", "Retake: 20 delivered", "Retake: 10 delivered"]


def test_a_slow_queue_does_not_keep_sweep(post: Post) -> None:
    class Slow(Hasty):
        def receive_message(self, WaitTimeSeconds: int, **options: Any) -> Any:  # noqa: N803
            post.world.clock.now += 6
            return super().receive_message(WaitTimeSeconds, **options)

    post.happen(*(of_job("Delivered", number) for number in range(30)))
    assert post.sweep(sqs=Slow(post.sqs, [])) == ["Retake: 20 delivered"]
    assert post.sweep() == ["Retake: 10 delivered"]


def test_a_mail_that_cannot_be_sent_leaves_its_events_and_is_tried_again_soon(post: Post) -> None:
    post.happen(of_job("Failed", 1), of_job("Failed", 2))
    with pytest.raises(ClientError):
        post.sweep(sns=Away(post.sns, "publish"))
    assert post.left() == 2
    post.come_back()
    post.world.clock.now += 60
    assert post.sweep() == ["Retake: 2 failed"]
    assert post.left() == 0


def test_killed_between_mail_and_removal_the_same_is_told_again_a_period_later(post: Post) -> None:
    post.happen(of_job("Lost", 1))
    with pytest.raises(ClientError):
        post.sweep(sqs=Away(post.sqs, "delete_message"))
    assert post.mails() == ["Retake: shoot/clip-1.mp4 lost"]
    post.come_back()
    post.world.clock.now += 60
    assert post.sweep() == []
    post.world.clock.now += 240
    assert post.sweep() == ["Retake: shoot/clip-1.mp4 lost"]


def test_what_is_no_event_stays_and_stops_nothing(post: Post) -> None:
    post.happen("nonsense", of_job("Failed", 1))
    assert post.sweep() == ["Retake: shoot/clip-1.mp4 failed"]
    assert post.left() == 1

"""What is sent to the drop queue is what `submit` reads."""

import json
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from retake.aws.messaging import DropQueue
from tests.support.stand_ins import REGION

SUBMIT = Path(__file__).parents[2] / "functions" / "submit" / "app.py"


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield boto3.client("sqs", region_name=REGION)


@pytest.fixture
def queue_url(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName="drops")["QueueUrl"])


@pytest.fixture
def submit_function(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the submit function, initialized as Lambda does it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    loader = SourceFileLoader("submit_app", str(SUBMIT))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


class FakeIngest:
    """Keeps what it is called with, and finds one job that is ready under each key."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []

    def ingest(self, key: str, page: str | None) -> list[str]:
        self.calls.append((key, page))
        return [f"job of {key}"]


class FakeSubmitter:
    """Keeps the jobs that it is to submit."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def submit(self, job_id: str) -> None:
        self.jobs.append(job_id)

    def submit_job(self, job: str) -> None:
        self.jobs.append(job)


def receive(sqs: Any, url: str) -> list[dict[str, Any]]:
    """Receive all messages, as the event source of Lambda passes them on."""
    records: list[dict[str, Any]] = []
    while True:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        if not received:
            return records
        records += [
            {"messageId": message["MessageId"], "body": message["Body"]} for message in received
        ]


def test_a_message_about_an_object_has_the_shape_of_an_event_and_its_page(
    sqs: Any, queue_url: str
) -> None:
    DropQueue(sqs=sqs, url=queue_url).send_drop("input", "a/_retake.json", page="next")
    [record] = receive(sqs, queue_url)
    assert json.loads(record["body"]) == {
        "detail": {"bucket": {"name": "input"}, "object": {"key": "a/_retake.json"}},
        "page": "next",
    }


def test_a_delayed_message_is_not_received_at_once(sqs: Any, queue_url: str) -> None:
    queue = DropQueue(sqs=sqs, url=queue_url)
    for key in ("a", "b", "c"):
        queue.send_drop("input", key, delay=900)
    assert receive(sqs, queue_url) == []
    name = "ApproximateNumberOfMessagesDelayed"
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=[name])
    assert found["Attributes"] == {name: "3"}


def test_submit_reads_what_is_sent(
    sqs: Any, queue_url: str, submit_function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest, submitter = FakeIngest(), FakeSubmitter()
    monkeypatch.setattr(submit_function, "ingest", ingest)
    monkeypatch.setattr(submit_function, "submitter", submitter)
    queue = DropQueue(sqs=sqs, url=queue_url)
    queue.send_drop("input", "clip.mp4")
    queue.send_drop("input", "_retake.json", page="next")
    queue.send_job("j1")
    assert all(submit_function.process(record) for record in receive(sqs, queue_url))
    assert sorted(ingest.calls) == [("_retake.json", "next"), ("clip.mp4", None)]
    assert sorted(submitter.jobs) == ["j1", "job of _retake.json", "job of clip.mp4"]

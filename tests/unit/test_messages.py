"""What is sent to the drop queue is what `submit` reads."""

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from retake.adapters.messages import DropQueue

from .conftest import REGION


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield boto3.client("sqs", region_name=REGION)


def received(sqs: Any, url: str) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        bodies += [json.loads(message["Body"]) for message in messages]
    return bodies


def test_a_page_goes_along_and_a_delay_holds(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="drops")["QueueUrl"]
    queue = DropQueue(sqs, url)
    queue.look_at("input", "a/_retake.json", page="next")
    queue.look_at("input", "a", "b", "c", delay=900)
    [body] = received(sqs, url)
    assert body == {"detail": {"bucket": {"name": "input"}, "object": {"key": "a/_retake.json"}}, "page": "next"}
    delayed = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesDelayed"])["Attributes"]
    assert delayed == {"ApproximateNumberOfMessagesDelayed": "3"}


def test_submit_reads_what_is_sent(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    loader = SourceFileLoader("submit_app", str(Path(__file__).parents[2] / "functions/submit/app.py"))
    submit: Any = module_from_spec(spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    loader.exec_module(submit)
    looks: list[tuple[str, str | None]] = []
    monkeypatch.setattr(submit, "intake", type("Looks", (), {"take": lambda self, key, page: looks.append((key, page)) or []})())
    url = sqs.create_queue(QueueName="drops")["QueueUrl"]
    DropQueue(sqs, url).look_at("input", "clip.mp4")
    DropQueue(sqs, url).look_at("input", "_retake.json", page="next")
    records = [{"messageId": "m", "body": json.dumps(body)} for body in received(sqs, url)]
    assert all(submit.take(record) for record in records)
    assert sorted(looks) == [("_retake.json", "next"), ("clip.mp4", None)]

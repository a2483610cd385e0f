"""The sample events fit their functions, and events become one email."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.mailbox import mailbox, received
from tests.support.stack import Stack
from tests.support.template import EVENTS


@pytest.mark.parametrize("verb", sorted(file.stem for file in EVENTS.glob("*.json")))
def test_each_function_processes_its_sample_event(pipeline: Stack, verb: str) -> None:
    functions = pipeline.cloud.client("lambda")
    names = [each["FunctionName"] for each in functions.list_functions()["Functions"]]
    (name,) = [name for name in names if f"-{verb.capitalize()}Function" in name]
    response = functions.invoke(FunctionName=name, Payload=(EVENTS / f"{verb}.json").read_bytes())
    returned = json.loads(response["Payload"].read())
    assert "FunctionError" not in response, returned
    if verb in ("poll", "fetch", "finish"):
        assert returned["next"] == "SETTLE", "there is no such job"
    if verb == "submit":
        assert returned == {"batchItemFailures": []}


def test_several_results_make_one_email(pipeline: Stack, clip: Path) -> None:
    keys = [f"digest/{number}.mp4" for number in range(3)]
    with schedule_disabled(pipeline):
        pipeline.eventually(lambda: digest_is_sent(pipeline), "an email about other tests")
        with mailbox(pipeline) as queue:
            for key in keys:
                pipeline.drop_pair(key, clip)
            pipeline.eventually(
                lambda: pipeline.waiting("NotificationQueueUrl") == len(keys), "their events"
            )
            pipeline.send_digest()
            (email,) = received(pipeline, queue)
        assert pipeline.waiting("NotificationQueueUrl") == 0
    assert email["Subject"] == "Retake: 3 delivered"
    for key in keys:
        assert f"  {key}: s3://{pipeline.output}/{key}\n" in email["Message"]


def digest_is_sent(pipeline: Stack) -> bool:
    """Send the email digest, and tell whether no event is left."""
    pipeline.send_digest()
    return pipeline.waiting("NotificationQueueUrl") == 0


@contextmanager
def schedule_disabled(pipeline: Stack) -> Iterator[None]:
    """Keep the schedule from sweeping."""
    events = pipeline.cloud.client("events")
    names = [rule["Name"] for rule in events.list_rules()["Rules"]]
    (every_minute,) = [name for name in names if "EveryMinute" in name]
    events.disable_rule(Name=every_minute)
    try:
        yield
    finally:
        events.enable_rule(Name=every_minute)

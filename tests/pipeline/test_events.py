"""The ready events are fit for their functions."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stack import Stack

EVENTS = Path(__file__).parents[2] / "events"


@pytest.mark.parametrize("verb", sorted(file.stem for file in EVENTS.glob("*.json")))
def test_a_ready_event_is_taken(pipeline: Stack, verb: str) -> None:
    functions = pipeline.cloud.client("lambda")
    (name,) = [f["FunctionName"] for f in functions.list_functions()["Functions"] if f"-{verb.capitalize()}Function" in f["FunctionName"]]
    answer = functions.invoke(FunctionName=name, Payload=(EVENTS / f"{verb}.json").read_bytes())
    said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    if verb in ("poll", "deliver"):
        assert said["next"] == "SETTLE", "there is no such job"
    if verb == "submit":
        assert said == {"batchItemFailures": []}


def test_many_results_make_one_mail(pipeline: Stack, clip: Path) -> None:
    cloud, keys = pipeline.cloud, [f"mailed/{number}.mp4" for number in range(3)]
    (every_minute,) = [rule["Name"] for rule in cloud.client("events").list_rules()["Rules"] if "EveryMinute" in rule["Name"]]
    cloud.client("events").disable_rule(Name=every_minute)
    try:
        pipeline.eventually(lambda: pipeline.mail() or pipeline.waiting("NoticeQueueUrl") == 0, "an end of what others have left")
        with mailbox(pipeline) as box:
            for key in keys:
                pipeline.drop_pair(key, clip)
            pipeline.eventually(lambda: pipeline.waiting("NoticeQueueUrl") == len(keys), "their events")
            pipeline.mail()
            (message,) = pipeline.sqs.receive_message(QueueUrl=box, MaxNumberOfMessages=10)["Messages"]
        assert pipeline.waiting("NoticeQueueUrl") == 0
    finally:
        cloud.client("events").enable_rule(Name=every_minute)
    mail = json.loads(message["Body"])
    assert mail["Subject"] == "Retake: 3 delivered"
    for key in keys:
        assert f"  {key}: s3://{pipeline.output}/{key}\n" in mail["Message"]


@contextmanager
def mailbox(stack: Stack) -> Iterator[str]:
    """A queue that gets what is mailed."""
    topic, sns = stack.cloud.outputs["NoticesTopicArn"], stack.cloud.client("sns")
    box = stack.sqs.create_queue(QueueName="mailbox")["QueueUrl"]
    arn = stack.sqs.get_queue_attributes(QueueUrl=box, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sends = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn}
    policy = {"Version": "2012-10-17", "Statement": [sends | {"Condition": {"ArnEquals": {"aws:SourceArn": topic}}}]}
    stack.sqs.set_queue_attributes(QueueUrl=box, Attributes={"Policy": json.dumps(policy)})
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)["SubscriptionArn"]
    yield box
    sns.unsubscribe(SubscriptionArn=subscription)
    stack.sqs.delete_queue(QueueUrl=box)

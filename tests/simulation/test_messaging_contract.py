"""The stand-ins of SQS, Step Functions and EventBridge behave as moto and the emulator do.

Where AWS promises less than those, the stand-ins are as harsh as AWS, and no test here covers it:
messages that are delivered twice or out of order, and events that are lost.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from local.cloud import CREDENTIALS
from tests.support import mocked
from tests.support.aws.wire import direct
from tests.support.stand_ins import REGION

from .aws import Client, EventBus, Queue, Sqs, StateMachine, StepFunctions
from .kernel import Kernel

VISIBILITY_SECONDS = 1
DEFINITION = {
    "StartAt": "Wait",
    "TimeoutSeconds": 600,
    "States": {"Wait": {"Type": "Wait", "Seconds": 300, "End": True}},
}
PATTERN = {"source": ["retake"], "resources": ["stack"], "detail-type": ["Retake Delivered"]}
# Where the emulator does not behave as AWS, by the name of the test.
DIFFERENCES = {
    ("emulated", "test_an_execution_that_runs_is_started_once"): (
        "the emulator takes the same input for another"
    ),
}
EVENT = {
    "Source": "retake",
    "DetailType": "Retake Delivered",
    "Resources": ["stack"],
    "Detail": '{"job": "j"}',
}


@dataclass
class Services:
    """Clients with a queue, its dead-letter queue, a state machine, and a rule.

    Attributes:
        sqs: the SQS client.
        queue: the URL of a queue whose messages are received twice at most; the rule's target.
        dead: the URL of its dead-letter queue.
        step_functions: the Step Functions client.
        machine: the ARN of a state machine that waits.
        events: the EventBridge client.
        wait: lets seconds pass.
        stop: ends an execution, by its name.
    """

    sqs: Any
    queue: str
    dead: str
    step_functions: Any
    machine: str
    events: Any
    wait: Callable[[float], object]
    stop: Callable[[str], object]

    def send(self, body: str, delay: int = 0) -> None:
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=body, DelaySeconds=delay)

    def receive(self, limit: int = 10, queue: str = "") -> dict[str, str]:
        """Receive messages; return their receipts by their bodies."""
        url = queue or self.queue
        received = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=limit)
        return {each["Body"]: each["ReceiptHandle"] for each in received.get("Messages", ())}

    def delete(self, receipt: str) -> None:
        entries = [{"Id": "0", "ReceiptHandle": receipt}]
        self.sqs.delete_message_batch(QueueUrl=self.queue, Entries=entries)

    def start(self, name: str, text: str = "{}") -> None:
        self.step_functions.start_execution(stateMachineArn=self.machine, name=name, input=text)

    def status(self, name: str) -> str:
        arn = f"{self.machine.replace(':stateMachine:', ':execution:')}:{name}"
        found = self.step_functions.describe_execution(executionArn=arn)
        return str(found["status"])


def over_boto3(**options: Any) -> Services:
    """Create everything with boto3."""
    options |= {"region_name": REGION}
    sqs, events = boto3.client("sqs", **options), boto3.client("events", **options)
    step_functions = boto3.client("stepfunctions", **options)
    name = f"contract-{uuid4().hex}"
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]

    def arn(url: str) -> str:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    attributes = {
        "VisibilityTimeout": str(VISIBILITY_SECONDS),
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 2}),
    }
    queue = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    role = boto3.client("iam", **options).create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    machine = step_functions.create_state_machine(
        name=name, definition=json.dumps(DEFINITION), roleArn=role["Role"]["Arn"]
    )["stateMachineArn"]
    events.put_rule(Name=name, EventPattern=json.dumps(PATTERN))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn(queue)}])

    def stop(execution: str) -> None:
        running = f"{machine.replace(':stateMachine:', ':execution:')}:{execution}"
        step_functions.stop_execution(executionArn=running)

    return Services(
        sqs=sqs,
        queue=queue,
        dead=dead,
        step_functions=step_functions,
        machine=machine,
        events=events,
        wait=time.sleep,
        stop=stop,
    )


@pytest.fixture
def emulated(emulator: str) -> Services:
    return over_boto3(endpoint_url=emulator, **CREDENTIALS)


@pytest.fixture
def mocked_services() -> Iterator[Services]:
    with mocked.aws():
        yield over_boto3()


@pytest.fixture
def in_memory() -> Services:
    kernel = Kernel(0)
    properties = {
        "VisibilityTimeout": VISIBILITY_SECONDS,
        "RedrivePolicy": {"maxReceiveCount": 2},
    }
    dead = Queue(kernel, {})
    queue = Queue(kernel, properties, dead)
    machine = StateMachine(kernel, Random(0), DEFINITION, {}, lambda _: None)
    bus = EventBus(kernel, PATTERN, queue)
    return Services(
        sqs=Sqs({"queue": queue, "dead": dead}, direct, lambda: 0),
        queue="queue",
        dead="dead",
        step_functions=StepFunctions(machine, direct),
        machine="arn:aws:states:::stateMachine:contract",
        events=Client("events", "PutEvents", "put_events", bus.put_events, direct),
        wait=kernel.run_for,
        stop=lambda name: machine.end(machine.executions[name], "ABORTED"),
    )


@pytest.fixture(params=["in_memory", "mocked_services", "emulated"])
def services(request: pytest.FixtureRequest) -> Services:
    """Services of one kind."""
    if reason := DIFFERENCES.get((request.param, request.node.originalname)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    services: Services = request.getfixturevalue(request.param)
    return services


def code_of(call: Callable[..., Any], *arguments: Any) -> str:
    """Return the code of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(*arguments)
    return str(caught.value.response["Error"]["Code"])


# ─── SQS ──────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_received_again_unless_it_is_deleted(services: Services) -> None:
    services.send("a")
    first = services.receive()["a"]
    assert services.receive() == {}
    services.wait(VISIBILITY_SECONDS + 0.3)
    second = services.receive()["a"]
    assert second != first
    services.delete(second)
    services.wait(VISIBILITY_SECONDS + 0.3)
    assert services.receive() == {}
    assert services.receive(queue=services.dead) == {}


def test_a_delayed_message_comes_later(services: Services) -> None:
    services.send("a", delay=1)
    assert services.receive() == {}
    services.wait(1.3)
    assert [*services.receive()] == ["a"]


def test_no_more_messages_are_received_than_asked_for(services: Services) -> None:
    for body in "abc":
        services.send(body)
    first, then = services.receive(limit=2), services.receive(limit=2)
    assert len(first) <= 2
    assert sorted([*first, *then]) == ["a", "b", "c"]


def test_a_message_that_was_received_too_often_is_a_dead_letter(services: Services) -> None:
    services.send("a")
    for _ in range(2):
        assert [*services.receive()] == ["a"]
        services.wait(VISIBILITY_SECONDS + 0.3)
    assert services.receive() == {}
    assert [*services.receive(queue=services.dead)] == ["a"]


# ─── Step Functions ───────────────────────────────────────────────────────────────────────────


def test_an_execution_that_runs_is_started_once(services: Services) -> None:
    services.start("e-0", '{"a": 1}')
    services.start("e-0", '{"a": 1}')
    assert services.status("e-0") == "RUNNING"


def test_a_name_is_never_used_for_another_input(services: Services) -> None:
    services.start("e-0", '{"a": 1}')
    assert code_of(services.start, "e-0", '{"a": 2}') == "ExecutionAlreadyExists"


def test_a_name_is_never_used_again(services: Services) -> None:
    services.start("e-0")
    services.stop("e-0")
    assert services.status("e-0") == "ABORTED"
    assert code_of(services.start, "e-0") == "ExecutionAlreadyExists"


def test_an_execution_that_was_never_started_does_not_exist(services: Services) -> None:
    assert code_of(services.status, "e-0") == "ExecutionDoesNotExist"


# ─── EventBridge ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "comes"),
    [
        ({}, True),
        ({"Resources": ["other", "stack"]}, True),
        ({"Resources": ["other"]}, False),
        ({"DetailType": "Retake Refused"}, False),
        ({"Source": "other"}, False),
    ],
)
def test_an_event_goes_where_its_pattern_says(
    services: Services, change: dict[str, Any], comes: bool
) -> None:
    response = services.events.put_events(Entries=[EVENT | change])
    assert response["FailedEntryCount"] == 0
    assert response["Entries"][0]["EventId"]
    services.wait(0.5)
    found = [json.loads(body) for body in services.receive()]
    assert len(found) == comes
    for event in found:
        assert (event["source"], event["detail-type"]) == ("retake", "Retake Delivered")
        assert event["resources"] == change.get("Resources", ["stack"])
        assert event["detail"] == {"job": "j"}
        assert event["time"].endswith("Z")

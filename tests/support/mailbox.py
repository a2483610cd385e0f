"""A mailbox: a queue that receives the emails of a stack."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .stack import Stack


@contextmanager
def mailbox(stack: Stack) -> Iterator[str]:
    """Create a queue that receives the emails, and return its URL."""
    topic, sns = stack.cloud.outputs["NotificationTopicArn"], stack.cloud.client("sns")
    queue = stack.sqs.create_queue(QueueName=f"mailbox-{topic.rpartition(':')[2]}")["QueueUrl"]
    attributes = stack.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    arn = attributes["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    stack.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    subscription = sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True
    )["SubscriptionArn"]
    yield queue
    sns.unsubscribe(SubscriptionArn=subscription)
    stack.sqs.delete_queue(QueueUrl=queue)


def received(stack: Stack, queue: str) -> list[dict[str, Any]]:
    """Receive up to ten emails of a mailbox, each with its Subject and Message."""
    found = stack.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in found.get("Messages", ())]

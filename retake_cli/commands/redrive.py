"""`retake redrive` sends the messages in the dead-letter queues back."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import typer
from botocore.exceptions import ClientError
from rich.text import Text

from retake.aws.dynamodb import error_code
from retake.domain import email_digest

from ..console import count
from ..session import Session
from ..stack import Stack

# What SQS, or an emulator of it, says when it cannot move messages by itself.
_NOT_IMPLEMENTED = frozenset(
    {
        "InvalidAction",
        "UnsupportedOperation",
        "AWS.SimpleQueueService.UnsupportedOperation",
        "NotImplemented",
    }
)
_BATCH = 10  # messages that SQS returns at once


def redrive(context: typer.Context) -> None:
    """Send drops and notifications in the dead-letter queues back."""
    session: Session = context.obj
    drops, events = redrive_drops(session.stack), redrive_events(session.stack)
    lines = [Text(line) for line in _describe(drops, events)] or [Text("no dead letters")]
    session.screen.show({"sent_back": drops, **events}, *lines)


def redrive_drops(stack: Stack) -> int:
    """Send dead drops back to the drop queue; return how many, about as well as SQS knows."""
    dead = stack.count_messages("DropDeadLetterQueueUrl")
    if not dead:
        return 0
    sqs = stack.client("sqs")
    source, target = stack.outputs["DropDeadLetterQueueUrl"], stack.outputs["DropQueueUrl"]
    try:
        # The destination is named, because EventBridge sends drops to the dead-letter queue, too,
        # and those came from no other queue.
        sqs.start_message_move_task(
            SourceArn=_queue_arn(sqs, source), DestinationArn=_queue_arn(sqs, target)
        )
    except ClientError as error:
        if error_code(error) not in _NOT_IMPLEMENTED:
            raise
        return _move(sqs, source, target)
    return dead


def redrive_events(stack: Stack) -> Counter[str]:
    """Empty the queue of dead events.

    Returns:
        How many were sent back to the notification queue (`notices`), how many ends of wait loops
        were deleted, because `sweep` follows up their jobs (`ends`), and how many were left in
        their queue, because they are neither (`left`).
    """
    counts: Counter[str] = Counter(notices=0, ends=0, left=0)
    if not stack.count_messages("EventDeadLetterQueueUrl"):
        return counts
    sqs, source = stack.client("sqs"), stack.outputs["EventDeadLetterQueueUrl"]
    for message in _receive(sqs, source):
        kind = _kind_of_event(message["Body"])
        counts[kind] += 1
        if kind == "notices":
            target = stack.outputs["NotificationQueueUrl"]
            sqs.send_message(QueueUrl=target, MessageBody=message["Body"])
        if kind != "left":
            sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
    return counts


def _describe(drops: int, events: Counter[str]) -> Iterator[str]:
    if drops:
        yield f"{count(drops, 'drop')} sent back to the drop queue"
    if notices := events["notices"]:
        yield f"{count(notices, 'notification')} sent back; the next email digest includes them"
    if ends := events["ends"]:
        loops = count(ends, "end of a wait loop", "ends of wait loops")
        yield f"{loops} deleted; sweep follows up the jobs"
    if left := events["left"]:
        yield f"{count(left, 'unknown event')} left in the queue; read them yourself"


def _queue_arn(sqs: Any, url: str) -> str:
    response = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return str(response["Attributes"]["QueueArn"])


def _kind_of_event(body: str) -> str:
    if email_digest.read(body):
        return "notices"
    try:
        event = json.loads(body)
        # Lambda wraps the event in an envelope, EventBridge does not.
        source = event.get("requestPayload", event)["source"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "left"
    return "ends" if source == "aws.states" else "left"


def _move(sqs: Any, source: str, target: str) -> int:
    """Move messages one by one; each is sent before it is deleted."""
    moved = 0
    for message in _receive(sqs, source):
        sqs.send_message(QueueUrl=target, MessageBody=message["Body"])
        sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
        moved += 1
    return moved


def _receive(sqs: Any, url: str) -> Iterator[dict[str, Any]]:
    """Yield the messages of a queue until it looks empty."""
    while True:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=1)
        messages = received.get("Messages", [])
        if not messages:
            return
        yield from messages

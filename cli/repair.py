"""Sends things on their way again: files of jobs that ended without a result, and messages that nobody could take."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from retake.adapters.jobs import Row
from retake.adapters.storage import InputBucket, error_code
from retake.rules import digest, drop
from retake.rules.drop import Kind
from retake.rules.gate import PRICE
from retake.rules.states import RETRIED_BY_A_NEWER_DROP, State

from .doctor import waiting
from .stack import Stack

_NOT_THERE = frozenset({"InvalidAction", "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", "NotImplemented"})
_INSTEAD = {
    State.DELIVERED: "it is delivered; for another take: retake drop … --rerun N",
    State.LOST: "it was paid for; for another take: retake drop … --rerun N",
    State.HELD: "it is held and goes on by itself; retake show says why",
}


@dataclass(frozen=True)
class Retried:
    """What became of a job that should be tried again: `refused` says why it is not, empty when its files were dropped again."""

    key: str
    refused: str = ""

    @property
    def usd(self) -> float:
        return 0.0 if self.refused else PRICE


def may_be_retried(row: Row) -> bool:
    """Tell whether dropping the files again starts a job again."""
    return State(row["state"]) in RETRIED_BY_A_NEWER_DROP and drop.kind(row["key"]) is Kind.VIDEO


def retry(stack: Stack, row: Row) -> Retried:
    """Drop the note of a failed or refused job again, as it is in the bucket: a newer object, so the job starts again."""
    key, state = row["key"], State(row["state"])
    if state not in RETRIED_BY_A_NEWER_DROP:
        return Retried(key, _INSTEAD.get(state, f"it is under way ({state})"))
    if drop.kind(key) is not Kind.VIDEO:
        return Retried(key, "it is no clip; drop the right file instead")
    if stack.jobs.place(row["bucket"], key).get("newest", row["id"]) != row["id"]:
        return Retried(key, "its files have been replaced since; drop the old ones again to have this take")
    bucket = InputBucket(stack.s3, row["bucket"])
    notes = [name for name in bucket.siblings(key) if drop.kind(name) is Kind.SIDECAR]
    note, clip = bucket.head(max(notes)) if notes else None, bucket.head(key)
    if not note or not clip:
        return Retried(key, f"its {'clip' if note else 'note'} is no longer in the bucket; drop it again")
    body = bucket.read(note, 0, note.size)
    stack.s3.put_object(Bucket=row["bucket"], Key=note.key, Body=body, ContentType="application/json")
    return Retried(key)


def redrive(stack: Stack) -> int:
    """Send the dead drops back to the drop queue; tells how many there were, as far as SQS knows."""
    dead = waiting(stack, "DropDeadLetterQueueUrl")
    if not dead:
        return 0
    sqs = stack.client("sqs")
    source, target = stack.outputs["DropDeadLetterQueueUrl"], stack.outputs["DropQueueUrl"]
    arns = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"] for url in (source, target)]
    try:
        # With the destination named: EventBridge puts drops there as well, and those came from no queue.
        sqs.start_message_move_task(SourceArn=arns[0], DestinationArn=arns[1])
    except ClientError as error:
        if error_code(error) not in _NOT_THERE:
            raise
        return _move(sqs, source, target)
    return dead


def redrive_events(stack: Stack) -> Counter[str]:
    """Empty the queue of dead events; counts what became of them.

    Those that were to be mailed go back to the queue of notices (`notices`). Ends of wait-loops are removed (`ends`): sweep looks after
    each job whose run is gone. What is neither is left there (`left`).
    """
    done: Counter[str] = Counter(notices=0, ends=0, left=0)
    if not waiting(stack, "EventDeadLetterQueueUrl"):
        return done
    sqs, source = stack.client("sqs"), stack.outputs["EventDeadLetterQueueUrl"]
    while messages := sqs.receive_message(QueueUrl=source, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
        for message in messages:
            became = _of_event(message["Body"])
            done[became] += 1
            if became == "notices":
                sqs.send_message(QueueUrl=stack.outputs["NoticeQueueUrl"], MessageBody=message["Body"])
            if became != "left":
                sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
    return done


def _of_event(body: str) -> str:
    if digest.read(body):
        return "notices"
    try:
        event = json.loads(body)
        return "ends" if event.get("requestPayload", event)["source"] == "aws.states" else "left"  # as Lambda or EventBridge kept it
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "left"


def _move(sqs: Any, source: str, target: str) -> int:
    """Move messages one by one, where SQS has no task for it; each is sent before it is deleted."""
    moved = 0
    while messages := sqs.receive_message(QueueUrl=source, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            sqs.send_message(QueueUrl=target, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
            moved += 1
    return moved

"""Sends things on their way again: files of jobs that ended without a result, and messages that nobody could take."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from retake.adapters.jobs import Row
from retake.adapters.storage import InputBucket, error_code
from retake.rules import digest, drop, preset, sidecar
from retake.rules.drop import Kind
from retake.rules.form import MAX_BYTES
from retake.rules.gate import PRICE
from retake.rules.refusal import Refusal
from retake.rules.sidecar import Sidecar
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
    """Drop the note of a failed or refused job again: a newer object, so the job starts again.

    It goes as it is in the bucket, unless the folder's preset would make another job of it by now; then it says all itself.
    """
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
    note_key = note.key if note else drop.stem(key) + ".json"
    if drop.kind(note_key) is not Kind.SIDECAR:
        return Retried(key, "it can have no note of its own; drop the clip again")
    found = bucket.open(preset.key_for(key), MAX_BYTES + 1)
    if not clip or not (note or found or "mode" in row):
        return Retried(key, f"its {'note' if clip else 'clip'} is no longer in the bucket; drop it again")
    states = preset.parse(found[1]) if found else {}
    if isinstance(states, Refusal):
        return Retried(key, f"it would wait until {preset.key_for(key)} is corrected: {states.reason}")
    body = bucket.read(note, 0, note.size) if note else b"{}"
    if "mode" in row:  # it was taken with a note that could be read
        wanted = sidecar.note(row)
        full = json.dumps({"prompt": ""} | json.loads(wanted.canonical()), ensure_ascii=False, indent=2).encode() + b"\n"
        again = [raw for raw in (body, full) if _makes(raw, states, key) == wanted]
        if not again:
            return Retried(key, f"{preset.key_for(key)} names a first frame since; drop the clip again to have a take with that")
        body = again[0]
    stack.s3.put_object(Bucket=row["bucket"], Key=note_key, Body=body, ContentType="application/json")
    return Retried(key)


def _makes(raw: bytes, states: dict[str, Any], key: str) -> Sidecar | Refusal:
    own = sidecar.FORM.read(raw)
    return own if isinstance(own, Refusal) else preset.merge(own, states, key)


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

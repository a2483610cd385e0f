"""SQS, SNS, Step Functions and EventBridge: what one part of the pipeline tells another, and the world."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from .storage import error_code

_BATCH = 10  # messages that SQS gives at once


class DropQueue:
    """The queue in front of `submit`."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs, self._url = sqs, url

    def look_at(self, bucket: str, *keys: str, delay: int = 0, page: str | None = None) -> None:
        """Have places in the input bucket looked at, as if their objects had been dropped again.

        Parameters: `delay`, in how many seconds; `page`, where to go on among the clips that a preset or a first frame wakes.
        """
        more = {"page": page} if page else {}
        for key in keys:
            self._send({"detail": {"bucket": {"name": bucket}, "object": {"key": key}}} | more, delay)

    def go_on(self, job_id: str) -> None:
        """Have a job that is fit to go submitted, if the gate lets it."""
        self._send({"job_id": job_id})

    def _send(self, message: Mapping[str, Any], delay: int = 0) -> None:
        self._sqs.send_message(QueueUrl=self._url, MessageBody=json.dumps(message), DelaySeconds=delay)


class Runs:
    """Executions of the wait-loop; the n-th run of a job has one name for ever, so it starts once."""

    def __init__(self, states: Any, state_machine_arn: str) -> None:
        self._states, self._arn = states, state_machine_arn

    def start(self, job_id: str, run: int, plan: Mapping[str, list[int]], wait_seconds: int) -> None:
        """Start the wait-loop of a job; starting the same run again changes nothing."""
        loop = {"job_id": job_id, "polls": 0, "age": 0, "wait_seconds": wait_seconds, "plan": plan}
        try:
            self._states.start_execution(stateMachineArn=self._arn, name=f"{job_id}-{run}", input=json.dumps(loop))
        except ClientError as error:
            if error_code(error) != "ExecutionAlreadyExists":
                raise

    def running(self, job_id: str, run: int) -> bool:
        """Tell whether a run is under way."""
        arn = f"{self._arn.replace(':stateMachine:', ':execution:')}:{job_id}-{run}"
        try:
            return bool(self._states.describe_execution(executionArn=arn)["status"] == "RUNNING")
        except ClientError as error:
            if error_code(error) != "ExecutionDoesNotExist":
                raise
            return False


class EventBus:
    """The account's default event bus: one event per outcome, `source` = `retake`."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Put one event; raises when the bus did not take it."""
        entry = {"Source": "retake", "DetailType": detail_type, "Detail": json.dumps(detail, ensure_ascii=False)}
        answer = self._events.put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise RuntimeError(f"the event bus did not take {detail_type}: {answer['Entries'][0]}")


class NoticeQueue:
    """The queue in which events wait for the next mail."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs, self._url = sqs, url

    def take(self, wait_seconds: int) -> list[tuple[str, str]]:
        """Take up to ten events, each with the receipt to remove it by; one that is not removed comes back."""
        taken = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=wait_seconds)
        return [(message["Body"], message["ReceiptHandle"]) for message in taken.get("Messages", ())]

    def remove(self, receipts: Sequence[str]) -> None:
        """Remove events that were taken; one by one, because the embedded cloud lets nobody delete several at once."""
        with ThreadPoolExecutor(_BATCH) as pool:
            list(pool.map(lambda receipt: self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=receipt), receipts))


class Topic:
    """The topic that people subscribe to."""

    def __init__(self, sns: Any, arn: str) -> None:
        self._sns, self._arn = sns, arn

    def publish(self, subject: str, body: str) -> None:
        """Send a mail to whoever subscribes."""
        self._sns.publish(TopicArn=self._arn, Subject=subject, Message=body)

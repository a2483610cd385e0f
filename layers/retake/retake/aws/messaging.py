"""SQS, SNS, Step Functions and EventBridge: messages to the pipeline itself and to the world."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from ..domain.wait_loop import WaitLoop
from .dynamodb import error_code

EVENT_SOURCE = "retake"
_BATCH = 10  # messages that SQS returns at once


class DropQueue:
    """The queue in front of `submit`.

    Parameters:
        sqs: an SQS client.
        url: the queue's URL.
    """

    def __init__(self, *, sqs: Any, url: str) -> None:
        self._sqs, self._url = sqs, url

    def send_drop(self, bucket: str, key: str, *, delay: int = 0, page: str | None = None) -> None:
        """Send an object as if it had been dropped again.

        Parameters:
            bucket: the input bucket.
            key: the object's key.
            delay: seconds until it is received.
            page: where to continue with the clips that a preset or a first frame wakes.
        """
        message = _object_message(bucket, key)
        if page:
            message["page"] = page
        self._send(message, delay)

    def send_job(self, job_id: str) -> None:
        """Send a job that is ready to be submitted."""
        self._send({"job_id": job_id})

    def _send(self, message: Mapping[str, Any], delay: int = 0) -> None:
        self._sqs.send_message(
            QueueUrl=self._url, MessageBody=json.dumps(message), DelaySeconds=delay
        )


class MediaQueue:
    """The queue in front of `prepare`. Its messages are those of the drop queue.

    Parameters:
        sqs: an SQS client.
        url: the queue's URL.
    """

    def __init__(self, *, sqs: Any, url: str) -> None:
        self._sqs, self._url = sqs, url

    def send_clip(self, bucket: str, key: str) -> None:
        """Ask for a clip to be prepared."""
        body = json.dumps(_object_message(bucket, key))
        self._sqs.send_message(QueueUrl=self._url, MessageBody=body)


def _object_message(bucket: str, key: str) -> dict[str, Any]:
    """Name an object as an event of Amazon S3 does."""
    return {"detail": {"bucket": {"name": bucket}, "object": {"key": key}}}


class Executions:
    """Executions of the wait loop. The n-th run of a job has one name, so it starts once.

    Parameters:
        step_functions: a Step Functions client.
        state_machine_arn: the state machine.
    """

    def __init__(self, *, step_functions: Any, state_machine_arn: str) -> None:
        self._step_functions, self._arn = step_functions, state_machine_arn

    def start(self, loop: WaitLoop) -> None:
        """Start a wait loop; starting the one of the same run again changes nothing."""
        try:
            self._step_functions.start_execution(
                stateMachineArn=self._arn,
                name=f"{loop.job_id}-{loop.run}",
                input=json.dumps(loop.as_event()),
            )
        except ClientError as error:
            if error_code(error) != "ExecutionAlreadyExists":
                raise

    def is_running(self, job_id: str, run: int) -> bool:
        """Tell whether a run is in progress."""
        arn = f"{self._arn.replace(':stateMachine:', ':execution:')}:{job_id}-{run}"
        try:
            execution = self._step_functions.describe_execution(executionArn=arn)
        except ClientError as error:
            if error_code(error) != "ExecutionDoesNotExist":
                raise
            return False
        return bool(execution["status"] == "RUNNING")


class EventBus:
    """The account's default event bus.

    Parameters:
        events: an EventBridge client.
        stack_id: the ARN of the stack, by which rules tell its events from another stack's.
    """

    def __init__(self, *, events: Any, stack_id: str) -> None:
        self._events, self._stack_id = events, stack_id

    def put(self, name: str, detail: Mapping[str, Any]) -> None:
        """Put one event, such as `Retake Delivered`; raise when the bus rejects it.

        Parameters:
            name: what happened, such as `Delivered`.
            detail: the event's detail.
        """
        entry = {
            "Source": EVENT_SOURCE,
            "DetailType": f"Retake {name}",
            "Resources": [self._stack_id],
            "Detail": json.dumps(detail, ensure_ascii=False),
        }
        response = self._events.put_events(Entries=[entry])
        if response["FailedEntryCount"]:
            rejected = response["Entries"][0]
            raise RuntimeError(f"the event bus rejected Retake {name}: {rejected}")


class NotificationQueue:
    """The queue in which events wait for the next email digest.

    Parameters:
        sqs: an SQS client.
        url: the queue's URL.
    """

    def __init__(self, *, sqs: Any, url: str) -> None:
        self._sqs, self._url = sqs, url

    def receive(self, wait_seconds: int) -> list[tuple[str, str]]:
        """Receive up to ten events, each with its receipt handle."""
        received = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=wait_seconds
        )
        return [
            (message["Body"], message["ReceiptHandle"]) for message in received.get("Messages", ())
        ]

    def delete(self, receipts: Sequence[str]) -> None:
        """Delete events that were received; raise when one is not deleted, and comes back."""

        for first in range(0, len(receipts), _BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(receipts[first : first + _BATCH])
            ]
            deleted = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
            if deleted.get("Failed"):
                raise RuntimeError(f"SQS did not delete {deleted['Failed']}")


class NotificationTopic:
    """The topic that people subscribe to.

    Parameters:
        sns: an SNS client.
        arn: the topic.
    """

    def __init__(self, *, sns: Any, arn: str) -> None:
        self._sns, self._arn = sns, arn

    def publish(self, subject: str, body: str) -> None:
        """Send an email to everybody who subscribes."""
        self._sns.publish(TopicArn=self._arn, Subject=subject, Message=body)

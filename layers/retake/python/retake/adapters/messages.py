"""SQS, Step Functions and EventBridge: what one part of the pipeline tells another, and the world."""

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from .storage import error_code


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

"""Makes AWS harsh for one function, below boto3: throttles, lost responses, stale reads, and stops.

The emulator answers each request at once and correctly. `bring` patches the function's boto3, so
that its retries and its error handling see what AWS can do. `$RETAKE_HARSH` has the settings: see
`tests/chaos/harsh.py`. Each fault is one line in `$RETAKE_CHAOS/harsh.log`.
"""

import importlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.client
import botocore.endpoint
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

READS = ("Get", "Head", "List", "Describe", "Query", "Scan", "BatchGet", "Assume", "Receive")
MAX_HOPS = 16  # calls of a function in one chain of messages; AWS says "approximately 16"
RETRY_PAUSE = 0.02  # factor on boto3's pauses between tries, as the emulator's waits are scaled


class HarshAws:
    """What may happen to the calls of one function process.

    Parameters:
        settings: the shares of the faults, and the rest of `Harshness`.
        folder: shared by all functions of the cloud.
        function: such as `Submit`.
    """

    def __init__(self, settings: dict[str, Any], folder: Path, function: str) -> None:
        self._settings, self._folder, self._function = settings, folder, function
        self._call = threading.local()
        self._hops = 0

    def _log(self, kind: str, operation: str) -> None:
        with (self._folder / "harsh.log").open("a") as log:
            log.write(f"{kind}\t{self._function} {operation}\n")

    def _happens(self, kind: str, share: float) -> bool:
        """Tell whether the next call of all functions that can meet a kind of fault meets it.

        Exactly one of each 1/share calls does, the dice say which. So even a short run has each
        kind, and a seed repeats more than it would with dice in each process.
        """
        descriptor = os.open(self._folder / f"{kind}.calls", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            os.write(descriptor, b".")
            number = os.lseek(descriptor, 0, os.SEEK_CUR) - 1
        finally:
            os.close(descriptor)
        period = round(1 / share)
        dice = random.Random(f"{self._settings['seed']} {kind} {number // period}")
        return number % period == dice.randrange(period)

    # ─── Requests and responses ───────────────────────────────────────────────────────────────

    def choose(self, request: Any, operation: Any) -> str:
        """Return the kind of fault that a call meets, or nothing."""
        met = [
            kind
            for kind in self._possible(request, operation)
            if self._happens(kind, self._settings["shares"][kind.partition(" ")[0]])
        ]
        return met[0] if met else ""

    def _possible(self, request: Any, operation: Any) -> Iterator[str]:
        """Yield the kinds of faults that a call can meet: a share's name and what tells more."""
        service, name = operation.service_model.service_name, operation.name
        yield f"throttled {service}"
        yield "refused"
        if self._hops:
            yield "stalled"
        if name == "BatchGetItem":
            yield "unprocessed"
        if name.startswith(READS):
            return
        if service == "dynamodb":
            yield "canceled" if name == "TransactWriteItems" else "conflict"
        yield "lost conditional" if is_conditional(request, service) else f"lost {service}"

    def exchange(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the exchange of one request; its tries share a fault."""

        def harsh(endpoint: Any, request: Any, operation: Any, context: dict[str, Any]) -> Any:
            own = getattr(self._call, "own", False)
            fault = context.setdefault("harsh", "" if own else self.choose(request, operation))
            again = context["retries"]["attempt"] > 1
            if fault and not again:
                self._log(fault, operation.name)
            self._call.fault = "" if again and fault != "refused" else fault
            self._call.operation = operation
            return answer(endpoint, request, operation, context)

        return harsh

    def send(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the sending of one request."""

        def harsh(endpoint: Any, request: Any) -> Any:
            operation = self._call.operation
            match self._call.fault.partition(" ")[0]:
                case "throttled" | "refused":
                    return throttle(request, operation)
                case "conflict":
                    return _refusal(request, "TransactionConflictException")
                case "canceled":
                    return cancel(request)
                case "unprocessed":
                    left = {"UnprocessedKeys": json.loads(request.body)["RequestItems"]}
                    return _response(request, 200, {"Responses": {}, **left})
                case "lost":
                    _ = send(endpoint, request).content  # it took effect
                    raise ReadTimeoutError(endpoint_url=request.url)
                case "stalled":
                    time.sleep(self._settings["stall_seconds"])
            return send(endpoint, request)

        return harsh

    # ─── Eventually consistent reads ──────────────────────────────────────────────────────────

    def call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a call of any client: reads that may lag do, and messages count their hops."""

        def harsh(client: Any, operation_name: str, parameters: dict[str, Any]) -> Any:
            own = getattr(self._call, "own", False)
            if not own and operation_name == "SendMessage" and self._hops:
                hops = {"DataType": "Number", "StringValue": str(self._hops)}
                parameters = parameters | {"MessageAttributes": {"hops": hops}}
            current = call(client, operation_name, parameters)
            may_lag = operation_name in ("Query", "GetItem") and "ConsistentRead" not in parameters
            return self._earlier(operation_name, parameters) if may_lag and not own else current

        return harsh

    @cached_property
    def _reader(self) -> Any:
        """Return a client that may read the copy; the function itself may not."""
        return boto3.resource("dynamodb", **self._settings["credentials"]).meta.client

    def _earlier(self, operation_name: str, parameters: dict[str, Any]) -> Any:
        """Read from the copy of the table that lags; see `LaggingCopy`."""
        self._log("stale", operation_name)
        self._call.own = True
        try:
            copy = {"TableName": parameters["TableName"] + self._settings["copy_suffix"]}
            return self._reader._make_api_call(operation_name, parameters | copy)
        finally:
            self._call.own = False

    # ─── Chains of messages ───────────────────────────────────────────────────────────────────

    def import_module(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the import of the function's handler, which is then stopped in long chains."""

        def harsh(name: str, package: str | None = None) -> Any:
            module = load(name, package)
            if name == "app":
                module.handler = self._stopped_in_chains(module.handler)
            return module

        return harsh

    def _stopped_in_chains(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def harsh(event: dict[str, Any], context: Any) -> Any:
            (record,) = event.get("Records", [{}])  # the drop queue's batches have one message
            before = record.get("messageAttributes", {}).get("hops", {})
            self._hops = int(before.get("stringValue", 0)) + 1 if record else 0
            if self._hops > MAX_HOPS:
                self._log("stopped", "Invoke")
                return {"batchItemFailures": []}  # Lambda drops the message
            with self._working(record.get("messageId", "")):
                return handler(event, context)

        return harsh

    @contextmanager
    def _working(self, message_id: str) -> Iterator[None]:
        """Note that a message is processed, and log it if it already was."""
        marker = self._folder / f"{message_id}.working"
        if message_id and marker.exists():
            self._log("redelivered in mid-work", "Invoke")
        marker.touch()
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)


class _Body:
    """The body of a response that nobody sent."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> list[bytes]:
        return [self._content]

    def read(self, *_: Any, **__: Any) -> bytes:
        content, self._content = self._content, b""
        return content


def throttle(request: Any, operation: Any) -> AWSResponse:
    """Respond as a service that is asked too often."""
    match operation.service_model.service_name:
        case "s3":
            error = "<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"
            body = "" if request.method == "HEAD" else error
            return AWSResponse(request.url, 503, {}, _Body(body.encode()))
        case "dynamodb":
            return _refusal(request, "ProvisionedThroughputExceededException")
        case "sts" | "sns":
            error = "<Error><Type>Sender</Type><Code>Throttling</Code><Message/></Error>"
            body = f"<ErrorResponse>{error}</ErrorResponse>"
            return AWSResponse(request.url, 400, {}, _Body(body.encode()))
    return _refusal(request, "ThrottlingException")


def cancel(request: Any) -> AWSResponse:
    """Respond as DynamoDB does while another transaction holds the first item of this one."""
    number = len(json.loads(request.body)["TransactItems"])
    reasons = [{"Code": "TransactionConflict"}, *[{"Code": "None"}] * (number - 1)]
    return _refusal(request, "TransactionCanceledException", CancellationReasons=reasons)


def is_conditional(request: Any, service: str) -> bool:
    """Tell whether a write has a condition, which its own repetition no longer meets."""
    if service == "dynamodb":
        return b"ConditionExpression" in request.body
    return "If-None-Match" in request.headers or "If-Match" in request.headers


def _refusal(request: Any, code: str, **more: Any) -> AWSResponse:
    return _response(request, 400, {"__type": f"com.amazonaws#{code}", "message": code, **more})


def _response(request: Any, status: int, body: dict[str, Any]) -> AWSResponse:
    return AWSResponse(request.url, status, {}, _Body(json.dumps(body).encode()))


def bring(settings: str, folder: Path, function: str) -> None:
    """Make AWS harsh in this process."""
    aws = HarshAws(json.loads(settings), folder, function)
    client, endpoint = botocore.client.BaseClient, botocore.endpoint.Endpoint
    client._make_api_call = aws.call(client._make_api_call)
    endpoint._do_get_response = aws.exchange(endpoint._do_get_response)
    endpoint._send = aws.send(endpoint._send)
    importlib.import_module = aws.import_module(importlib.import_module)
    pause = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds * RETRY_PAUSE))
    botocore.endpoint.time = pause


def name_of(worker: str) -> str:
    """Return the function in a worker's command line: `.../<stack>-SubmitFunction-...`."""
    return worker.partition("Function-")[0].rpartition("-")[2]

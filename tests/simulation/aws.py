"""The services of AWS that the pipeline uses besides DynamoDB and S3, over virtual time.

Their figures, such as time-outs and receives, come from `template.yaml`, and the wait loop from
its definition file.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.support.aws.wire import Call, Wire, client_error

from . import jsonata
from .kernel import Kernel, Process

MAX_HOPS = 16  # Lambda stops a chain of messages and functions after about so many
STARTUP_SECONDS = 0.4
_FOLDER = re.compile(r"\S*retake-\d+-\w+")  # on disk; its name differs each time
TRANSIT_SECONDS = 0.01  # that a message is on its way


@dataclass
class Message:
    """A message of a queue.

    Attributes:
        id: names it.
        body: its text.
        hops: invocations that led to it.
        receives: how often it was received.
        visible_at: when it can be received.
        receipt: the newest receipt handle.
    """

    id: str
    body: str
    hops: int = 0
    receives: int = 0
    visible_at: float = 0
    receipt: str = ""


class Queue:
    """An SQS queue with its dead-letter queue.

    Parameters:
        kernel: the clock.
        properties: those of the template.
        dead: its dead-letter queue.

    Attributes:
        visibility: seconds that a message is invisible after it was received.
        messages: those that were not deleted, by their ids.
        arrived: called when a message can be received.
    """

    def __init__(
        self, kernel: Kernel, properties: Mapping[str, Any], dead: "Queue | None" = None
    ) -> None:
        self._kernel, self.dead = kernel, dead
        self.visibility = float(properties.get("VisibilityTimeout", 30))
        redrive = properties.get("RedrivePolicy", {})
        self._max_receives = float(redrive.get("maxReceiveCount", "inf"))
        self.messages: dict[str, Message] = {}
        self.arrived: Callable[[], object] = lambda: None
        self._number = 0

    def send(self, body: str, delay: float = 0, hops: int = 0) -> str:
        """Send a message."""
        self._number += 1
        at = self._kernel.now + delay
        message = Message(f"m{self._number}", body, hops, visible_at=at)
        self.messages[message.id] = message
        self._kernel.after(delay + TRANSIT_SECONDS, lambda: self.arrived())
        return message.id

    def receive(self, limit: int) -> list[Message]:
        """Receive messages; they are invisible for a while."""
        found = []
        for message in list(self.messages.values()):
            if message.visible_at > self._kernel.now or len(found) == limit:
                continue
            if message.receives >= self._max_receives:
                self.bury(message)
                continue
            message.receives += 1
            message.visible_at = self._kernel.now + self.visibility
            message.receipt = f"{message.id} {message.receives}"
            self._kernel.after(self.visibility + TRANSIT_SECONDS, lambda: self.arrived())
            found.append(message)
        return found

    def bury(self, message: Message) -> None:
        """Move a message to the dead-letter queue."""
        self._kernel.log(f"dead letter: {message.body}")
        self.messages.pop(message.id, None)
        if self.dead:
            self.dead.send(message.body)

    def delete(self, receipt: str) -> None:
        """Delete a message; an older receipt than its newest one does nothing."""
        message = self.messages.get(receipt.split()[0])
        if message and message.receipt == receipt:
            del self.messages[message.id]


@dataclass
class Environment:
    """An execution environment of a function: its module stays loaded between invocations.

    Attributes:
        handler: the function's handler.
    """

    handler: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended.

    Attributes:
        payload: what the handler returned.
        error: the name of the error; empty if there was none.
    """

    payload: Any = None
    error: str = ""


class Function:
    """A Lambda function.

    Parameters:
        lambdas: all functions of the account.
        name: its name.
        timeout: seconds.
        create: creates an environment.
    """

    def __init__(
        self,
        lambdas: "Lambdas",
        name: str,
        timeout: float,
        create: Callable[[], Environment],
    ) -> None:
        self.kernel, self.name = lambdas.kernel, name
        self._lambdas, self._timeout, self._create = lambdas, timeout, create
        self._idle: list[Environment] = []
        self._invocations = 0

    def invoke(self, event: Any, done: Callable[[Outcome], object], hops: int = 0) -> None:
        """Invoke it, and call `done` when the invocation has ended."""
        lambdas, kernel = self._lambdas, self.kernel
        if len(lambdas.running) >= lambdas.concurrency or lambdas.throttles():
            kernel.log(f"{self.name} is throttled")
            kernel.after(0, lambda: done(Outcome(error="Lambda.TooManyRequestsException")))
            return
        self._invocations += 1
        warm = self._idle.pop() if self._idle and lambdas.reuses() else None
        event = json.loads(json.dumps(event))
        context = SimpleNamespace(
            function_name=self.name,
            memory_limit_in_mb=512,
            invoked_function_arn=f"arn:aws:lambda:::function:{self.name}",
            aws_request_id=f"{self.name}-{self._invocations}",
        )

        def main() -> Any:
            if warm is None:
                process.wait(STARTUP_SECONDS)
            environment = warm or self._create()
            used.append(environment)
            return environment.handler(event, context)

        def ended(payload: Any, error: BaseException | None) -> None:
            lambdas.running.pop(process, None)
            self._idle += used
            if error is not None:
                words = _FOLDER.sub("(folder)", str(error))
                kernel.log(f"raised {type(error).__name__}: {words[:200]}")
            name = type(error).__name__ if error is not None else ""
            kernel.after(0, lambda: done(Outcome(payload, name)))

        def end_by_force(reason: str) -> None:
            if process in lambdas.running:
                kernel.log(f"{process.name} {reason}")
                lambdas.running.pop(process)
                process.kill()
                kernel.after(0, lambda: done(Outcome(error=reason)))

        used: list[Environment] = []
        process = Process(kernel, f"{self.name}-{self._invocations}", main, ended)
        lambdas.running[process] = Invocation(hops, lambda: end_by_force("Runtime.ExitError"))
        kernel.after(self._timeout, lambda: end_by_force("Sandbox.Timedout"))


@dataclass(frozen=True)
class Invocation:
    """An invocation in progress.

    Attributes:
        hops: invocations that led to it.
        crash: ends it.
    """

    hops: int
    crash: Callable[[], None]


class Lambdas:
    """All functions of the account.

    Parameters:
        kernel: the clock.
        dice: decide about throttling and reuse.
        concurrency: invocations at once.
        throttled: tells the share of invocations that are throttled now.
    """

    def __init__(
        self, kernel: Kernel, dice: Random, concurrency: int, throttled: Callable[[], float]
    ) -> None:
        self.kernel, self.concurrency = kernel, concurrency
        self.running: dict[Process, Invocation] = {}
        self._dice, self._throttled = dice, throttled

    def throttles(self) -> bool:
        """Decide whether an invocation is throttled."""
        return self._dice.random() < self._throttled()

    def reuses(self) -> bool:
        """Decide whether an idle environment is used again."""
        return self._dice.random() < 0.97

    @property
    def hops(self) -> int:
        """Return the hops of the invocation that runs now."""
        current = self.kernel.current
        invocation = self.running.get(current) if current else None
        return invocation.hops if invocation else 0


class EventSource:
    """Invokes a function for the messages of a queue, one at a time each.

    Parameters:
        queue: the queue.
        function: the function.
        at_once: invocations at once.
        doubled: tells the share of messages that are delivered twice.
        dice: decide about that.
    """

    def __init__(
        self,
        queue: Queue,
        function: Function,
        at_once: int,
        doubled: Callable[[], float],
        dice: Random,
    ) -> None:
        self._queue, self._function, self._at_once = queue, function, at_once
        self._doubled, self._dice = doubled, dice
        self._busy = 0
        queue.arrived = self.poll

    def poll(self) -> None:
        """Invoke the function for what can be received."""
        while self._busy < self._at_once and (received := self._queue.receive(1)):
            (message,) = received
            self._deliver(message)
            if self._dice.random() < self._doubled() and self._busy < self._at_once:
                self._deliver(message)

    def _deliver(self, message: Message) -> None:
        if message.hops > MAX_HOPS:
            self._queue.bury(message)
            return
        record = {
            "messageId": message.id,
            "body": message.body,
            "attributes": {"ApproximateReceiveCount": str(message.receives)},
        }
        self._busy += 1
        receipt = message.receipt

        def done(outcome: Outcome) -> None:
            self._busy -= 1
            failed = (outcome.payload or {}).get("batchItemFailures", ())
            if not outcome.error and not failed:
                self._queue.delete(receipt)
            self.poll()

        self._function.invoke({"Records": [record]}, done, message.hops + 1)


def invoke_async(function: Function, event: Any, config: Mapping[str, Any]) -> None:
    """Invoke a function as EventBridge does: again after an error, within the limits of `config`.

    Parameters:
        function: the function.
        event: its event.
        config: its `EventInvokeConfig`.
    """
    kernel = function._lambdas.kernel
    began = kernel.now
    tries = 0

    def invoke() -> None:
        function.invoke(event, done)

    def done(outcome: Outcome) -> None:
        nonlocal tries
        if not outcome.error:
            return
        throttled = outcome.error == "Lambda.TooManyRequestsException"
        tries += not throttled
        pause = 5 if throttled else 60 * tries
        expired = kernel.now + pause > began + config["MaximumEventAgeInSeconds"]
        if not expired and tries <= config["MaximumRetryAttempts"]:
            kernel.after(pause, invoke)

    invoke()


@dataclass
class Execution:
    """An execution of the state machine.

    Attributes:
        name: its name.
        input: its input, as text.
        status: such as `RUNNING`.
        tries: how often each retrier of the current state was used.
        step: counts transitions, so that what comes too late is ignored.
    """

    name: str
    input: str
    status: str = "RUNNING"
    tries: dict[int, int] = field(default_factory=dict)
    step: int = 0


class StateMachine:
    """Step Functions, driven by the definition of the wait loop.

    Parameters:
        kernel: the clock.
        dice: the jitter of retries.
        definition: the definition, with the names of functions for their ARNs.
        functions: the functions by name.
        ended: called with an execution that ended outside its definition.

    Attributes:
        executions: all executions by name.
        started: called with each execution that is started.
    """

    def __init__(
        self,
        kernel: Kernel,
        dice: Random,
        definition: Mapping[str, Any],
        functions: Mapping[str, Function],
        ended: Callable[[Execution], object],
    ) -> None:
        self._kernel, self._dice, self._definition = kernel, dice, definition
        self._functions, self._ended = functions, ended
        self.executions: dict[str, Execution] = {}
        self.started: Callable[[Execution], object] = lambda _: None

    def running(self) -> list[Execution]:
        """Return the executions in progress."""
        return [each for each in self.executions.values() if each.status == "RUNNING"]

    def start(self, name: str, text: str) -> None:
        """Start an execution; the same name with the same input changes nothing while it runs."""
        known = self.executions.get(name)
        if known:
            if known.status == "RUNNING" and known.input == text:
                return
            raise client_error("StartExecution", "ExecutionAlreadyExists")
        execution = self.executions[name] = Execution(name, text)
        self._kernel.log(f"execution {name} starts")
        self.started(execution)
        seconds = self._definition["TimeoutSeconds"]
        self._kernel.after(seconds, lambda: self.end(execution, "TIMED_OUT"))
        self._enter(execution, self._definition["StartAt"], json.loads(text))

    def end(self, execution: Execution, status: str) -> None:
        """End an execution."""
        if execution.status != "RUNNING":
            return
        execution.status = status
        execution.step += 1
        self._kernel.log(f"execution {execution.name} {status}")
        if status != "SUCCEEDED":
            self._ended(execution)

    def _enter(self, execution: Execution, name: str, data: Any) -> None:
        execution.tries = {}
        self._take(execution, name, data)

    def _take(self, execution: Execution, name: str, data: Any) -> None:
        """Take a state once."""
        execution.step += 1
        step = execution.step
        state = self._definition["States"][name]

        def is_current() -> bool:
            return execution.status == "RUNNING" and execution.step == step

        match state["Type"]:
            case "Wait":
                seconds = jsonata.evaluate(state["Seconds"], input=data)
                self._kernel.after(
                    seconds,
                    lambda: is_current() and self._go_on(execution, state, data),
                )
            case "Choice":
                chosen = next(
                    (
                        choice["Next"]
                        for choice in state["Choices"]
                        if jsonata.evaluate(choice["Condition"], input=data)
                    ),
                    state["Default"],
                )
                self._enter(execution, chosen, data)
            case "Task":
                arguments = jsonata.evaluate(state["Arguments"], input=data)
                function = self._functions[arguments["FunctionName"]]

                def done(outcome: Outcome) -> None:
                    if not is_current():
                        return
                    if outcome.error:
                        self._fail(execution, name, data, outcome.error)
                        return
                    result = {"Payload": outcome.payload}
                    output = jsonata.evaluate(state["Output"], input=data, result=result)
                    self._go_on(execution, state, output)

                function.invoke(arguments["Payload"], done)
                self._kernel.after(
                    state["TimeoutSeconds"],
                    lambda: is_current() and self._fail(execution, name, data, "States.Timeout"),
                )
            case other:
                raise NotImplementedError(other)

    def _go_on(self, execution: Execution, state: Mapping[str, Any], data: Any) -> None:
        if state.get("End"):
            self.end(execution, "SUCCEEDED")
        else:
            self._enter(execution, state["Next"], data)

    def _fail(self, execution: Execution, name: str, data: Any, error: str) -> None:
        """Retry a task, catch its error, or fail."""
        state = self._definition["States"][name]
        retriers = enumerate(state.get("Retry", ()))
        number, retrier = next(
            ((number, each) for number, each in retriers if _matches(each, error)), (0, None)
        )
        used = execution.tries.get(number, 0)
        if retrier and used < retrier["MaxAttempts"]:
            execution.tries[number] = used + 1
            pause = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** used
            pause = min(pause, retrier.get("MaxDelaySeconds", pause))
            if retrier.get("JitterStrategy") == "FULL":
                pause = self._dice.uniform(0, pause)
            execution.step += 1
            step = execution.step
            self._kernel.after(
                pause, lambda: execution.step == step and self._take(execution, name, data)
            )
            return
        for catcher in state.get("Catch", ()):
            if _matches(catcher, error):
                caught = {"Error": error, "Cause": error}
                output = jsonata.evaluate(catcher["Output"], input=data, errorOutput=caught)
                self._enter(execution, catcher["Next"], output)
                return
        self.end(execution, "FAILED")


def _matches(handler: Mapping[str, Any], error: str) -> bool:
    names = handler["ErrorEquals"]
    return error in names or "States.ALL" in names


class Sqs:
    """A boto3 SQS client over queues by their URLs."""

    def __init__(self, queues: Mapping[str, Queue], wire: Wire, hops: Callable[[], int]) -> None:
        self._queues, self._wire, self._hops = queues, wire, hops

    def _call(self, operation: str, request: Any, effect: Callable[[Queue], Any]) -> Any:
        queue = self._queues[request["QueueUrl"]]
        return self._wire(Call("sqs", operation, request, lambda: effect(queue)))

    def send_message(self, **request: Any) -> Any:
        """Send a message."""
        hops = self._hops()
        return self._call(
            "SendMessage",
            request,
            lambda queue: {
                "MessageId": queue.send(
                    request["MessageBody"], request.get("DelaySeconds", 0), hops
                )
            },
        )

    def receive_message(self, **request: Any) -> Any:
        """Receive messages."""

        def effect(queue: Queue) -> Any:
            found = queue.receive(request["MaxNumberOfMessages"])
            if not found:
                return {}
            return {
                "Messages": [
                    {"Body": message.body, "ReceiptHandle": message.receipt} for message in found
                ]
            }

        return self._call("ReceiveMessage", request, effect)

    def delete_message_batch(self, **request: Any) -> Any:
        """Delete messages that were received."""

        def effect(queue: Queue) -> Any:
            for entry in request["Entries"]:
                queue.delete(entry["ReceiptHandle"])
            return {"Successful": list(request["Entries"])}

        return self._call("DeleteMessageBatch", request, effect)


class EventBus:
    """An event bus with one rule, whose target is a queue; a boto3 EventBridge client is over it.

    Parameters:
        kernel: the clock.
        pattern: which events match, by lists of values.
        target: gets them.

    Attributes:
        events: all events.
    """

    def __init__(self, kernel: Kernel, pattern: Mapping[str, Any], target: Queue) -> None:
        self._kernel, self._pattern, self._target = kernel, pattern, target
        self.events: list[dict[str, Any]] = []

    def put_events(self, request: Mapping[str, Any]) -> Any:
        """Put events."""
        entries = []
        for entry in request["Entries"]:
            event = {
                "id": f"e{len(self.events)}",
                "source": entry["Source"],
                "detail-type": entry["DetailType"],
                "resources": entry["Resources"],
                "time": datetime.fromtimestamp(int(self._kernel.now), UTC).isoformat()[:19] + "Z",
                "detail": json.loads(entry["Detail"]),
            }
            self.events.append(event)
            entries.append({"EventId": event["id"]})
            if all(_contains(values, event[name]) for name, values in self._pattern.items()):
                self._kernel.after(0.2, partial(self._target.send, json.dumps(event)))
        return {"FailedEntryCount": 0, "Entries": entries}


def _contains(values: Sequence[Any], found: Any) -> bool:
    return any(each in values for each in (found if isinstance(found, list) else [found]))


class StepFunctions:
    """A boto3 Step Functions client."""

    def __init__(self, machine: StateMachine, wire: Wire) -> None:
        self._machine, self._wire = machine, wire

    def start_execution(self, **request: Any) -> Any:
        """Start an execution."""

        def effect() -> Any:
            self._machine.start(request["name"], request["input"])
            return {}

        return self._wire(Call("stepfunctions", "StartExecution", request, effect))

    def describe_execution(self, **request: Any) -> Any:
        """Return the status of an execution."""

        def effect() -> Any:
            found = self._machine.executions.get(request["executionArn"].rpartition(":")[2])
            if found is None:
                raise client_error("DescribeExecution", "ExecutionDoesNotExist")
            return {"status": found.status}

        return self._wire(Call("stepfunctions", "DescribeExecution", request, effect))


class Client:
    """A boto3 client of which one operation is used.

    Parameters:
        service: such as `events`.
        operation: such as `PutEvents`.
        method: its name in Python.
        effect: makes the call with its parameters.
        wire: makes the calls.
    """

    def __init__(
        self,
        service: str,
        operation: str,
        method: str,
        effect: Callable[[Mapping[str, Any]], Any],
        wire: Wire,
    ) -> None:
        def call(**request: Any) -> Any:
            return wire(Call(service, operation, request, lambda: effect(request)))

        setattr(self, method, call)

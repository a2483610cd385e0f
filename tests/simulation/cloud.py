"""The deployed stack in memory: the real functions between the simulated services."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

import httpx
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    UnseekableStreamError,
)

from retake import bootstrap
from retake.bootstrap import Application
from retake.domain.admission import Quotas
from retake.domain.footage import Footage
from retake.domain.prices import Work
from retake.domain.refusal import Refusal
from retake.services.prepare import Prepared
from retake.settings import Settings
from tests.support.aws.dynamodb import Database, Table
from tests.support.aws.s3 import S3, Storage, Version
from tests.support.aws.wire import Call, client_error
from tests.support.stand_ins import FOOTAGE, signed
from tests.support.template import DEFINITION, RESOURCES, ROOT, TEMPLATE

from .aws import (
    Client,
    Environment,
    EventBus,
    EventSource,
    Execution,
    Function,
    Lambdas,
    Queue,
    Sqs,
    StateMachine,
    StepFunctions,
    invoke_async,
)
from .kernel import Kernel, Process
from .segmind import BASE, HISTORY, Account, Segmind, Transport
from .weather import STORM_SECONDS, Weather

FUNCTIONS = ("submit", "prepare", "poll", "fetch", "finish", "settle", "sweep")
INPUT, OUTPUT, STAGING = "input", "output", "staging"
UNFINISHED = 0.05  # the share of renders that cannot be finished
MAX_SKEW_SECONDS = 1.5  # of a function's clock
WRITES = ("Put", "Update", "Delete", "Transact", "Send", "Start", "Copy", "Complete", "Publish")
_BILLED = ("DELIVERED", "LOST")
_THROTTLED = {"dynamodb": "ThrottlingException", "s3": "SlowDown"}


def _compile(name: str) -> CodeType:
    path = ROOT / "functions" / name / "app.py"
    return compile(path.read_text(), path, "exec")


_CODE = {name: _compile(name) for name in FUNCTIONS}


def _properties(function: str) -> dict[str, Any]:
    properties: dict[str, Any] = RESOURCES[f"{function.capitalize()}Function"]["Properties"]
    return properties


def _timeout(function: str) -> float:
    default = TEMPLATE["Globals"]["Function"]["Timeout"]
    return float(_properties(function).get("Timeout", default))


def footage_of(clip: bytes) -> Footage:
    """Return what a clip is; its content decides."""
    dice = Random(clip)
    width, height = dice.choice(((1280, 720), (960, 540), (720, 1280), (1920, 1080)))
    seconds = float(dice.randint(2, 12))
    return replace(FOOTAGE, size=len(clip), seconds=seconds, width=width, height=height)


class Media:
    """Keeps clips as they are, and finishes films by copying them; a few cannot be finished.

    Parameters:
        process: waits as long as the work takes.
        dice: decide about that.
    """

    def __init__(self, process: Callable[[], Process | None], dice: Random) -> None:
        self._process, self._dice = process, dice

    def prepare(
        self, clip: Path, frame: Path | None, *, short_side: int | None, max_seconds: float
    ) -> Prepared | Refusal:
        """Prepare a clip; what is no MP4 is refused."""
        self._work()
        content = clip.read_bytes()
        if content[4:8] != b"ftyp":
            return Refusal("it is not a video", "export it as an MP4")
        target = clip.rename(clip.with_suffix(".mp4"))
        sound = target.with_suffix(".m4a")
        sound.write_bytes(b"sound")
        matched = frame.rename(frame.with_suffix(".jpg")) if frame else None
        return Prepared(footage_of(content), (), target, matched, sound)

    def finish(
        self, render: Path, sound: Path | None, target: Path, *, footage: Footage, prompt: str
    ) -> tuple[str, ...] | Refusal:
        """Finish a film."""
        self._work()
        if self._dice.random() < UNFINISHED:
            return Refusal("it cannot be decoded", "look at it")
        shutil.copy(render, target)
        return () if sound else ("it has no sound",)

    def _work(self) -> None:
        process = self._process()
        if process:
            process.wait(self._dice.uniform(0.5, 30))


class Cloud:
    """One stack.

    Parameters:
        kernel: the clock.
        weather: during the storm.
        account: the account at Segmind.
        budget_usd: the daily budget.
        concurrency: invocations at once.
    """

    def __init__(
        self,
        kernel: Kernel,
        weather: Weather,
        account: Account,
        budget_usd: float,
        concurrency: int = 10,
    ) -> None:
        self.kernel, self.storm = kernel, weather
        self.storm_ends = kernel.now + STORM_SECONDS
        self._dice = kernel.dice("cloud")
        self.account, self.budget_usd = account, budget_usd
        self.secret = account.key
        lag_dice = kernel.dice("index")
        self.database = Database(
            RESOURCES["JobsTable"]["Properties"],
            clock=lambda: kernel.now,
            lag=lambda: self._lag(lag_dice),
        )
        self.storage = Storage(INPUT, OUTPUT, STAGING, clock=lambda: kernel.now)
        self.storage.buckets[INPUT].created = self._object_created
        self.segmind = Segmind(kernel, kernel.dice("segmind"), lambda: self.weather, account)
        self.segmind.work_of = self._work_of
        self.max_in_flight = Quotas(account.per_minute).max_in_flight
        self.settings = Settings(
            stack_id="stack",
            jobs_table="jobs",
            input_bucket=INPUT,
            output_bucket=OUTPUT,
            staging_bucket=STAGING,
            drop_queue_url="DropQueue",
            media_queue_url="MediaQueue",
            notification_queue_url="NotificationQueue",
            notification_topic_arn="topic",
            state_machine_arn="arn:aws:states:::stateMachine:loop",
            signer_role_arn="role",
            segmind_secret_arn="secret",  # noqa: S106 - its name
            segmind_base_url=BASE,
            segmind_history_url=HISTORY,
            requests_per_minute=account.per_minute,
            daily_budget_usd=budget_usd,
        )
        self.lambdas = Lambdas(
            kernel,
            kernel.dice("lambda"),
            concurrency,
            lambda: self.weather.function_throttled,
        )
        self.functions = {
            name: Function(self.lambdas, name, _timeout(name), lambda name=name: self._load(name))
            for name in FUNCTIONS
        }
        self.queues = {
            name: Queue(kernel, RESOURCES[name]["Properties"], Queue(kernel, {}))
            for name in ("DropQueue", "MediaQueue", "NotificationQueue")
        }
        pattern = RESOURCES["OutcomeRule"]["Properties"]["EventPattern"]
        self.bus = EventBus(
            kernel,
            pattern | {"resources": [self.settings.stack_id]},
            self.queues["NotificationQueue"],
        )
        for queue, name, source in (
            ("DropQueue", "submit", "Drop"),
            ("MediaQueue", "prepare", "Clip"),
        ):
            properties = _properties(name)["Events"][source]["Properties"]
            assert properties["BatchSize"] == 1
            EventSource(
                self.queues[queue],
                self.functions[name],
                properties["ScalingConfig"]["MaximumConcurrency"],
                lambda: self.weather.message_doubled,
                kernel.dice(queue),
            )
        arns = {f"${{{name.capitalize()}FunctionArn}}": name for name in FUNCTIONS}
        definition = DEFINITION
        for arn, name in arns.items():
            definition = definition.replace(arn, name)
        self.machine = StateMachine(
            kernel,
            kernel.dice("machine"),
            json.loads(definition),
            self.functions,
            self._execution_ended,
        )
        self._schedule(kernel.dice("schedule"))

    def file_of(self, url: str) -> bytes | None:
        """Return what Segmind finds under a signed URL."""
        parts = urlsplit(url)
        bucket = self.storage.buckets.get((parts.hostname or "").partition(".")[0])
        found = bucket and bucket.objects.get(unquote(parts.path.removeprefix("/")))
        return found.body if found else None

    def _work_of(self, body: Mapping[str, Any]) -> Work:
        return Work.of(footage_of(self.file_of(body["video_url"]) or b""), 1080)

    def unknown_costs(self) -> set[str]:
        """Return the jobs that have ended, and wait for their costs."""
        admission = self.database.items.get(("admission", "admission"))
        bookings = admission["budget"]["bookings"] if admission else {}
        ended = [item for item in self.database.items.values() if item.get("state") in _BILLED]
        return {job["id"] for job in ended if job["id"] in bookings and "follow_up" not in job}

    def leases(self) -> set[str]:
        """Return the jobs that have a lease."""
        admission = self.database.items.get(("admission", "admission"))
        leases = admission["leases"]["expire_at"] if admission else {}
        return {job for job, end in leases.items() if end > self.kernel.now}

    def is_audited(self) -> bool:
        """Tell whether a whole pass over the input bucket began after the last drop."""
        audit = self.database.items.get(("audit", "audit"))
        newest = max(
            (each.modified.timestamp() for each in self.storage.buckets[INPUT].objects.values()),
            default=0,
        )
        return bool(audit) and audit["started_at"] > newest + 120 and "cursor" not in audit

    @property
    def weather(self) -> Weather:
        """Return the weather: calm after the storm."""
        return self.storm if self.kernel.now < self.storm_ends else _CALM

    def _lag(self, dice: Random) -> float:
        return dice.uniform(0.5, 20) if dice.random() < self.weather.slow_index else 0.1

    # ─── Events ───────────────────────────────────────────────────────────────────────────────

    def _object_created(self, key: str, version: Version) -> None:
        body = json.dumps({"detail": {"bucket": {"name": INPUT}, "object": {"key": key}}})
        self._send_event(lambda: self.queues["DropQueue"].send(body), f"of {key}")

    def _send_event(self, send: Callable[[], object], what: str) -> None:
        weather, dice = self.weather, self._dice
        if dice.random() < weather.event_lost:
            self.kernel.log(f"the event {what} is lost")
            return
        for _ in range(2 if dice.random() < weather.event_doubled else 1):
            late = dice.random() < weather.event_late
            self.kernel.after(dice.uniform(0, 120) if late else dice.uniform(0.1, 1), send)

    def _execution_ended(self, execution: Execution) -> None:
        pattern = _properties("settle")["Events"]["ExecutionEnded"]["Properties"]["Pattern"]
        if execution.status not in pattern["detail"]["status"]:
            return
        event = {"detail": {"input": execution.input, "status": execution.status}}
        config = _properties("settle")["EventInvokeConfig"]

        def invoke() -> None:
            invoke_async(self.functions["settle"], event, config)

        self._send_event(invoke, f"of execution {execution.name}")

    def _schedule(self, dice: Random) -> None:
        """Invoke `sweep` every minute; AWS may miss one, or invoke it twice."""
        config = _properties("sweep")["EventInvokeConfig"]

        def minute() -> None:
            weather = self.weather
            if dice.random() >= weather.schedule_missed:
                for _ in range(2 if dice.random() < weather.schedule_doubled else 1):
                    invoke_async(self.functions["sweep"], {}, config)
            self.kernel.after(60, minute)

        self.kernel.after(dice.uniform(0, 60), minute)

    # ─── Functions ────────────────────────────────────────────────────────────────────────────

    def _load(self, name: str) -> Environment:
        """Load the real handler over clients of the simulated services."""
        dice = self._dice
        skew = dice.uniform(-MAX_SKEW_SECONDS, MAX_SKEW_SECONDS)
        application = Application(
            settings=self.settings,
            clients=self._clients(),
            clock=lambda: self.kernel.now + skew,
            random=dice.random,
        )
        application.media = Media(lambda: self.kernel.current, dice)
        module = ModuleType(name)
        with (
            mock.patch.object(bootstrap, "from_environment", _giving(application)),
            mock.patch.object(bootstrap, "signing_client", _giving(_SIGNING)),
            mock.patch("retake.segmind.client.new_client", self._new_http_client),
            mock.patch("retake.segmind.download.new_client", self._new_http_client),
        ):
            exec(_CODE[name], module.__dict__)  # noqa: S102 - a function of the project
            _ = application.signer, application.segmind, application.result_files
        return Environment(module.__dict__["handler"])

    def _new_http_client(self, *_: Any, **__: Any) -> httpx.Client:
        return httpx.Client(transport=Transport(self.segmind))

    def _clients(self) -> Any:
        wire = self.call
        sqs = Sqs(self.queues, wire, lambda: self.lambdas.hops)
        clients: Any = SimpleNamespace(
            s3=S3(self.storage, wire),
            sts=Client("sts", "AssumeRole", "assume_role", lambda _: {"Credentials": {}}, wire),
            sqs=sqs,
            events=Client("events", "PutEvents", "put_events", self.bus.put_events, wire),
            step_functions=StepFunctions(self.machine, wire),
            secrets=Client(
                "secretsmanager",
                "GetSecretValue",
                "get_secret_value",
                lambda _: {"SecretString": self.secret},
                wire,
            ),
            notification_sqs=sqs,
            notification_sns=Client("sns", "Publish", "publish", lambda _: {}, wire),
            table=lambda _: Table(self.database, wire=wire),
        )
        clients.s3.create = clients.sts.create = lambda: None
        return clients

    # ─── The wire ─────────────────────────────────────────────────────────────────────────────

    def call(self, call: Call) -> Any:
        """Make a call of a function to AWS, as well or badly as the weather lets it."""
        process = self.kernel.current
        assert process
        weather, chance = self.weather, self._dice.random
        if weather is _CALM:
            process.wait(0.01)
            return call.effect()
        is_write = call.operation.startswith(WRITES)
        killed = chance() < weather.killed
        stalled = chance() < weather.stalled
        seconds = self._dice.uniform(1, 400) if stalled else self._dice.uniform(0.005, 0.03)
        if stalled:
            self._note(process, "stalled", call)
        if killed and chance() < 0.5:
            self._note(process, "killed before", call)
            process.wait(seconds)
            self._crash(process)
        process.wait(seconds)
        if chance() < weather.throttled:
            process.is_late = True
            process.wait(self._dice.uniform(0.1, 3))
        if chance() < weather.refused:
            self._note(process, "refused", call)
            process.wait(self._dice.uniform(1, 6))
            raise self._refusal(call)
        if is_write and call.service == "dynamodb" and chance() < weather.conflict * 0.2:
            self._note(process, "conflict", call)
            raise _conflict(call)
        response = self._effect(process, weather, call, is_write)
        if killed:
            self._note(process, "killed after", call)
            self._crash(process)
        return response

    def _effect(self, process: Process, weather: Weather, call: Call, is_write: bool) -> Any:
        chance = self._dice.random
        response = call.effect()
        if is_write and chance() < weather.broken:
            self._note(process, "broken", call)
            process.wait(self._dice.uniform(1, 20))
            raise ReadTimeoutError(endpoint_url="https://aws.example")
        if is_write and chance() < weather.lost:
            self._note(process, "lost", call)
            process.wait(self._dice.uniform(0.2, 3))
            body = call.parameters.get("Body", b"")
            if not isinstance(body, bytes | bytearray | str):
                raise UnseekableStreamError(stream_object=body)
            # A transaction has a token by which DynamoDB knows that it is the same one.
            return response if call.operation == "TransactWriteItems" else call.effect()
        if call.operation == "BatchGetItem" and chance() < weather.unprocessed:
            self._note(process, "unprocessed", call)
            ((table, asked),) = call.parameters["RequestItems"].items()
            kept = self._dice.randrange(len(asked["Keys"]))
            keys = asked["Keys"][kept:]
            names = {(key["pk"], key["sk"]) for key in keys}
            items = response["Responses"][table]
            left = [item for item in items if (item["pk"], item["sk"]) not in names]
            return {
                "Responses": {table: left},
                "UnprocessedKeys": {table: {**asked, "Keys": keys}},
            }
        return response

    def _refusal(self, call: Call) -> Exception:
        kind = self._dice.randrange(3)
        if kind == 0:
            return EndpointConnectionError(endpoint_url="https://aws.example")
        if kind == 1:
            return ConnectTimeoutError(endpoint_url="https://aws.example")
        code = _THROTTLED.get(call.service, "ServiceUnavailable")
        return client_error(call.operation, code, status=503)

    def _crash(self, process: Process) -> None:
        """Kill the function from within, with its environment."""
        invocation = self.lambdas.running.get(process)
        if invocation:
            self.kernel.after(0, invocation.crash)
        process.wait(1)

    def _note(self, process: Process, fault: str, call: Call) -> None:
        process.is_late = True
        process.faults.add(fault)
        self.kernel.log(f"{fault}: {call.service} {call.operation} {_about(call)}")


def _giving(value: object) -> Callable[..., Any]:
    """Return a function that returns a value; much faster than a mock."""
    return lambda *_: value


_CALM = Weather()
_SIGNING: Any = SimpleNamespace(
    generate_presigned_url=lambda _, Params, ExpiresIn: signed(  # noqa: N803
        Params["Bucket"],
        Params["Key"],
        Params["ResponseContentDisposition"].partition('"')[2].rstrip('"'),
    )
)


def _conflict(call: Call) -> Exception:
    if call.operation == "TransactWriteItems":
        reasons = [{"Code": "TransactionConflict"}]
        return client_error(
            call.operation, "TransactionCanceledException", CancellationReasons=reasons
        )
    return client_error(call.operation, "TransactionConflictException")


def _about(call: Call) -> str:
    parameters = call.parameters
    key = parameters.get("Key") or parameters.get("Item") or parameters.get("MessageBody") or ""
    return str(key.get("pk") if isinstance(key, Mapping) else key)[:100]

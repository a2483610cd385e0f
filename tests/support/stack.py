"""What tests do with a running stack, as its users and its operators do."""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from botocore.config import Config
from botocore.exceptions import ClientError

from local.cloud import Cloud
from retake.aws import dynamodb
from retake.aws.admission_store import AdmissionStore
from retake.aws.audit_store import AuditStore
from retake.aws.job_store import job_from_item
from retake.domain.admission import LEASE_SECONDS, LONG_LEASE_SECONDS, Leases, OpenCircuit
from retake.domain.audit import Audit
from retake.domain.input_files import FileKind, kind_of, sidecar_key, staged_render_key
from retake.domain.job import FOLLOWED, FollowUpQueue, HoldReason, Job, State
from retake.domain.status_file import SUFFIXES
from retake.services.waiting import RECHECK_SECONDS
from tests.support import media

PATIENCE_SECONDS = 240  # a limit for a busy machine, not an expectation
LOST_AGE = timedelta(minutes=6)  # of a submit; then a request without a trace counts as absent
StatusFile = dict[str, Any]


class Stack:
    """A running stack.

    Parameters:
        cloud: the embedded cloud that it runs on.
        patience_seconds: how long the test waits for anything.
    """

    def __init__(self, cloud: Cloud, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.cloud, self.patience_seconds = cloud, patience_seconds
        self.s3, self.sqs = cloud.client("s3"), cloud.client("sqs")
        self.step_functions = cloud.client("stepfunctions")
        self.input = cloud.outputs["InputBucketName"]
        self.output = cloud.outputs["OutputBucketName"]
        self.staging = cloud.outputs["StagingBucketName"]
        self.table = cloud.table()
        self.admission = AdmissionStore(table=self.table)

    # ─── Drops and what comes out ─────────────────────────────────────────────────────────────

    def drop(self, key: str, body: bytes | Path | dict[str, Any], **options: Any) -> None:
        """Put a file, or a sidecar, into the input bucket.

        A sidecar without a prompt gets its key, so that rules of the simulator match it.
        """
        if isinstance(body, dict):
            named = kind_of(key) is FileKind.SIDECAR
            body = json.dumps({"prompt": key} | body if named else body).encode()
        content = body.read_bytes() if isinstance(body, Path) else body
        self.s3.put_object(Bucket=self.input, Key=key, Body=content, **options)

    def drop_pair(
        self, key: str, clip: bytes | Path, sidecar: dict[str, Any] | None = None
    ) -> None:
        """Drop a clip, then its sidecar, whose prompt is the key of the clip by default."""
        self.drop(key, clip)
        self.drop(sidecar_key(key), {"prompt": key, **(sidecar or {})})

    def send_drop_event(self, key: str, delay_seconds: int = 0, hops: int = 0) -> None:
        """Send the event of a drop once more, as EventBridge may do.

        Parameters:
            key: the object's key.
            delay_seconds: until it is received.
            hops: calls of a function that are its cause; a harsh cloud stops long chains.
        """
        event = {"detail": {"bucket": {"name": self.input}, "object": {"key": key}}}
        self.sqs.send_message(
            QueueUrl=self.cloud.outputs["DropQueueUrl"],
            MessageBody=json.dumps(event),
            DelaySeconds=delay_seconds,
            MessageAttributes={"hops": {"DataType": "Number", "StringValue": str(hops)}},
        )

    def status(self, name: str) -> StatusFile | None:
        """Read the status file of `name`; it is an error if it keeps two."""
        found = self._status_files(name)
        if len(found) > 1:  # for a moment: one is written before the other is removed
            time.sleep(1)
            found = self._status_files(name)
        assert len(found) < 2, f"{name} has two status files: {found}"
        return dict(json.loads(found[0])) if found else None

    def read(self, key: str) -> bytes | None:
        """Read an object of the output bucket, if it exists."""
        try:
            return bytes(self.s3.get_object(Bucket=self.output, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    # ─── Waiting ──────────────────────────────────────────────────────────────────────────────

    def until(self, name: str, *states: str) -> StatusFile:
        """Wait until the status file of `name` has one of the states, and return it."""

        def reached() -> StatusFile | None:
            status = self.status(name)
            return status if status and status["state"] in states else None

        found: StatusFile = self.eventually(reached, f"{name}: {states}")
        return found

    def eventually(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until `look` returns something, and return it."""
        deadline = time.monotonic() + self.patience_seconds
        while (began := time.monotonic()) < deadline:
            if found := look():
                return found
            # Looking takes the emulator's time from what is waited for.
            time.sleep(min(1, max(0.1, 2 * (time.monotonic() - began))))
        raise AssertionError(f"not within {self.patience_seconds} s: {what}")

    def until_drained(self) -> None:
        """Wait until all drops are processed."""
        queues = ("MediaQueueUrl", "DropQueueUrl")
        self.eventually(lambda: not any(map(self.waiting, queues)), "empty queues")

    def waiting(self, output: str) -> int:
        """Count the messages of a queue, with those in flight.

        Parameters:
            output: the stack's output with the queue's URL.
        """
        return self._count(
            output, "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        )

    def dead_letters(self) -> int:
        """Count the messages in the drop queue's dead-letter queue."""
        return self._count("DropDeadLetterQueueUrl", "ApproximateNumberOfMessages")

    def shorten_visibility(self, seconds: int) -> None:
        """Have messages of drops come back sooner, even while they are processed.

        Those of the media queue take longer: `prepare` gives up after a few receives.
        """
        for name, visible_after in (("DropQueueUrl", seconds), ("MediaQueueUrl", 4 + seconds)):
            queue = self.cloud.outputs[name]
            found = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])
            redrive = json.loads(found["Attributes"]["RedrivePolicy"])
            # Work that takes longer uses up receives without failing. It is still less time in all
            # than the template gives a message.
            redrive["maxReceiveCount"] = 10 * int(redrive["maxReceiveCount"])
            attributes = {
                "VisibilityTimeout": str(visible_after),
                "RedrivePolicy": json.dumps(redrive),
            }
            self.sqs.set_queue_attributes(QueueUrl=queue, Attributes=attributes)

    # ─── Sweeps and the passage of time ───────────────────────────────────────────────────────

    @contextmanager
    def losing_events(self) -> Iterator[None]:
        """Lose the events of what is dropped: the rule is disabled meanwhile."""
        events = self.cloud.client("events")
        (rule,) = [
            rule["Name"]
            for rule in events.list_rules()["Rules"]
            if self.input in rule.get("EventPattern", "")
        ]
        events.disable_rule(Name=rule)
        try:
            yield
        finally:
            events.enable_rule(Name=rule)

    def begin_audit(self) -> None:
        """Begin a pass of the audit that looks at everything, however new it is."""
        later = int(time.time()) + 600
        AuditStore(table=self.table).write(
            Audit(first_started_at=later, started_at=later, cursor="")
        )

    def audit(self) -> None:
        """Let the audit look at everything, however new it is."""
        store = AuditStore(table=self.table)
        self.begin_audit()

        def is_over() -> bool:
            self.sweep()
            return store.read().cursor is None

        self.eventually(is_over, "the end of the audit")

    def sweep(self) -> None:
        """Sweep as the schedule does every minute, and ignore like it what became of the call."""
        patient = Config(read_timeout=120, retries={"total_max_attempts": 1})
        functions = self.cloud.client("lambda", config=patient)
        name = self.cloud.outputs["SweepFunctionName"]
        with suppress(functions.exceptions.TooManyRequestsException):
            functions.invoke(FunctionName=name, Payload=b"{}")

    def send_digest(self) -> None:
        """Have the email digest sent now, however recent the last one is."""
        self.age("email", sent_at=0)
        self.sweep()

    def age(self, pk: str, **fields: Any) -> None:
        """Change attributes of an item, as if time had passed."""
        names = {f"#{name}": name for name in fields}
        self.table.update_item(
            Key=dynamodb.key(pk),
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in fields),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={f":{name}": value for name, value in fields.items()},
        )

    def make_all_due(self, states: Collection[str] = tuple(State)) -> None:
        """Make every record in some states due that is followed up at a given time."""
        for item in self._items():
            due = item.get(dynamodb.QUEUE_ATTRIBUTE) == FollowUpQueue.DUE
            if due and item.get("state", State.WAITING) in states:
                self._make_due(item)

    def release_forgotten_leases(self) -> None:
        """Let the time pass after which `sweep` releases leases that settled jobs have."""
        end = int(time.time()) + LEASE_SECONDS - LONG_LEASE_SECONDS
        self.admission.change(
            lambda admission: replace(
                admission, leases=Leases(dict.fromkeys(admission.leases.expire_at, end))
            )
        )

        def released() -> bool:
            self.sweep()
            settled = {job.id for job in self.jobs() if job.has_ended and job.follow_up is None}
            return settled.isdisjoint(self.admission.read().leases.expire_at)

        self.eventually(released, "the release of the leases of settled jobs")

    def recover(self, expected: dict[str, str]) -> None:
        """Let time pass until the jobs of some clips are settled in the expected states.

        Parameters:
            expected: the states, by the clips' keys.
        """

        def settled() -> bool:
            jobs = [job for job in self.jobs() if job.key in expected]
            complete = {job.key for job in jobs} == set(expected)
            if complete and not any(_is_stuck(job, expected) for job in jobs):
                return True
            self.make_all_due()
            self.sweep()
            return False

        try:
            self.eventually(settled, f"{expected}")
        except AssertionError:
            jobs = [job for job in self.jobs() if job.key in expected]
            stuck = [vars(job) for job in jobs if _is_stuck(job, expected)]
            text = json.dumps(stuck, default=str, indent=1)
            raise AssertionError(f"stuck: {text}") from None
        for key, state in expected.items():
            self.until(key, state)

    # ─── Admission control ────────────────────────────────────────────────────────────────────

    def open_circuit(self, probe_at: float) -> None:
        """Open the circuit, as if the account were out of credits, until it may be probed."""
        opened = OpenCircuit(HoldReason.CREDITS, "a test", int(probe_at))
        self.admission.change(
            lambda admission: replace(admission, circuit=replace(admission.circuit, opened=opened))
        )

    def close_circuit(self) -> None:
        """Close the circuit, without the event that announces it."""
        self.admission.change(
            lambda admission: replace(admission, circuit=replace(admission.circuit, opened=None))
        )

    def probe_now(self) -> None:
        """Let the time come at which an open circuit is probed, and sweep."""
        opened = self.admission.read().circuit.opened
        assert opened, "the circuit is closed"
        due = replace(opened, probe_at=0)
        self.admission.change(
            lambda admission: replace(admission, circuit=replace(admission.circuit, opened=due))
        )
        self.sweep()

    # ─── The simulator ────────────────────────────────────────────────────────────────────────

    def segmind(self, method: str, path: str, **options: Any) -> Any:
        """Call the simulator, and return the response's content."""
        headers = {} if path.startswith("/_simulator") else {"x-api-key": "SG_local_simulator"}
        url = self.cloud.outputs["Simulator"] + path
        response = httpx.request(
            method, url, headers=headers, trust_env=False, timeout=10, **options
        )
        is_json = "json" in response.headers.get("content-type", "")
        return response.json() if is_json else response.content

    def configure_simulator(self, **settings: Any) -> None:
        """Change settings of the simulator."""
        self.segmind("PUT", "/_simulator/settings", json=settings)

    def rule(self, **fields: Any) -> None:
        """Make the simulator misbehave, or change settings for single requests."""
        self.segmind("POST", "/_simulator/rules", json=fields)

    def unmet_rules(self, part: str) -> list[dict[str, Any]]:
        """List the rules with `part` in what they match that no call has met."""
        rules = self.ledger()["rules"]
        return [rule for rule in rules if part in rule["match"] and not rule["hits"]]

    def ledger(self) -> dict[str, Any]:
        """Read which requests the simulator received and charged."""
        return dict(self.segmind("GET", "/_simulator/ledger"))

    def submitted(self, part: str) -> list[dict[str, Any]]:
        """List the accepted requests for clips with `part` in their keys; some are sent as copies.

        A request names its clip or its job.
        """
        names = {part} | {job.id for job in self.jobs() if part in job.key}
        requests = self.ledger()["requests"]
        return [
            each
            for each in requests
            if any(name in each["body"].get("video_url", "") for name in names)
        ]

    def rendered(self, request_id: str) -> bytes:
        """Download the file that the simulator made for a request."""
        row = self.segmind("GET", f"/inference-request/request-history/{request_id}")
        return httpx.get(row["generation_url"], trust_env=False).content

    def is_film(self, key: str, request_id: str) -> bool:
        """Tell whether a key of the output bucket has the film of what was rendered."""
        render, film = self.rendered(request_id), self.read(key)
        (job,) = (job for job in self.jobs() if job.request_id == request_id)
        staged = self.s3.get_object(Bucket=self.staging, Key=staged_render_key(job.id))
        assert staged["Body"].read() == render
        return film is not None and media.frames(film) == media.frames(render)

    # ─── Jobs and executions ──────────────────────────────────────────────────────────────────

    def jobs(self) -> list[Job]:
        """Read all jobs."""
        items = self._items()
        return [job_from_item(item) for item in items if item["pk"].startswith("job#")]

    def job_of(self, key: str) -> Job:
        """Read the only job of a clip."""
        (job,) = [job for job in self.jobs() if job.key == key]
        return job

    def running_executions(self) -> list[str]:
        """List the names of the executions that run: `<job id>-<run>`."""
        pages = self.step_functions.get_paginator("list_executions").paginate(
            stateMachineArn=self.cloud.outputs["StateMachineArn"], statusFilter="RUNNING"
        )
        return [execution["name"] for page in pages for execution in page["executions"]]

    def running_executions_of(self, key: str) -> list[str]:
        """List the names of the executions that run for the only job of a clip."""
        job_id = self.job_of(key).id
        return [name for name in self.running_executions() if name.startswith(job_id)]

    def stop_execution(self, name: str) -> None:
        """Stop an execution from outside, as a person can."""
        machine = self.cloud.outputs["StateMachineArn"]
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
        self.step_functions.stop_execution(executionArn=arn)

    def throttled_calls(self) -> int:
        """Count the calls of functions that were throttled because too many ran at once."""
        statistics = partial(
            self.cloud.client("cloudwatch").get_metric_statistics,
            Namespace="AWS/Lambda",
            MetricName="Throttles",
            StartTime=datetime.now(UTC) - timedelta(days=1),
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=86400,
            Statistics=["Sum"],
        )
        functions = self.cloud.client("lambda").list_functions()["Functions"]
        names = [function["FunctionName"] for function in functions]
        found = [
            statistics(Dimensions=[{"Name": "FunctionName", "Value": name}])["Datapoints"]
            for name in names
        ]
        return round(sum(point["Sum"] for points in found for point in points))

    # ─── What always holds ────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Check what holds at any moment.

        Every job that has not ended is followed up, nothing runs or is leased without need, and
        nothing is paid twice.
        """
        jobs = {job.id: job for job in self.jobs()}
        self._check_executions(jobs)
        self._check_leases(jobs)
        self._check_requests(list(jobs.values()))
        self._check_payments(list(jobs.values()))

    def _check_executions(self, jobs: dict[str, Job]) -> None:
        ended = {job.id for job in jobs.values() if job.has_ended}
        # Where time was made to pass while a function worked, `sweep` may have started a second
        # wait loop: it finds nothing to do, and ends.
        self.eventually(
            lambda: ended.isdisjoint(self._executions_by_job()),
            "no wait loop runs for a job that has ended",
        )
        executions = self._executions_by_job()
        for job in jobs.values():
            followed = job.has_ended or job.follow_up or job.needs_attention
            assert followed, f"nobody follows up {job}"
            if job.state in FOLLOWED:
                soon = job.follow_up and job.follow_up.at <= time.time() + RECHECK_SECONDS
                gone = f"its execution is gone, and it is not followed up soon: {job}"
                assert executions[job.id] or soon, gone
            assert executions[job.id] < 2, f"two wait loops run for {job}"
        assert executions.keys() <= jobs.keys(), "a wait loop runs for no job"

    def _check_leases(self, jobs: dict[str, Job]) -> None:
        for job_id, expires_at in self.admission.read().leases.expire_at.items():
            job = jobs[job_id]
            settled = job.has_ended and job.follow_up is None
            assert expires_at < time.time() or not settled, f"a lease is left of {job}"

    def _check_requests(self, jobs: list[Job]) -> None:
        known = [job.request_id for job in jobs if job.request_id]
        assert len(known) == len(set(known)), "two jobs have one request"
        unsure = any(
            job.state in (State.SUBMITTING, State.SUBMIT_UNKNOWN) or job.needs_attention
            for job in jobs
        )
        paid = {request["request_id"] for request in self._paid_requests()}
        assert unsure or paid <= set(known), "something is paid that no job knows"

    def _check_payments(self, jobs: list[Job]) -> None:
        bodies = [job.attempt.body for job in jobs if job.attempt and job.attempt.body]
        sent = Counter(map(_content, bodies))
        paid = Counter(_content(request["body"]) for request in self._paid_requests())
        for content, times in paid.items():
            assert times <= sent[content], f"paid {times} times: {content}"

    # ─── Internals ────────────────────────────────────────────────────────────────────────────

    def _status_files(self, name: str) -> list[bytes]:
        contents = [self.read(name + suffix) for suffix in SUFFIXES]
        return [content for content in contents if content]

    def _executions_by_job(self) -> Counter[str]:
        return Counter(name.rpartition("-")[0] for name in self.running_executions())

    def _paid_requests(self) -> list[dict[str, Any]]:
        return [request for request in self.ledger()["requests"] if request["paid"]]

    def _make_due(self, item: dynamodb.Item) -> None:
        update = "SET #at = :past"
        names = {"#at": dynamodb.AT_ATTRIBUTE}
        values = {":past": 0, ":at": item[dynamodb.AT_ATTRIBUTE]}
        if item.get("state") == State.SUBMIT_UNKNOWN:
            update += ", #entered.#submitting = :long_ago"
            names |= {"#entered": "entered", "#submitting": State.SUBMITTING}
            values[":long_ago"] = (datetime.now(UTC) - LOST_AGE).isoformat()
        with suppress(ClientError):  # it has moved on meanwhile
            self.table.update_item(
                Key={"pk": item["pk"], "sk": item["sk"]},
                UpdateExpression=update,
                ConditionExpression="#at = :at",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )

    def _count(self, output: str, *attributes: str) -> int:
        found = self.sqs.get_queue_attributes(
            QueueUrl=self.cloud.outputs[output], AttributeNames=list(attributes)
        )
        return sum(int(found["Attributes"][attribute]) for attribute in attributes)

    def _items(self) -> list[dynamodb.Item]:
        return list(dynamodb.pages(self.table.scan, ConsistentRead=True))


def _is_stuck(job: Job, expected: dict[str, str]) -> bool:
    return job.state != expected[job.key] or job.follow_up is not None


def _content(body: Any) -> tuple[str, str | None, str]:
    """Return what a submit is paid for."""
    job = unquote(urlsplit(body["video_url"]).path).rpartition("-")[0]
    return job, body.get("prompt"), body["mode"]

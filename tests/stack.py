"""What tests do with a running stack, as a user and as an operator."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from botocore.config import Config
from botocore.exceptions import ClientError

from local.cloud import Cloud
from retake.rules.states import ENDED, Held, State
from retake.sweeping import AGAIN

PATIENCE = 240  # seconds; a limit for a machine that is busy, not an expectation


class Stack:
    """What a user and an operator do with a running stack."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.s3, self.sqs, self.states = cloud.client("s3"), cloud.client("sqs"), cloud.client("stepfunctions")
        self.input, self.output = cloud.outputs["InputBucketName"], cloud.outputs["OutputBucketName"]
        self.table = cloud.table()

    def drop(self, key: str, body: bytes | Path | dict[str, Any], **options: Any) -> None:
        """Put a file, or a sidecar, into the input bucket."""
        content = body.read_bytes() if isinstance(body, Path) else json.dumps(body).encode() if isinstance(body, dict) else body
        self.s3.put_object(Bucket=self.input, Key=key, Body=content, **options)

    def drop_pair(self, key: str, clip: bytes | Path, note: dict[str, Any] | None = None) -> None:
        """Drop a clip, then its sidecar."""
        self.drop(key, clip)
        self.drop(key.rpartition(".")[0] + ".json", note or {})

    def answer(self, name: str) -> dict[str, Any] | None:
        """Read `<name>.job.json` or `<name>.error.json`; it is an error if both are there."""
        found = [answer for suffix in (".job.json", ".error.json") if (answer := self.read(name + suffix))]
        assert len(found) < 2, f"{name} has two answers: {found}"
        return dict(json.loads(found[0])) if found else None

    def read(self, key: str) -> bytes | None:
        """Read an object of the output bucket, if it is there."""
        try:
            return bytes(self.s3.get_object(Bucket=self.output, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    def until(self, name: str, *states: str) -> dict[str, Any]:
        """Wait until the answer of `name` tells one of the states."""
        return self.eventually(lambda: (answer := self.answer(name)) and answer["state"] in states and answer, f"{name}: {states}")

    def eventually(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until `look` gives something."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {PATIENCE} s: {what}")

    def quiet(self) -> None:
        """Wait until all drops are taken."""
        self.eventually(lambda: self.waiting("DropQueueUrl") == 0, "an empty drop queue")

    def waiting(self, output: str) -> int:
        """Count the messages of a queue, with those that are being taken."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        left = self.sqs.get_queue_attributes(QueueUrl=self.cloud.outputs[output], AttributeNames=names)["Attributes"]
        return sum(int(count) for count in left.values())

    def dead_letters(self) -> int:
        """Count the messages in the dead-letter queue."""
        url = self.cloud.outputs["DropDeadLetterQueueUrl"]
        left = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(left["Attributes"]["ApproximateNumberOfMessages"])

    def sweep(self) -> None:
        """Do what the schedule does every minute; the function may be killed or throttled, the schedule would not know."""
        functions = self.cloud.client("lambda", config=Config(read_timeout=120, retries={"total_max_attempts": 1}))
        with contextlib.suppress(functions.exceptions.TooManyRequestsException):
            functions.invoke(FunctionName=self.cloud.outputs["SweepFunctionName"], Payload=b"{}")

    def mail(self) -> None:
        """Have people mailed now, however fresh the last mail is."""
        self.age("mail", sent_at=0)
        self.sweep()

    def age(self, pk: str, **fields: Any) -> None:
        """Make a row look as if time had passed."""
        names = {f"#{name}": name for name in fields}
        self.table.update_item(
            Key={"pk": pk, "sk": pk.partition("#")[0]},
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in fields),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={f":{name}": value for name, value in fields.items()},
        )

    def segmind(self, method: str, path: str, **options: Any) -> Any:
        """Call the simulator."""
        headers = {} if path.startswith("/_simulator") else {"x-api-key": "SG_local_simulator"}
        answer = httpx.request(method, self.cloud.outputs["Simulator"] + path, headers=headers, trust_env=False, timeout=10, **options)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def rule(self, **fields: Any) -> None:
        """Make the simulator misbehave."""
        self.segmind("POST", "/_simulator/rules", json=fields)

    def ledger(self) -> dict[str, Any]:
        """Read what the simulator has been asked and paid."""
        return dict(self.segmind("GET", "/_simulator/ledger"))

    def submitted(self, part: str) -> list[dict[str, Any]]:
        """List the accepted requests whose clip's address contains `part`, as it stands in the URL."""
        return [request for request in self.ledger()["requests"] if part in request["body"].get("video_url", "")]

    def rendered(self, request_id: str) -> bytes:
        """Fetch the file that the simulator made for a request."""
        url = self.segmind("GET", f"/inference-request/request-history/{request_id}")["generation_url"]
        return httpx.get(url, trust_env=False).content

    def jobs(self) -> list[dict[str, Any]]:
        """Read all jobs."""
        return [row for row in self._rows() if row["sk"] == "job"]

    def running(self) -> list[str]:
        """List the names of the executions that run: `<job id>-<run>`."""
        pages = self.states.get_paginator("list_executions")
        found = pages.paginate(stateMachineArn=self.cloud.outputs["StateMachineArn"], statusFilter="RUNNING")
        return [run["name"] for page in found for run in page["executions"]]

    def runs(self) -> Counter[str]:
        """Count the executions that run for each job."""
        return Counter(run.rpartition("-")[0] for run in self.running())

    def stop(self, run: str) -> None:
        """Stop an execution from outside."""
        arn = self.cloud.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:")
        self.states.stop_execution(executionArn=f"{arn}:{run}")

    def due_now(self) -> None:
        """Let the time come for everything that somebody must look after."""
        for row in self._rows():
            if row.get("queue") != "due":
                continue
            change, names, values = "SET #at = :past", {"#at": "at"}, {":past": 0, ":at": row["at"]}
            if row.get("state") == State.SUBMIT_UNKNOWN:
                change += ", #times.#sent = :long_ago"
                names |= {"#times": "times", "#sent": State.SUBMITTING}
                values[":long_ago"] = (datetime.now(UTC) - timedelta(minutes=6)).isoformat()
            with contextlib.suppress(ClientError):  # it has moved on meanwhile
                self.table.update_item(
                    Key={"pk": row["pk"], "sk": row["sk"]},
                    UpdateExpression=change,
                    ConditionExpression="#at = :at",
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                )

    def recover(self, expected: dict[str, str]) -> None:
        """Let time pass until the jobs of some clips have ended as expected, and are settled."""

        def ended() -> bool:
            jobs = [job for job in self.jobs() if job["key"] in expected]
            through = [job for job in jobs if job["state"] == expected[job["key"]] and "queue" not in job]
            if len(through) == len(jobs) and {job["key"] for job in jobs} == set(expected):
                return True
            self.due_now()
            self.sweep()
            time.sleep(0.5)
            return False

        try:
            self.eventually(ended, f"{expected}")
        except AssertionError:
            stuck = [job for job in self.jobs() if job["key"] in expected and (job["state"] != expected[job["key"]] or "queue" in job)]
            raise AssertionError(f"stuck: {json.dumps(stuck, default=str, indent=1)}") from None
        for key, state in expected.items():
            self.until(key, state)

    def check(self) -> None:
        """Check what must hold at any moment: no job without an owner, no lease without a job, no run too many, nothing paid twice."""
        jobs = {job["id"]: job for job in self.jobs()}
        over = {job["id"] for job in jobs.values() if State(job["state"]) in ENDED}
        # Where time was made to pass under a function at work, `sweep` may have started a second one: it finds nothing to do, and ends.
        self.eventually(lambda: over.isdisjoint(self.runs()), "no wait-loop runs for a job that has ended")
        runs = self.runs()
        for job in jobs.values():
            ended = State(job["state"]) in ENDED
            assert ended or "queue" in job or job.get("held") == Held.ATTENTION, f"nobody looks after {job}"
            if job["state"] in (State.RENDERING, State.DELIVERING):
                assert runs[job["id"]] or job["at"] <= time.time() + AGAIN, f"its run is gone, and nobody looks after it soon: {job}"
            assert runs[job["id"]] < 2, f"two wait-loops run for {job}"
        assert runs.keys() <= jobs.keys(), "a wait-loop runs for no job"
        gate = self.table.get_item(Key={"pk": "gate", "sk": "gate"}).get("Item", {})
        for job_id, end in gate.get("leases", {}).items():
            settled = State(jobs[job_id]["state"]) in ENDED and "queue" not in jobs[job_id]
            assert end < time.time() or not settled, f"a lease is left of {jobs[job_id]}"
        known = [job["request_id"] for job in jobs.values() if "request_id" in job]
        assert len(known) == len(set(known)), "two jobs have one request"
        requests = [request for request in self.ledger()["requests"] if request["paid"]]
        unsure = any(job["state"] in (State.SUBMITTING, State.SUBMIT_UNKNOWN) or job.get("held") == Held.ATTENTION for job in jobs.values())
        assert unsure or {request["request_id"] for request in requests} <= set(known), "something is paid that no job knows"
        paid = [request["body"] for request in requests]
        inputs = Counter((unquote(urlsplit(body["video_url"]).path), body.get("prompt"), body["mode"]) for body in paid)
        sent = [job["sent"] for job in jobs.values() if "sent" in job]
        jobs_of = Counter((unquote(urlsplit(body["video_url"]).path), body.get("prompt"), body["mode"]) for body in sent)
        for content, times in inputs.items():
            assert times <= jobs_of[content], f"paid {times} times: {content}"

    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        start: dict[str, Any] = {}
        while True:
            page = self.table.scan(ConsistentRead=True, **start)
            rows += page["Items"]
            if "LastEvaluatedKey" not in page:
                return rows
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

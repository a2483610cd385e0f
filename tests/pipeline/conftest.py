"""The whole pipeline on the embedded cloud, with roles enforced, beside the simulator."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from local.cloud import Cloud, Wanted, running
from tests import media

PATIENCE = 60  # seconds; a limit for a machine that is busy, not an expectation


class Pipeline:
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
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

        def empty() -> bool:
            url = self.cloud.outputs["DropQueueUrl"]
            left = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            return all(int(count) == 0 for count in left.values())

        self.eventually(empty, "an empty drop queue")

    def dead_letters(self) -> int:
        """Count the messages in the dead-letter queue."""
        url = self.cloud.outputs["DropDeadLetterQueueUrl"]
        left = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(left["Attributes"]["ApproximateNumberOfMessages"])

    def sweep(self) -> None:
        """Do what the schedule does every minute."""
        answer = self.cloud.client("lambda").invoke(FunctionName=self.cloud.outputs["SweepFunctionName"], Payload=b"{}")
        assert "FunctionError" not in answer, answer["Payload"].read()

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


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    wanted = Wanted(wait_scale=0.005, daily_budget_usd=100_000, simulator=("--render-seconds", "0.5"))
    with running(wanted, tmp_path_factory.mktemp("cloud")) as cloud:
        yield Pipeline(cloud)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("media") / "clip.mp4")


@pytest.fixture(scope="session")
def look(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.image(tmp_path_factory.mktemp("media") / "look.png")

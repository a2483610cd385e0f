"""The costs page shows what the calculator says, which counts what a job really does."""

import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import costs
from retake.domain.job import State
from retake.segmind.responses import Response
from tests.support.aws.wire import Call, direct
from tests.support.world import World

PAGE = Path(__file__).parents[2] / "docs" / "costs.md"
# Without preparing the clip and finishing the film: 60 in all, and 15 before the request.
MAX_CALLS, MAX_CALLS_BEFORE_REQUEST, MAX_ADMISSION_READS = 83, 39, 2
COMPLETED = Response(200, json.dumps({"status": "COMPLETED"}))
RESULT = Response(
    200,
    json.dumps(
        {
            "status": "COMPLETED",
            "output": "https://images.segmind.com/r.mp4",
            "metrics": {"total_time": 160},
        }
    ),
)


class FakeResultFiles:
    """Has one result, in memory."""

    def open(self, url: str) -> Any:
        body = io.BytesIO(b"\0\0\0\x18ftypmp42")
        return SimpleNamespace(
            read=body.read, close=body.close, length=12, received=12, failure=None
        )


@dataclass
class Counted:
    """What one job does in AWS.

    Attributes:
        calls: its calls.
        before_request: how many of them come before the request to Segmind.
        admission_reads: how often `submit` reads the state of admission control.
        writes: its writes by the kind of record.
    """

    calls: Counter[str] = field(default_factory=Counter)
    before_request: int = 0
    admission_reads: int = 0
    writes: Counter[str] = field(default_factory=Counter)

    def make(self, call: Call) -> Any:
        """Count a call, and make it."""
        self.calls.update([call.operation])
        if call.operation in ("PutItem", "UpdateItem"):
            self._write(call.parameters)
        elif call.operation == "TransactWriteItems":
            for item in call.parameters["TransactItems"]:
                self._write(item["Update"])
        elif call.operation in ("GetItem", "BatchGetItem"):
            self.admission_reads += "'admission'" in str(call.parameters)
        return call.effect()

    def _write(self, request: Mapping[str, Any]) -> None:
        key = request.get("Item") or request["Key"]
        self.writes.update([key["pk"].partition("#")[0]])

    def is_sent(self) -> None:
        """Remember how many calls there were when the request is sent."""
        self.before_request = self.calls.total()


def count_calls(world: World, clip_bytes: bytes) -> Counted:
    """Bring a job from its two drops to its end, with five polls, as the functions do."""
    counted = Counted()
    world.app.result_files = FakeResultFiles()
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", b"{}")
    world.s3.wire = world.table.wire = counted.make
    world.segmind.during = counted.is_sent
    for key in ("clip.mp4", "clip.json"):
        assert world.app.ingest.ingest(key) == []
    (key,) = world.media_queue.keys
    world.app.preparer.prepare(key)
    (job,) = world.app.ingest.ingest(key)
    world.app.submitter.submit_job(job)
    loop = world.loop(job.id, run=job.run)
    of_submit = counted.admission_reads
    world.segmind.result_response = RESULT
    for response in [world.segmind.status_response] * 4 + [COMPLETED]:
        world.segmind.status_response = response
        world.clock.now += 60
        loop = world.app.poller.poll(loop)
    world.app.fetcher.fetch(loop)
    world.app.finisher.finish(loop)
    world.app.settlement.settle(loop.job_id)
    world.app.waker.wake_next()
    counted.admission_reads = of_submit
    world.s3.wire = world.table.wire = direct
    assert world.state(loop.job_id) is State.DELIVERED
    return counted


def test_a_job_makes_the_calls_that_the_calculator_counts(world: World, clip_bytes: bytes) -> None:
    counted = count_calls(world, clip_bytes)
    assert dict(counted.calls) == costs.CALLS
    assert dict(counted.writes) == costs.WRITES


def test_a_job_makes_few_calls(world: World, clip_bytes: bytes) -> None:
    counted = count_calls(world, clip_bytes)
    assert counted.calls.total() <= MAX_CALLS
    assert counted.before_request + len(["AssumeRole"]) <= MAX_CALLS_BEFORE_REQUEST
    assert counted.admission_reads <= MAX_ADMISSION_READS


def test_what_segmind_downloads_is_the_largest_item_of_a_job_besides_storage() -> None:
    lines = {line.service: 1000 * line.per_job for line in costs.lines()}
    transfer = lines["S3 data transfer out, 10 MB per job"]
    assert transfer == pytest.approx(0.90)
    assert transfer == sorted(lines.values())[-2]


def test_the_page_shows_what_the_calculator_says() -> None:
    assert costs.markdown() in PAGE.read_text()

"""The costs page shows what the calculator says, which counts what a job really does."""

import io
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import costs
from retake.domain.job import State
from retake.segmind.responses import Response
from tests.support.world import World

PAGE = Path(__file__).parents[2] / "docs" / "costs.md"
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


def count_calls(world: World, clip_bytes: bytes) -> tuple[Counter[str], Counter[str]]:
    """Bring a job from its two drops to its end, with five polls.

    Returns:
        The calls to AWS, and the writes by the kind of record.
    """
    calls: Counter[str] = Counter()
    writes: Counter[str] = Counter()

    def count(model: Any, params: dict[str, Any], **_: Any) -> None:
        calls.update([model.name])
        if model.name in ("PutItem", "UpdateItem"):
            request = json.loads(params["body"])
            key = request.get("Item") or request["Key"]
            writes.update([key["pk"]["S"].partition("#")[0]])

    world.app.result_files = FakeResultFiles()
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", b"{}")
    for service in (world.s3, world.table.meta.client):
        service.meta.events.register("before-call", count)
    ready = [*world.ingest("clip.mp4"), *world.ingest("clip.json")]
    for job_id in ready:
        world.submit(job_id)
    loop = world.loop(ready[0])
    world.segmind.result_response = RESULT
    for response in [world.segmind.status_response] * 4 + [COMPLETED]:
        world.segmind.status_response = response
        world.clock.now += 60
        loop = world.app.poller.poll(loop)
    world.app.deliverer.deliver(loop)
    world.app.settlement.settle(ready[0])
    world.app.waker.wake_next()
    assert world.state(ready[0]) is State.DELIVERED
    return calls, writes


def test_a_job_makes_the_calls_that_the_calculator_counts(world: World, clip_bytes: bytes) -> None:
    calls, writes = count_calls(world, clip_bytes)
    assert dict(calls) == costs.CALLS
    assert dict(writes) == costs.WRITES


def test_what_segmind_downloads_is_the_largest_item_of_a_job() -> None:
    lines = {line.service: 1000 * line.per_job for line in costs.lines()}
    transfer = lines["S3 data transfer out, 10 MB per job"]
    assert transfer == pytest.approx(0.90)
    assert transfer == max(lines.values())


def test_the_page_shows_what_the_calculator_says() -> None:
    assert costs.markdown() in PAGE.read_text()

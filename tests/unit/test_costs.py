"""The page of costs is what the calculator says, and the calculator counts what a job really does."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

from bench import costs
from retake.rules.contract import Answer

from .conftest import World

PAGE = Path(__file__).parents[2] / "docs" / "costs.md"
STATUS = Answer(200, json.dumps({"status": "COMPLETED"}))
RESULT = Answer(200, json.dumps({"status": "COMPLETED", "output": "https://images.segmind.com/r.mp4", "metrics": {"total_time": 160}}))


class Files:
    """A result in memory."""

    def open(self, url: str) -> Any:
        body = io.BytesIO(b"\0\0\0\x18ftypmp42")
        stream = type("Stream", (), {"read": body.read, "close": lambda self: None, "length": 12, "at": 12, "failure": None})
        return stream()


def calls_of_a_job(world: World, clip: Path) -> tuple[Counter[str], Counter[str]]:
    """Take one job all the way: two drops, four polls without an end and one with it; count the calls to AWS, and the writes of rows."""
    counted: Counter[str] = Counter()
    writes: Counter[str] = Counter()

    def count(model: Any, params: dict[str, Any], **_: Any) -> None:
        counted.update([model.name])
        if model.name in ("PutItem", "UpdateItem"):
            asked = json.loads(params["body"])
            writes.update([(asked.get("Item") or asked["Key"])["pk"]["S"].partition("#")[0]])

    for service in (world.s3, world.table.meta.client):
        service.meta.events.register("before-call", count)
    world.drop("clip.mp4", clip.read_bytes())
    world.drop("clip.json", b"{}")
    counted.clear()
    writes.clear()
    ready = [*world.intake.take("clip.mp4"), *world.intake.take("clip.json")]
    for job in ready:
        world.submission().submit(job)
    loop = world.loop(ready[0])
    for answer in [world.segmind.status_answer] * 4 + [STATUS]:
        world.segmind.status_answer, world.segmind.result_answer = answer, RESULT
        world.clock.now += 60
        loop = world.polling.poll(loop)
    loop = world.delivery(Files()).deliver(loop)
    world.settlement.settle(ready[0])
    world.settlement.let_next_go()
    assert world.state(ready[0]) == "DELIVERED"
    return counted, writes


def test_a_job_makes_the_calls_that_are_reckoned_with(world: World, clip: Path) -> None:
    calls, writes = calls_of_a_job(world, clip)
    assert dict(calls) == costs.CALLS
    assert dict(writes) == costs.WRITES


def test_the_page_shows_what_the_calculator_says() -> None:
    assert costs.markdown() in PAGE.read_text()

"""What tests of the command share: drops, jobs to list, and what a drawing looks like."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from retake.aws.job_store import item_of_job
from retake.domain.job import Job, State
from retake.domain.sidecar import Sidecar
from retake_cli.plan import DropOptions, plan
from retake_cli.stack import Stack
from retake_cli.upload import ReadyDrop, assess, preset_lookup, upload, upload_presets

from .jobs import new_job
from .world import World

FIRST_JOB_AT = datetime(2026, 3, 1, 22, tzinfo=UTC)
RENDER_SECONDS = 90


def assess_clip(stack: Stack, clip: Path, **options: Any) -> list[ReadyDrop]:
    """Plan the jobs of a clip or a folder, and compare them with the bucket and the table."""
    planned, rejections = plan([clip], DropOptions(**options), 30, preset_lookup(stack))
    assert rejections == []
    drops, rejections = assess(stack, planned)
    assert rejections == []
    return drops


def drop(stack: Stack, clip: Path, **options: Any) -> list[ReadyDrop]:
    """Drop a clip or a folder, as the command does."""
    drops = assess_clip(stack, clip, **options)
    upload_presets(stack, drops)
    changed = [ready for ready in drops if ready.uploaded_keys]
    upload(stack, changed, on_progress=lambda byte_count: None, on_done=lambda ready: None)
    return drops


def ingest_all(world: World, *keys: str) -> list[str]:
    """Ingest objects in this order; return the ids of the jobs that are ready."""
    return [job_id for key in keys for job_id in world.ingest(key)]


def fail(world: World, job_id: str) -> None:
    """Let a job that is ready fail at Segmind."""
    world.advance(job_id, State.SUBMITTING)
    world.advance(job_id, State.RENDERING, request_id="r")
    world.advance(job_id, State.FAILED, reason="content blocked")


def numbered_job(number: int, state: State = State.DELIVERED, **fields: Any) -> Job:
    """Create a job, a minute later for each number; it is delivered after 90 seconds."""
    began = FIRST_JOB_AT + timedelta(minutes=number)
    given: dict[str, Any] = {
        "bucket": "input",
        "key": f"day {number % 3}/clip {number:03}.mp4",
        "sidecar": Sidecar(mode="reimagine_3"),
        "entered": {
            State.CLAIMED: began,
            State.SUBMITTING: began,
            state: began + timedelta(seconds=RENDER_SECONDS),
        },
    }
    return new_job(f"{number:08x}{'0' * 24}", state, **given | fields)


def store(world: World, jobs: Iterable[Job]) -> None:
    """Write jobs into the table as they are."""
    for job in jobs:
        world.table.put_item(Item=item_of_job(job))


def store_settled(world: World, jobs: Iterable[Job]) -> None:
    """Write jobs that have ended into the table, and settle them."""
    for job in jobs:
        store(world, [job])
        assert world.jobs.settle(job)


def draw(drawing: Any, width: int) -> list[str]:
    """Return the lines of a drawing on a screen of some width."""
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(drawing)
    return text.getvalue().splitlines()

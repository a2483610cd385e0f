"""Drops and what becomes of them: steps that several suites share."""

import json
from typing import Any

from retake.aws.job_store import job_from_item
from retake.domain.job import Job, State

from .world import World


def ingest(world: World, *keys: str) -> set[str]:
    """Ingest objects, then what is in the queue; return the ids of the jobs that are ready."""
    ready: set[str] = set()
    waiting: list[tuple[str, str | None]] = [(key, None) for key in keys] + _received(world)
    while waiting:
        ready |= set(world.ingest(*waiting.pop(0)))
        waiting += _received(world)
    return ready


def ingest_and_submit(world: World, *keys: str) -> None:
    """Ingest objects, then what is in the queue; submit each job as soon as it is ready."""
    waiting: list[tuple[str, str | None]] = [(key, None) for key in keys] + _received(world)
    while waiting:
        for job_id in world.ingest(*waiting.pop(0)):
            world.submit(job_id)
        waiting += _received(world)


def pass_seconds(world: World, seconds: float) -> None:
    """Let time pass, and the delayed messages arrive whose time has come."""
    world.clock.now += seconds
    delayed, world.queue.delayed = world.queue.delayed, []
    for key, delay in delayed:
        if delay > seconds:
            world.queue.delayed.append((key, delay - int(seconds)))
        else:
            world.queue.keys.append(key)
    ingest_and_submit(world)


def status_of(world: World, key: str) -> dict[str, Any]:
    """Return what the status file of a key says; empty without one."""
    found = [world.read(key + suffix) for suffix in (".job.json", ".error.json")]
    contents = [content for content in found if content]
    assert len(contents) <= 1, contents
    return dict(json.loads(contents[0])) if contents else {}


def all_status_files(world: World) -> dict[str, dict[str, Any]]:
    """Return what all status files say, by their keys."""
    listed = world.s3.list_objects_v2(Bucket="output").get("Contents", ())
    keys = [item["Key"] for item in listed if item["Key"].endswith(".json")]
    return {key: json.loads(world.read(key) or b"") for key in keys}


def accepted_jobs(world: World) -> list[Job]:
    """Return the jobs that were not refused."""
    items = world.table.scan()["Items"]
    jobs = [job_from_item(item) for item in items if item["pk"].startswith("job#")]
    return [job for job in jobs if job.state is not State.REFUSED]


def deliver(world: World, job_id: str) -> None:
    """Bring a job that is rendering to its end, as if its result had been copied."""
    world.advance(job_id, State.FETCHING, result_url="https://x/")
    world.advance(job_id, State.FINISHING)
    world.app.status_files.publish(job_id)
    world.advance(job_id, State.DELIVERED, result="s3://output/clip.mp4")
    world.app.settlement.settle(job_id)


def fail(world: World, job_id: str) -> None:
    """Bring a job that is rendering to its end, as if Segmind had failed."""
    world.advance(job_id, State.FAILED, reason="no")
    world.app.settlement.settle(job_id)


def drop_again(world: World, job_id: str = "j1") -> None:
    """Claim a job that has ended again, as a newer drop of the same content does."""
    ended = world.job(job_id)
    again = Job(
        id=ended.id,
        state=State.CLAIMED,
        bucket=ended.bucket,
        key=ended.key,
        drop_version="w",
        clip=ended.clip,
        sidecar=ended.sidecar,
        prepared=ended.prepared,
    )
    assert world.jobs.create(again, replaces=ended)


def _received(world: World) -> list[tuple[str, str | None]]:
    keys, world.queue.keys = world.queue.keys, []
    pages, world.queue.pages = world.queue.pages, []
    return [*((key, None) for key in keys), *pages]

"""A retry drops the same take again, and never another one."""

import time
from pathlib import Path

from retake_cli.commands.retry import retry_entry
from retake_cli.stack import Stack
from tests.support.command import drop, fail, ingest_all
from tests.support.world import World


def why_not(world: World, stack: Stack, job_id: str) -> str:
    """Retry a job; return why it was not possible."""
    return retry_entry(stack, world.job(job_id)).refused


def failed_job(world: World, stack: Stack, clip: Path) -> str:
    """Drop a clip, and let its job fail."""
    (ready,) = drop(stack, clip, prompt="ink")
    ingest_all(world, "clip.mp4")
    fail(world, ready.job_id)
    return ready.job_id


def failed_job_of_preset(world: World, clip: Path, preset: bytes) -> str:
    """Drop a clip that has a preset and no sidecar, and let its job fail."""
    world.clock.now = time.time()
    world.drop("a/_retake.json", preset)
    world.drop("a/clip.mp4", clip.read_bytes())
    assert ingest_all(world, "a/clip.mp4") == []
    world.clock.now += 100
    (job_id,) = ingest_all(world, "a/clip.mp4")
    fail(world, job_id)
    return job_id


def test_a_retry_drops_the_sidecar_again(world: World, stack: Stack, local_clip: Path) -> None:
    (ready,) = drop(stack, local_clip, prompt="ink")
    ingest_all(world, "clip.mp4")
    assert "in progress" in why_not(world, stack, ready.job_id)
    fail(world, ready.job_id)
    assert not why_not(world, stack, ready.job_id)
    assert ingest_all(world, "clip.json") == [ready.job_id]


def test_a_retry_never_replaces_a_newer_take(world: World, stack: Stack, local_clip: Path) -> None:
    job_id = failed_job(world, stack, local_clip)
    drop(stack, local_clip, prompt="oil")
    ingest_all(world, "clip.mp4")
    assert "replaced" in why_not(world, stack, job_id)


def test_a_retry_never_makes_a_job_of_a_new_clip(
    world: World, stack: Stack, local_clip: Path
) -> None:
    job_id = failed_job(world, stack, local_clip)
    world.drop("clip.mp4", local_clip.read_bytes() + b"\x00\x00\x00\x08free")
    before = world.app.input_bucket.head("clip.json")
    assert "replaced" in why_not(world, stack, job_id)
    assert world.app.input_bucket.head("clip.json") == before


def test_a_retry_of_a_job_that_a_preset_made_states_its_instructions(
    world: World, stack: Stack, local_clip: Path
) -> None:
    job_id = failed_job_of_preset(world, local_clip, b'{"prompt": "ink", "mode": "flex_1"}')
    world.drop("a/_retake.json", b'{"prompt": "other"}')
    assert not why_not(world, stack, job_id)
    assert ingest_all(world, "a/clip.json", "a/clip.mp4") == [job_id, job_id]

    fail(world, job_id)
    world.drop("a/_retake.json", b"{")
    assert "until a/_retake.json is corrected" in why_not(world, stack, job_id)
    world.drop("a/_retake.json", b'{"first_frame": "look.png"}')
    assert "now names a first frame" in why_not(world, stack, job_id)
    world.s3.delete_object(Bucket="input", Key="a/_retake.json")
    assert not why_not(world, stack, job_id)
    assert ingest_all(world, "a/clip.json") == [job_id]


def test_a_retry_under_the_same_preset_states_nothing_more(
    world: World, stack: Stack, local_clip: Path
) -> None:
    job_id = failed_job_of_preset(world, local_clip, b"{}")
    assert not why_not(world, stack, job_id)
    body = world.s3.get_object(Bucket="input", Key="a/clip.json")["Body"].read()
    assert body == b"{}"
    assert ingest_all(world, "a/clip.json") == [job_id]

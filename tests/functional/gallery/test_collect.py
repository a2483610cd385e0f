"""From the jobs table and the buckets to takes: the very clip and the very result of each job."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from retake.domain.job import HoldReason, State
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from retake_cli.commands.gallery import Beside, Signed, Take, collect
from retake_cli.jobs import jobs_of, read_all
from tests.support.stand_ins import FOOTAGE
from tests.support.world import World

STEP_SECONDS = 20
RESULT = {"result": "s3://output/clip.mp4", "cost_usd": 0.6, "result_bytes": 4}


def deliver(world: World, job_id: str, result: bytes, **instructions: Any) -> None:
    """Bring a job to its end, with its result in the output bucket."""
    sidecar = Sidecar(prompt="ink", **instructions)
    world.claimed(job_id, sidecar=sidecar)
    metadata = {"job-id": job_id}
    world.s3.put_object(Bucket="output", Key="clip.mp4", Body=result, Metadata=metadata)
    for state in (State.SUBMITTING, State.RENDERING, State.FETCHING, State.FINISHING):
        world.clock.now += STEP_SECONDS
        assert world.advance(job_id, state)
    assert world.advance(job_id, State.DELIVERED, **RESULT)


def collect_beside(world: World, folder: Path) -> list[Take]:
    """Collect all takes, with their videos in a folder."""
    return collect(jobs_of(read_all(world.table)), world.s3, Beside(world.s3, folder))


def test_each_take_has_its_own_clip_and_result_although_both_were_overwritten(
    world: World, tmp_path: Path
) -> None:
    deliver(world, "old", b"result 1")
    world.clock.now += 60
    deliver(world, "new", b"result 2", rerun=2)
    takes = collect_beside(world, tmp_path)
    assert [take.job for take in takes] == ["new", "old"]
    expected = ((b"new", b"result 2"), (b"old", b"result 1"))
    for take, (clip, result) in zip(takes, expected, strict=True):
        assert take.before
        assert take.after
        assert (tmp_path / take.before.src).read_bytes() == clip
        assert (tmp_path / take.after.src).read_bytes() == result
        assert take.state is State.DELIVERED
        assert (take.took, take.length, take.cost_usd) == (4 * STEP_SECONDS, FOOTAGE.seconds, 0.6)
    assert [take.rerun for take in takes] == [2, None]


def test_a_progress_bar_sees_every_take(world: World) -> None:
    deliver(world, "old", b"result 1")
    deliver(world, "new", b"result 2", rerun=2)
    passed: list[tuple[str, int]] = []

    def track(takes: Iterable[Take], total: int) -> Iterator[Take]:
        for take in takes:
            passed.append((take.job, total))
            yield take

    collect(jobs_of(read_all(world.table)), world.s3, Signed(world.s3, timedelta(hours=1)), track)
    assert sorted(passed) == [("new", 2), ("old", 2)]


def test_nothing_is_downloaded_twice(world: World, tmp_path: Path) -> None:
    deliver(world, "j1", b"result")
    first = collect_beside(world, tmp_path)
    without_client = Beside(None, tmp_path)
    assert collect(jobs_of(read_all(world.table)), world.s3, without_client) == first


def test_files_that_are_gone_are_reported_and_stop_nothing(world: World, tmp_path: Path) -> None:
    deliver(world, "j1", b"result")
    for bucket in ("output", "input"):
        version = world.s3.head_object(Bucket=bucket, Key="clip.mp4")["VersionId"]
        world.s3.delete_object(Bucket=bucket, Key="clip.mp4", VersionId=version)
    (take,) = collect_beside(world, tmp_path)
    assert (take.before, take.after) == (None, None)
    assert take.message == "The result is no longer in the output bucket."


def test_a_result_under_a_delete_marker_is_found(world: World, tmp_path: Path) -> None:
    deliver(world, "j1", b"result")
    world.s3.delete_object(Bucket="output", Key="clip.mp4")
    (take,) = collect_beside(world, tmp_path)
    assert take.after


def test_a_clip_that_was_refused_unchecked_is_not_downloaded(world: World, tmp_path: Path) -> None:
    refusal = Refusal("it is not an MP4", "export it again")
    world.claimed("j1", state=State.REFUSED, refusal=refusal, prepared=None)
    (take,) = collect_beside(world, tmp_path)
    assert take.before is None
    assert (take.message, take.do_now) == ("It is not an MP4", "export it again")
    assert take.unpaid


@pytest.mark.parametrize("state", [State.CLAIMED, State.HELD])
def test_a_job_in_progress_shows_its_clip_and_why_it_waits(
    world: World, tmp_path: Path, state: State
) -> None:
    world.claimed("j1")
    if state is State.HELD:
        reason = "the daily budget is used up"
        world.advance("j1", State.HELD, hold_reason=HoldReason.BUDGET, reason=reason)
    (take,) = collect_beside(world, tmp_path)
    assert take.before
    assert (take.state, take.took) == (state, None)
    assert state is State.CLAIMED or take.message.endswith("The daily budget is used up")


def test_signed_links_name_the_version_and_expire(world: World) -> None:
    deliver(world, "old", b"result 1")
    version = world.s3.head_object(Bucket="output", Key="clip.mp4")["VersionId"]
    world.clock.now += 60
    deliver(world, "new", b"result 2", rerun=2)
    _, old = collect(jobs_of(read_all(world.table)), world.s3, Signed(world.s3, timedelta(hours=2)))
    assert old.after
    assert f"versionId={version}" in old.after.src
    assert "X-Amz-Expires=7200" in old.after.src
    assert old.after.poster is None

"""From the jobs table and the buckets to takes: the very clip and the very result of each job."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.gallery import Beside, Signed, collect
from retake.rules.states import State
from tests.unit.conftest import World, table, world  # noqa: F401

RESULT = {"result": "s3://output/clip.mp4", "cost_usd": 0.6, "bytes": 4}


def deliver(world: World, job_id: str, film: bytes, **fields: Any) -> None:  # noqa: F811
    """Bring a job to its end, with its result in the output bucket."""
    world.claimed(job_id, seconds=2.5, prompt="ink", **fields)
    world.s3.put_object(Bucket="output", Key="clip.mp4", Body=film, Metadata={"job-id": job_id})
    for state in ("SUBMITTING", "RENDERING", "DELIVERING"):
        world.clock.now += 20
        assert world.move(job_id, state)
    assert world.move(job_id, "DELIVERED", **RESULT)


def test_each_take_has_its_own_clip_and_result_though_both_were_overwritten(world: World, tmp_path: Path) -> None:  # noqa: F811
    deliver(world, "old", b"film 1")
    world.clock.now += 60
    deliver(world, "new", b"film 2", rerun=2)
    passed: list[tuple[str, int]] = []
    follow = lambda takes, total: (passed.append((take.job, total)) or take for take in takes)  # noqa: E731
    takes = collect(world.table, world.s3, Beside(world.s3, tmp_path), follow)
    assert [take.job for take in takes] == ["new", "old"]
    assert sorted(passed) == [("new", 2), ("old", 2)]
    for take, clip, film in zip(takes, (b"new", b"old"), (b"film 2", b"film 1"), strict=True):
        assert take.before
        assert take.after
        assert (tmp_path / take.before.src).read_bytes() == clip
        assert (tmp_path / take.after.src).read_bytes() == film
        assert (take.state, take.took, take.length, take.cost_usd) == (State.DELIVERED, 60, 2.5, 0.6)
    assert (takes[0].rerun, takes[1].rerun) == (2, None)


def test_a_second_time_nothing_is_downloaded_again(world: World, tmp_path: Path) -> None:  # noqa: F811
    deliver(world, "j1", b"film")
    first = collect(world.table, world.s3, Beside(world.s3, tmp_path))
    beside = Beside(None, tmp_path)
    assert collect(world.table, world.s3, beside) == first


def test_what_is_gone_is_said_and_stops_nothing(world: World, tmp_path: Path) -> None:  # noqa: F811
    deliver(world, "j1", b"film")
    world.s3.delete_object(Bucket="output", Key="clip.mp4", VersionId=world.s3.head_object(Bucket="output", Key="clip.mp4")["VersionId"])
    world.s3.delete_object(Bucket="input", Key="clip.mp4", VersionId=world.s3.head_object(Bucket="input", Key="clip.mp4")["VersionId"])
    (take,) = collect(world.table, world.s3, Beside(world.s3, tmp_path))
    assert (take.before, take.after) == (None, None)
    assert take.message == "The result is no longer in the output bucket."


def test_a_result_under_a_delete_marker_is_found(world: World, tmp_path: Path) -> None:  # noqa: F811
    deliver(world, "j1", b"film")
    world.s3.delete_object(Bucket="output", Key="clip.mp4")
    (take,) = collect(world.table, world.s3, Beside(world.s3, tmp_path))
    assert take.after


def test_what_was_refused_unchecked_is_not_fetched(world: World, tmp_path: Path) -> None:  # noqa: F811
    world.claimed("j1", state="REFUSED", reason="it is no MP4", cure="export it again")
    (take,) = collect(world.table, world.s3, Beside(world.s3, tmp_path))
    assert (take.before, take.message, take.do_now) == (None, "It is no MP4", "export it again")
    assert take.unpaid


@pytest.mark.parametrize("state", [State.CLAIMED, State.HELD])
def test_a_job_under_way_shows_its_clip_and_why_it_waits(world: World, tmp_path: Path, state: State) -> None:  # noqa: F811
    world.claimed("j1", seconds=2.5)
    if state is State.HELD:
        world.move("j1", "HELD", held="budget", reason="the daily budget is used up")
    (take,) = collect(world.table, world.s3, Beside(world.s3, tmp_path))
    assert take.before
    assert (take.state, take.took) == (state, None)
    assert state is State.CLAIMED or take.message.endswith("The daily budget is used up")


def test_signed_links_name_the_version_and_their_end(world: World) -> None:  # noqa: F811
    deliver(world, "old", b"film 1")
    version = world.s3.head_object(Bucket="output", Key="clip.mp4")["VersionId"]
    deliver(world, "new", b"film 2", rerun=2)
    old = collect(world.table, world.s3, Signed(world.s3, timedelta(hours=2)))[1]
    assert old.after
    assert f"versionId={version}" in old.after.src
    assert "X-Amz-Expires=7200" in old.after.src
    assert old.after.poster is None

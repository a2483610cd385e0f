"""A film is finished on disk and delivered under the name of its clip, never over a newer take."""

from dataclasses import replace
from typing import Any

import pytest

from retake.aws.s3 import OutputBucket, UploadBrokenError
from retake.domain.job import State
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from retake.domain.wait_loop import NextStep, WaitLoop
from tests.support.kills import Killed, kill
from tests.support.stand_ins import FINISHED, FakeMedia
from tests.support.world import World

RENDER = b"\0\0\0\x18ftypisom" + b"render" * 100
FILM = FINISHED + RENDER
SOUND = "prepared/s-1080.m4a"
BROKEN = Refusal("the render cannot be decoded", "look at it")


def finishing(world: World, job_id: str = "j1", **fields: Any) -> str:
    """Bring a job to FINISHING, with its render in the staging bucket."""
    world.advance(world.rendering(job_id), State.FETCHING, **fields)
    world.advance(job_id, State.FINISHING)
    world.s3.put_object(Bucket="staging", Key=f"renders/{job_id}.mp4", Body=RENDER)
    world.s3.put_object(Bucket="staging", Key=SOUND, Body=b"sound")
    made = world.job(job_id).prepared
    assert made
    world.jobs.update(world.job(job_id), prepared=replace(made, sound=SOUND))
    return job_id


def finish(world: World, job_id: str = "j1", **parts: Any) -> WaitLoop:
    """Finish a film once."""
    loop: WaitLoop = world.application(**parts).finisher.finish(world.loop(job_id))
    return loop


def metadata_of(world: World, key: str) -> dict[str, str]:
    return dict(world.s3.head_object(Bucket="output", Key=key)["Metadata"])


def test_a_film_gets_the_name_of_its_clip_and_says_that_an_ai_system_made_it(world: World) -> None:
    finishing(world)
    assert finish(world).next_step is NextStep.SETTLE
    assert world.read("clip.mp4") == FILM
    assert world.media.sounds == [b"sound"]
    assert metadata_of(world, "clip.mp4") == {
        "job-id": "j1",
        "request-id": "r-1",
        "mode": "adhere_1",
        "digital-source-type": "compositeWithTrainedAlgorithmicMedia",
        "ai-system": "Luma Modify Video by Segmind",
    }
    job = world.job()
    assert (job.state, job.result, job.warnings) == (State.DELIVERED, "s3://output/clip.mp4", ())
    assert job.result_bytes == len(FILM)


def test_a_warning_is_kept_with_the_job_and_shown_in_its_status_file(world: World) -> None:
    finishing(world)
    world.media.warnings = ("the picture is black",)
    finish(world)
    world.app.settlement.settle("j1")
    assert world.job().warnings == ("the picture is black",)
    assert '"the picture is black"' in (world.read("clip.mp4.job.json") or b"").decode()


def test_a_render_that_cannot_be_finished_is_delivered_with_a_warning(world: World) -> None:
    finishing(world)
    world.media.refusal = BROKEN
    assert finish(world).next_step is NextStep.SETTLE
    assert world.read("clip.mp4") == RENDER
    assert world.job().warnings == ("delivered as rendered, because the render cannot be decoded",)


def test_a_film_is_silent_if_the_sidecar_says_so(world: World) -> None:
    finishing(world)
    world.jobs.update(world.job(), sidecar=Sidecar(sound="none"))
    finish(world)
    assert world.media.sounds == [None]


def test_a_film_needs_nothing_from_the_input_bucket(world: World) -> None:
    finishing(world)
    world.s3.delete_object(Bucket="input", Key="clip.mp4", VersionId=world.job().clip.version)
    assert finish(world).next_step is NextStep.SETTLE
    assert world.media.sounds == [b"sound"]


def test_a_film_that_is_overtaken_while_it_is_finished_gets_a_name_of_its_own(
    world: World,
) -> None:
    finishing(world, "first000")

    def overtake() -> None:
        finishing(world, "second00")
        finish(world, "second00")

    world.media.during = overtake
    finish(world, "first000")
    assert metadata_of(world, "clip.mp4")["job-id"] == "second00"
    assert metadata_of(world, "clip.first000.mp4")["job-id"] == "first000"


def test_finishing_twice_changes_nothing(world: World) -> None:
    finishing(world)
    for _ in range(2):
        assert finish(world).next_step is NextStep.SETTLE
    assert len(world.media.sounds) == 1


def test_an_attempt_that_dies_is_counted(world: World) -> None:
    finishing(world)
    for attempt in range(1, 3):
        world.media.during = kill
        with pytest.raises(Killed):
            finish(world)
        assert (world.state(), world.job().finish_attempts) == (State.FINISHING, attempt)


def test_two_functions_that_finish_at_once_deliver_one_film(world: World) -> None:
    finishing(world)
    world.media.during = lambda: finish(world)
    assert finish(world).next_step is NextStep.WAIT
    assert (world.state(), world.read("clip.mp4")) == (State.DELIVERED, FILM)


def test_an_upload_that_breaks_off_is_repeated_and_does_not_count_as_an_attempt(
    world: World,
) -> None:
    class Broken(OutputBucket):
        def put_video(self, *_: Any, **__: Any) -> str | None:
            raise UploadBrokenError("S3 responded with SlowDown")

    finishing(world)
    loop = finish(world, output_bucket=Broken(s3=world.s3, name="output"))
    assert (loop.next_step, loop.wait_seconds) == (NextStep.WAIT, 30)
    assert (world.state(), world.job().finish_attempts) == (State.FINISHING, 0)
    assert "could not be uploaded yet: S3 responded with SlowDown" in (world.job().reason or "")


@pytest.mark.parametrize("state", [State.RENDERING, State.FETCHING])
def test_a_job_that_is_not_rendered_yet_is_left_alone(world: World, state: State) -> None:
    world.rendering()
    if state is State.FETCHING:
        world.advance("j1", state)
    assert finish(world).next_step is NextStep.SETTLE
    assert (world.state(), world.media.sounds) == (state, [])


# ─── Finishing again ──────────────────────────────────────────────────────────────────────────


def test_a_film_is_made_again_from_the_staged_render(world: World) -> None:
    finishing(world)
    finish(world, media=FakeMedia(refusal=BROKEN))
    assert world.app.finisher.refinish("j1") == {"result": "s3://output/clip.mp4", "warnings": []}
    assert world.read("clip.mp4") == FILM
    assert (world.state(), world.job().warnings) == (State.DELIVERED, ())
    assert "warnings" not in (world.read("clip.mp4.job.json") or b"").decode()


def test_a_film_is_not_made_again_while_its_job_goes_on(world: World) -> None:
    finishing(world)
    assert "is not delivered" in world.app.finisher.refinish("j1")["error"]


def test_a_film_whose_render_expired_is_not_made_again(world: World) -> None:
    finishing(world)
    finish(world)
    world.s3.delete_object(Bucket="staging", Key="renders/j1.mp4")
    assert "no longer in the staging bucket" in world.app.finisher.refinish("j1")["error"]

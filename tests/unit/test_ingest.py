"""No dropped file is forgotten, in any order and any number of times."""

import json
import time
from io import BytesIO
from itertools import permutations

import pytest
from botocore.exceptions import ClientError

from retake.domain.job import State
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from tests.support.drops import (
    accepted_jobs,
    all_status_files,
    deliver,
    fail,
    ingest,
    ingest_and_submit,
    status_of,
)
from tests.support.kills import Killed, kill
from tests.support.world import World

INK, OIL = b'{"prompt": "ink"}', b'{"prompt": "oil"}'
EMPTY = Refusal("the clip is empty", "upload it again")
FIRST_FRAME = b'{"first_frame": "look.png"}'


@pytest.mark.slow
@pytest.mark.parametrize("order", list(permutations(["clip.mp4", "clip.json", "look.png"]))[::2])
def test_three_files_in_any_order_become_one_job(
    world: World, clip_bytes: bytes, look_bytes: bytes, order: tuple[str, ...]
) -> None:
    bodies = {"clip.mp4": clip_bytes, "clip.json": FIRST_FRAME, "look.png": look_bytes}
    ready: set[str] = set()
    for key in order:
        world.drop(key, bodies[key])
        ready |= ingest(world, key)
    [job_id] = ready
    assert world.state(job_id) is State.CLAIMED
    assert status_of(world, "look.png") == status_of(world, "clip.json") == {}
    assert ingest(world, *order, *order) == ready


@pytest.mark.parametrize(
    ("files", "key", "state"),
    [
        ({"clip.mp4": b"clip"}, "clip.mp4", "WAITING"),
        ({"clip.mov": b"clip"}, "clip.mov", "WAITING"),
        ({"noname": b"clip"}, "noname", "REFUSED"),
        ({"clip.json": b"{"}, "clip.json", "REFUSED"),
        ({"clip.mp4": b"clip", "clip.json": b"{"}, "clip.mp4", "REFUSED"),
        ({"clip.mp4": b"", "clip.json": INK}, "clip.mp4", "REFUSED"),
        ({"clip.MP4": b"text", "clip.JSON": INK}, "clip.MP4", "REFUSED"),
        ({"clip.mp4": b"clip", "clip.json": b'{"first_frame": "gone.png"}'}, "clip.mp4", "WAITING"),
    ],
)
def test_every_drop_gets_a_status_file(
    world: World, files: dict[str, bytes], key: str, state: str
) -> None:
    for name, body in files.items():
        world.drop(name, body)
    world.media.looks = {b"": EMPTY, b"text": EMPTY}
    assert ingest(world, *files) == set()
    assert status_of(world, key)["state"] == state


@pytest.mark.parametrize(("seconds", "state"), [(179, None), (180, "WAITING")])
def test_a_lone_sidecar_gets_a_status_file_after_three_minutes(
    world: World, seconds: int, state: str | None
) -> None:
    world.drop("clip.json", INK)
    ingest(world, "clip.json")
    world.clock.now += seconds
    world.sweep()
    ingest(world)
    assert status_of(world, "clip.json").get("state") == state
    assert (world.app.follow_ups.due(world.clock.now + 1e6, 9) == []) == bool(state)


def test_a_refused_drop_is_retried_only_with_a_newer_object(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", b'{"mode": "no"}')
    assert ingest(world, "clip.json", "clip.mp4") == set()
    assert world.events == ["Refused"]
    world.drop("clip.json", INK)
    assert len(ingest(world, "clip.json", "clip.json")) == 1


def test_a_waiting_file_that_is_deleted_is_no_longer_followed_up(world: World) -> None:
    world.drop("clip.mp4", b"clip")
    ingest(world, "clip.mp4")
    world.s3.delete_object(Bucket="input", Key="clip.mp4")
    for _ in range(3):
        world.clock.now += 400
        world.sweep()
        ingest(world)
    assert world.app.follow_ups.due(world.clock.now + 1e6, 9) == []
    assert status_of(world, "clip.mp4") == {}


def test_an_image_that_no_sidecar_names_anymore_gets_a_status_file(
    world: World, clip_bytes: bytes, look_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", FIRST_FRAME)
    ingest(world, "clip.json")
    world.drop("clip.json", INK)
    ingest(world, "clip.json")
    world.drop("look.png", look_bytes)
    ingest(world, "look.png")
    world.clock.now += 400
    world.sweep()
    ingest(world)
    assert status_of(world, "look.png")["state"] == "WAITING"


def test_a_second_spelling_of_the_sidecar_gets_a_status_file(
    world: World, clip_bytes: bytes
) -> None:
    for key, body in {"clip.mp4": clip_bytes, "clip.json": INK, "clip.JSON": OIL}.items():
        world.drop(key, body)
    ingest(world, "clip.json", "clip.mp4", "clip.JSON")
    assert status_of(world, "clip.JSON")["state"] == "REFUSED"


def test_a_sidecar_with_a_lone_surrogate_is_refused(world: World) -> None:
    world.drop("clip.json", rb'{"\ud800": 1, "\ud800": 2}')
    ingest(world, "clip.json")
    assert status_of(world, "clip.json")["state"] == "REFUSED"


@pytest.mark.slow
def test_a_restored_sidecar_brings_back_the_status_of_its_own_video(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    output = world.app.output_bucket
    for number, sidecar in enumerate((INK, OIL)):
        world.drop("clip.json", sidecar)
        [job_id] = ingest(world, "clip.json")
        world.submit(job_id)
        world.advance(job_id, State.FETCHING, result_url="https://x/")
        world.advance(job_id, State.FINISHING)
        output.put_video(
            "clip.mp4",
            BytesIO(clip_bytes),
            length=len(clip_bytes),
            metadata={"job-id": job_id},
            replaces=output.etag("clip.mp4"),
        )
        world.advance(job_id, State.DELIVERED, result="s3://output/clip.mp4")
        world.app.settlement.settle(job_id)
        world.clock.now += number
    world.drop("clip.json", INK)
    ingest(world, "clip.json")
    status = status_of(world, "clip.mp4")
    key = status["result"].removeprefix("s3://output/")
    video = world.s3.head_object(Bucket="output", Key=key)
    assert video["Metadata"]["job-id"] == status["job"]


def test_a_first_frame_whose_key_cannot_exist_is_refused(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = "f" * 1000 + "/"
    world.drop(f"{folder}clip.mp4", clip_bytes)
    world.drop(f"{folder}clip.json", json.dumps({"first_frame": "n" * 100 + ".png"}).encode())
    head_object = world.s3.head_object

    def head_object_as_s3(**query: str) -> object:
        if len(query["Key"].encode()) > 1024:
            error = {"Error": {"Code": "400", "Message": "Bad Request"}}
            raise ClientError(error, "HeadObject")
        return head_object(**query)

    monkeypatch.setattr(world.s3, "head_object", head_object_as_s3)
    ingest(world, f"{folder}clip.json")
    [status] = all_status_files(world).values()
    assert (status["state"], status["field"]) == ("REFUSED", "first_frame")


def test_going_back_to_a_delivered_sidecar_removes_the_failure_of_the_other(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)
    [first] = ingest(world, "clip.json")
    world.submit(first)
    deliver(world, first)
    world.drop("clip.json", OIL)
    [second] = ingest(world, "clip.json")
    world.submit(second)
    fail(world, second)
    assert status_of(world, "clip.mp4")["state"] == "FAILED"
    world.drop("clip.json", INK)
    ingest(world, "clip.json")
    assert status_of(world, "clip.mp4")["job"] == first


def test_a_job_that_lost_its_name_keeps_a_status_file(world: World, clip_bytes: bytes) -> None:
    world.drop("clip.mp4", clip_bytes)
    jobs: list[str] = []
    for sidecar in (INK, OIL):
        world.drop("clip.json", sidecar)
        jobs += ingest(world, "clip.json")
    overtaken = f"clip.{jobs[0][:8]}.mp4"
    names = {status_of(world, name)["job"]: name for name in ("clip.mp4", overtaken)}
    assert names == {jobs[1]: "clip.mp4", jobs[0]: overtaken}


def shares_key(world: World) -> dict[str, bool]:
    """Return, by the prompt of each accepted job, whether another one was first under its key."""
    return {job.sidecar.prompt or "": job.shares_key for job in accepted_jobs(world) if job.sidecar}


def test_a_job_that_has_ended_gets_no_status_file_for_losing_its_name(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)
    [first] = ingest(world, "clip.json")
    world.submit(first)
    deliver(world, first)
    world.drop("clip.json", OIL)
    [second] = ingest(world, "clip.json")
    world.submit(second)
    assert {key: status["job"] for key, status in all_status_files(world).items()} == {
        "clip.mp4.job.json": second
    }


def test_a_failure_is_not_shown_while_its_files_that_were_dropped_again_are_submitted(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)
    [job_id] = ingest(world, "clip.mp4")
    world.submit(job_id)
    fail(world, job_id)
    assert status_of(world, "clip.mp4")["state"] == "FAILED"
    world.drop("clip.json", INK)
    ingest(world, "clip.json")
    assert status_of(world, "clip.mp4")["state"] == "CLAIMED"


def test_the_second_event_of_a_pair_writes_nothing_again(world: World, clip_bytes: bytes) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)
    ingest_and_submit(world, "clip.mp4")
    versions = status_versions(world)
    assert ingest(world, "clip.json", "clip.mp4") == set()
    assert status_versions(world) == versions


def test_an_event_that_comes_again_restores_a_status_file(world: World, clip_bytes: bytes) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)
    ingest_and_submit(world, "clip.mp4")
    world.s3.delete_object(Bucket="output", Key="clip.mp4.job.json")
    ingest(world, "clip.mp4")
    assert status_of(world, "clip.mp4")["state"] == "RENDERING"


def status_versions(world: World) -> list[tuple[str, str]]:
    """Return the keys and versions of all status files."""
    return list(world.storage.buckets["output"].versions)


def test_an_accepted_clip_does_not_wait_again_for_a_first_frame_that_was_deleted(
    world: World, clip_bytes: bytes, look_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", FIRST_FRAME)
    world.drop("look.png", look_bytes)
    [job_id] = ingest(world, "clip.mp4")
    world.submit(job_id)
    world.s3.delete_object(Bucket="input", Key="look.png")
    assert ingest(world, "clip.mp4", "clip.json") == set()
    assert status_of(world, "clip.mp4")["state"] == "RENDERING"


def test_a_typo_that_is_taken_back_leaves_no_stale_status_file(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)
    [job_id] = ingest(world, "clip.json")
    world.submit(job_id)
    world.drop("clip.json", b'{"promt": "ink"}')
    ingest(world, "clip.json")  # is refused; the first job's status file moves aside
    world.drop("clip.json", INK)
    ingest(world, "clip.json")  # the first job has its name again
    deliver(world, job_id)
    files = all_status_files(world).items()
    states = {name: status["state"] for name, status in files if status["job"] == job_id}
    assert states == {"clip.mp4.job.json": "DELIVERED"}


def test_a_function_killed_before_it_publishes_a_regained_name_publishes_it_later(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)
    [job_id] = ingest(world, "clip.json")
    world.submit(job_id)
    deliver(world, job_id)
    world.drop("clip.json", b'{"promt": "ink"}')
    ingest(world, "clip.json")
    world.drop("clip.json", INK)
    monkeypatch.setattr(world.app.status_files, "publish", kill)
    with pytest.raises(Killed):
        ingest(world, "clip.json")
    monkeypatch.undo()
    ingest(world, "clip.json", "clip.mp4")  # SQS delivers the message again
    world.pass_minutes(30, every=5)
    states = {name: status["state"] for name, status in all_status_files(world).items()}
    assert states == {"clip.mp4.job.json": "DELIVERED"}


def test_a_function_killed_while_it_pairs_a_sidecar_removes_its_status_file_later(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drop("clip.json", b"{}")
    ingest(world, "clip.json")
    world.clock.now += 10**6
    ingest(world, "clip.json")
    assert "clip.json.job.json" in all_status_files(world)
    world.drop("clip.mp4", clip_bytes)
    monkeypatch.setattr(world.app.status_files, "remove", kill)
    with pytest.raises(Killed):
        ingest(world, "clip.mp4")
    monkeypatch.undo()
    ingest(world, "clip.mp4")
    world.pass_minutes(60, every=10)
    assert "clip.json.job.json" not in all_status_files(world)


def test_a_failed_job_is_not_retried_because_its_sidecar_is_deleted(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.json", b"{}")
    world.drop("clip.mp4", clip_bytes)
    ingest_and_submit(world, "clip.mp4")
    [job] = accepted_jobs(world)
    fail(world, job.id)
    world.s3.delete_object(Bucket="input", Key="clip.json")
    ingest_and_submit(world, "clip.mp4")
    assert status_of(world, "clip.mp4")["state"] == "FAILED"
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", b"{}")
    ingest_and_submit(world, "clip.mp4")
    assert status_of(world, "clip.mp4")["state"] == "RENDERING"


@pytest.mark.slow
def test_a_clip_is_not_forgotten_when_its_sidecar_is_deleted_before_its_job_is_written(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, body in {"clip.mp4": clip_bytes, "clip.json": b"{}"}.items():
        world.drop(key, body)
        time.sleep(1)  # the sidecar is newer, by the bucket's clock
    monkeypatch.setattr(world.jobs, "create", kill)
    with pytest.raises(Killed):
        ingest_and_submit(world, "clip.mp4")
    monkeypatch.undo()
    world.s3.delete_object(Bucket="input", Key="clip.json")
    ingest_and_submit(world, "clip.mp4")
    assert status_of(world, "clip.mp4")["state"] == "RENDERING"


def test_a_clip_whose_files_keep_changing_is_looked_at_ten_times(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drop("clip.mp4", clip_bytes)
    looks: list[object] = []

    def look(candidate: object) -> None:
        looks.append(candidate)

    monkeypatch.setattr(world.app.ingest, "_apply", look)
    with pytest.raises(RuntimeError, match=r"clip\.mp4 change too often"):
        world.ingest("clip.mp4")
    assert len(looks) == 10


def test_a_sidecar_that_changes_while_its_clip_is_looked_at_is_read_again(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", INK)

    def change(candidate: object) -> None:
        monkeypatch.undo()
        world.drop("clip.json", OIL)

    monkeypatch.setattr(world.app.ingest, "_apply", change)
    [job_id] = ingest(world, "clip.json")
    assert world.job(job_id).sidecar == Sidecar(prompt="oil")


def test_a_first_frame_that_is_no_image_refuses_the_job(world: World, clip_bytes: bytes) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", FIRST_FRAME)
    world.drop("look.png", b"<html>")
    assert ingest(world, "clip.mp4") == set()
    status = status_of(world, "clip.mp4")
    assert (status["state"], status["field"]) == ("REFUSED", "first_frame")


def test_a_first_frame_that_waited_is_forgotten_when_a_job_uses_it(
    world: World, clip_bytes: bytes, look_bytes: bytes
) -> None:
    world.drop("look.png", look_bytes)
    ingest(world, "look.png")
    assert world.records.get("look.png").waiting
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", FIRST_FRAME)
    (job_id,) = ingest(world, "clip.mp4")
    first_frame = world.job(job_id).first_frame
    assert first_frame
    assert first_frame.key == "look.png"
    assert not world.records.get("look.png").exists

"""A clip is prepared once, as it is in the bucket; whatever goes wrong, its drop is answered."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retake.aws.s3 import InputBucket
from retake.domain.job import State
from retake.domain.limits import DAY_SECONDS
from retake.domain.refusal import Refusal
from retake.services.prepare import MAX_ATTEMPTS
from retake.services.waiting import PREPARE_SECONDS
from tests.support.drops import accepted_jobs, status_of
from tests.support.kills import Killed, kill
from tests.support.stand_ins import FOOTAGE
from tests.support.world import World

SIDECAR = b'{"prompt": "ink"}'
SHA256 = "e0b5ef6bd2e2ef1b9dd0bd3d6be3d4b6d0d2d0b3a3e8d1c3d4b5a69788796a5b"


def drop(world: World, clip: bytes = b"clip", sidecar: bytes = SIDECAR) -> None:
    """Drop a pair, and ingest it without preparing it."""
    world.drop("clip.mp4", clip)
    world.drop("clip.json", sidecar)
    for key in ("clip.mp4", "clip.json"):
        assert world.app.ingest.ingest(key) == []


def prepare(world: World) -> None:
    """Prepare the clip, as a message of the media queue asks for it."""
    world.app.preparer.prepare("clip.mp4")


def die_preparing(world: World) -> None:
    world.media.during = kill
    with pytest.raises(Killed):
        prepare(world)


def preparation(world: World) -> Any:
    return world.records.get("clip.mp4").preparation


def test_a_pair_is_prepared_once_however_many_events_come(world: World) -> None:
    drop(world)
    for key in ("clip.mp4", "clip.json", "clip.mp4"):
        world.app.ingest.ingest(key)
    assert world.media_queue.keys == ["clip.mp4"]
    assert status_of(world, "clip.mp4")["state"] == State.PREPARING
    for _ in range(2):
        prepare(world)
    assert len(world.media.prepared) == 1
    assert world.queue.keys == ["clip.mp4"] * 2


def test_what_was_found_and_made_is_kept_with_the_job(world: World) -> None:
    drop(world)
    prepare(world)
    (job,) = world.app.ingest.ingest("clip.mp4")
    made = job.prepared
    assert made.footage == FOOTAGE
    assert world.read(made.clip, "staging") == b"clip"
    assert world.read(made.sound, "staging") == b"sound of clip"
    status = status_of(world, "clip.mp4") or {}
    world.app.status_files.publish(job.id)
    status = status_of(world, "clip.mp4")
    assert (status["state"], status["seconds"]) == (State.CLAIMED, 1.0)
    assert status["found"].startswith("1920×1080, 24 fps, h264")


@pytest.mark.parametrize(
    ("size", "short_side"), [("", 1080), (', "size": 720', 720), (', "size": "source"', None)]
)
def test_the_size_of_the_sidecar_is_what_is_sent(
    world: World, size: str, short_side: int | None
) -> None:
    drop(world, sidecar=f'{{"prompt": "ink"{size}}}'.encode())
    prepare(world)
    assert world.media.prepared == [(b"clip", None, short_side)]


def test_another_size_is_another_job(world: World) -> None:
    for size in (1080, 720):
        drop(world, sidecar=f'{{"size": {size}}}'.encode())
        world.prepare()
    assert len(accepted_jobs(world)) == 2


def test_a_first_frame_is_prepared_with_its_clip(world: World) -> None:
    world.drop("look.png", b"\x89PNG\r\n\x1a\n")
    drop(world, sidecar=b'{"first_frame": "look.png"}')
    prepare(world)
    assert world.media.prepared == [(b"clip", b"\x89PNG\r\n\x1a\n", 1080)]
    assert world.read(preparation(world).frame, "staging") == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ["clip.mp4", "look.png"])
def test_a_clip_is_not_prepared_without_the_very_version_of_each_file(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = InputBucket.download

    def late(bucket: InputBucket, file: Any, target: Path) -> str | None:
        if file.key == name:
            world.s3.delete_object(Bucket="input", Key=name, VersionId=file.version)
        return download(bucket, file, target)

    world.drop("look.png", b"\x89PNG\r\n\x1a\n")
    drop(world, sidecar=b'{"first_frame": "look.png"}')
    monkeypatch.setattr(InputBucket, "download", late)
    world.app.preparer.prepare("clip.mp4")
    assert world.media.prepared == []
    assert accepted_jobs(world) == []


def test_the_same_content_uploaded_by_another_tool_is_the_same_job(world: World) -> None:
    drop(world)
    (job_id,) = world.prepare()
    world.submit(job_id)
    upload = world.s3.create_multipart_upload(Bucket="input", Key="clip.mp4")["UploadId"]
    name: Any = {"Bucket": "input", "Key": "clip.mp4", "UploadId": upload}
    etag = world.s3.upload_part(**name, PartNumber=1, Body=b"clip")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    world.s3.complete_multipart_upload(**name, MultipartUpload=parts)
    world.ingest("clip.mp4")
    assert [job.id for job in accepted_jobs(world)] == [job_id]
    assert len(world.segmind.sent) == 1


def test_a_clip_that_cannot_be_one_is_refused_with_what_to_do(world: World) -> None:
    world.media.looks[b"clip"] = Refusal("the clip is a playlist", "drop a video")
    drop(world)
    world.prepare()
    status = status_of(world, "clip.mp4")
    assert (status["state"], status["do_now"]) == (State.REFUSED, "drop a video")
    assert accepted_jobs(world) == []


def test_a_clip_that_is_too_large_is_refused_without_a_download(world: World) -> None:
    drop(world)
    app = world.application()
    app.settings = replace(app.settings, max_input_gb=3e-9)
    app.preparer.prepare("clip.mp4")
    assert "the limit is 3e-09 GB" in preparation(world).refusal.reason
    assert world.media.prepared == []


def test_a_clip_that_is_overwritten_while_it_is_prepared_is_prepared_as_it_is_then(
    world: World,
) -> None:
    drop(world)
    world.media.during = lambda: world.drop("clip.mp4", b"newer")
    prepare(world)
    world.ingest("clip.mp4")
    (job,) = accepted_jobs(world)
    assert job.prepared
    assert world.read(job.prepared.clip, "staging") == b"newer"


def test_a_clip_that_is_removed_before_it_is_prepared_is_forgotten(world: World) -> None:
    drop(world)
    world.s3.delete_object(Bucket="input", Key="clip.mp4")
    prepare(world)
    assert preparation(world) is None
    world.app.ingest.ingest("clip.mp4")
    assert status_of(world, "clip.mp4") == {}


def test_a_function_that_dies_is_repeated_and_the_clip_is_refused_in_the_end(
    world: World,
) -> None:
    drop(world)
    for _ in range(MAX_ATTEMPTS):
        die_preparing(world)
    assert preparation(world) is None
    prepare(world)
    world.app.ingest.ingest("clip.mp4")
    status = status_of(world, "clip.mp4")
    assert status["state"] == State.REFUSED
    assert "preparing the clip failed 4 times" in status["message"]


def test_the_attempts_of_other_content_do_not_count(world: World) -> None:
    drop(world)
    for _ in range(MAX_ATTEMPTS):
        die_preparing(world)
    drop(world, b"newer")
    die_preparing(world)
    prepare(world)
    world.app.ingest.ingest("clip.mp4")
    assert len(accepted_jobs(world)) == 1


def test_a_message_that_gets_lost_is_sent_again_by_a_sweep(world: World) -> None:
    drop(world)
    world.media_queue.keys.clear()
    world.clock.now += PREPARE_SECONDS + 1
    world.sweep()
    assert "clip.mp4" in world.queue.keys
    world.app.ingest.ingest("clip.mp4")
    assert world.media_queue.keys == ["clip.mp4"]


def test_what_has_expired_is_made_again_when_the_files_are_dropped_again(world: World) -> None:
    drop(world)
    prepare(world)
    assert preparation(world).expires_at == int(world.clock.now) + 29 * DAY_SECONDS
    world.clock.now += 29 * DAY_SECONDS
    assert world.app.ingest.ingest("clip.mp4") == []
    prepare(world)
    assert len(world.media.prepared) == 2


def test_what_was_made_before_does_not_count_as_an_attempt(world: World) -> None:
    drop(world)
    for _ in range(MAX_ATTEMPTS + 1):
        prepare(world)
        world.clock.now += 29 * DAY_SECONDS
    assert len(world.media.prepared) == MAX_ATTEMPTS + 1
    assert preparation(world).refusal is None

"""Presets in the bucket: one job in any order of events, and a preset alone pays for nothing."""

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, count, permutations, product, repeat
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from retake.aws import dynamodb
from retake.domain.input_files import PRESET_NAME, Drop, InputFile, job_id
from retake.domain.intake import PRESET_GRACE_SECONDS, InputRecord
from retake.domain.job import State
from retake.domain.limits import MAX_JSON_BYTES
from retake.domain.prices import FolderCap
from retake.domain.sidecar import Sidecar, parse
from retake.services import ingest as ingest_module
from retake.services.ingest import WAKE_SECONDS
from tests.support.drops import (
    accepted_jobs,
    all_status_files,
    fail,
    ingest_and_submit,
    pass_seconds,
    status_of,
)
from tests.support.stand_ins import FOOTAGE
from tests.support.world import World

PRESET = b'{"prompt": "ink", "mode": "flex_1", "first_frame": "{name}.png"}'
OIL, NEW = b'{"prompt": "oil", "mode": "reimagine_3"}', b'{"prompt": "new"}'
FILES = ["a/clip.mp4", "a/clip.json", "a/_retake.json", "a/clip.png"]


@pytest.fixture
def world(world: World) -> World:
    world.clock.now = time.time()  # as the bucket's clock
    return world


def job_id_of(world: World, fields: dict[str, str], frame_key: str | None = None) -> str:
    """Return the id of the job that a sidecar with all of these fields would have."""
    clip = identified(world, "a/clip.mp4")
    first_frame = identified(world, frame_key) if frame_key else None
    sidecar = parse(json.dumps(fields).encode())
    assert isinstance(sidecar, Sidecar)
    return job_id(Drop("input", clip, first_frame=first_frame), sidecar)


def identified(world: World, key: str) -> InputFile:
    """Return a file with the SHA-256 of its content."""
    file: InputFile | None = world.app.input_bucket.head(key)
    assert file
    return replace(file, sha256=hashlib.sha256(world.read(key, "input") or b"").hexdigest())


def accepted_ids(world: World) -> list[str]:
    return [job.id for job in accepted_jobs(world)]


def accepted_sidecars(world: World) -> list[tuple[str | None, str]]:
    sidecars = [job.sidecar for job in accepted_jobs(world)]
    return [(sidecar.prompt, sidecar.mode) for sidecar in sidecars if sidecar]


def preset_comes_before_the_pair(order: tuple[str, ...]) -> bool:
    """Tell whether a clip and its sidecar are not accepted before the preset comes."""
    paired = max(order.index("a/clip.mp4"), order.index("a/clip.json"))
    return order.index("a/_retake.json") < paired


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "times"),
    [
        (order, 1 + number % 2)
        for number, order in enumerate(filter(preset_comes_before_the_pair, permutations(FILES)))
    ],
)
def test_four_files_in_any_order_become_one_job(
    world: World, clip_bytes: bytes, look_bytes: bytes, order: tuple[str, ...], times: int
) -> None:
    bodies = dict(zip(FILES, (clip_bytes, b'{"prompt": "own"}', PRESET, look_bytes), strict=True))
    for key in order:
        world.drop(key, bodies[key])
        ingest_and_submit(world, *[key] * times)
        pass_seconds(world, 1)
    pass_seconds(world, PRESET_GRACE_SECONDS + 2)
    fields = {"prompt": "own", "mode": "flex_1", "first_frame": "clip.png"}
    assert accepted_ids(world) == [job_id_of(world, fields, "a/clip.png")]
    for changed in (OIL, b"{", PRESET):
        world.drop("a/_retake.json", changed)
        ingest_and_submit(world, *order, *order)
        pass_seconds(world, 1000)
    assert len(accepted_jobs(world)) == len(world.segmind.sent) == 1
    assert status_of(world, "a/clip.mp4")["state"] == "RENDERING"
    for key in ("a/clip.png", "a/clip.json", "a/_retake.json"):
        assert status_of(world, key) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "times"),
    [
        (order, 1 + number % 2)
        for number, order in enumerate(permutations(["a/clip.mp4", "a/_retake.json", "a/clip.png"]))
    ],
)
def test_files_without_a_sidecar_become_one_job_in_any_order(
    world: World, clip_bytes: bytes, look_bytes: bytes, order: tuple[str, ...], times: int
) -> None:
    bodies = {"a/clip.mp4": clip_bytes, "a/_retake.json": PRESET, "a/clip.png": look_bytes}
    for key in order:
        world.drop(key, bodies[key])
        ingest_and_submit(world, *[key] * times)
        pass_seconds(world, 1)
    assert accepted_jobs(world) == []
    status = status_of(world, "a/clip.mp4")
    assert status["state"] == "WAITING"
    assert "starts with a/_retake.json at" in status["message"]
    pass_seconds(world, PRESET_GRACE_SECONDS + 2)
    fields = {"prompt": "ink", "mode": "flex_1", "first_frame": "clip.png"}
    assert accepted_ids(world) == [job_id_of(world, fields, "a/clip.png")]
    for changed in (OIL, b"{", PRESET):
        world.drop("a/_retake.json", changed)
        ingest_and_submit(world, *order, *order)
        pass_seconds(world, 1000)
        world.sweep()
        ingest_and_submit(world)
    world.s3.delete_object(Bucket="input", Key="a/_retake.json")
    ingest_and_submit(world, *order)
    pass_seconds(world, 1000)
    assert len(accepted_jobs(world)) == len(world.segmind.sent) == 1
    assert status_of(world, "a/clip.mp4")["state"] == "RENDERING"


@pytest.mark.parametrize(
    "order", list(permutations(["a/clip.mp4", "a/clip.json", "a/_retake.json"]))
)
def test_files_dropped_at_once_become_one_job_with_merged_instructions(
    world: World, clip_bytes: bytes, order: tuple[str, ...]
) -> None:
    """The files are there before the first event, so the first event sees all of them."""
    world.drop("a/clip.mp4", clip_bytes)
    world.drop("a/clip.json", b'{"mode": "flex_2"}')
    world.drop("a/_retake.json", OIL)
    ingest_and_submit(world, *order)
    pass_seconds(world, 100)
    assert accepted_ids(world) == [job_id_of(world, {"prompt": "oil", "mode": "flex_2"})]


def test_a_clip_with_its_sidecar_does_not_wait_for_a_preset(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("a/clip.mp4", clip_bytes)
    world.drop("a/clip.json", b"{}")
    ingest_and_submit(world, "a/clip.mp4")
    world.drop("a/_retake.json", OIL)
    ingest_and_submit(world, "a/_retake.json", "a/clip.mp4", "a/clip.json")
    pass_seconds(world, 1000)
    assert accepted_ids(world) == [job_id_of(world, {})]


def test_a_preset_applies_to_its_own_folder_only(world: World, clip_bytes: bytes) -> None:
    for key in ("clip.mp4", "a/clip.mp4", "a/b/clip.mp4"):
        world.drop(key, clip_bytes)
    world.drop("a/_retake.json", OIL)
    ingest_and_submit(world, "clip.mp4", "a/clip.mp4", "a/b/clip.mp4")
    pass_seconds(world, 100)
    assert [job.key for job in accepted_jobs(world)] == ["a/clip.mp4"]
    assert "waits for its sidecar" in status_of(world, "a/b/clip.mp4")["message"]


def test_a_newer_drop_uses_the_current_preset(world: World, clip_bytes: bytes) -> None:
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    pass_seconds(world, 40)
    world.drop("a/_retake.json", NEW)
    ingest_and_submit(world, "a/_retake.json", "a/clip.mp4")
    world.clock.now = max(world.clock.now, time.time())
    assert len(accepted_jobs(world)) == 1
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    assert len(accepted_jobs(world)) == 1
    pass_seconds(world, 40)
    assert {prompt for prompt, _ in accepted_sidecars(world)} == {"oil", "new"}
    assert len(world.segmind.sent) == 2


def test_a_clip_whose_instructions_are_known_is_not_paid_again_and_keeps_them(
    world: World, clip_bytes: bytes
) -> None:
    """It is dropped again, then the preset changes, then the event of the second drop arrives."""
    world.drop("a/clip.mp4", clip_bytes)
    world.drop("a/clip.json", OIL)
    ingest_and_submit(world, "a/clip.mp4")
    world.s3.delete_object(Bucket="input", Key="a/clip.json")
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    pass_seconds(world, 100)
    world.drop("a/_retake.json", NEW)
    ingest_and_submit(world, "a/_retake.json", "a/clip.mp4")
    pass_seconds(world, 1000)
    ingest_and_submit(world, "a/clip.mp4")
    assert len(accepted_jobs(world)) == len(world.segmind.sent) == 1


def test_a_sidecar_after_the_start_makes_another_job(world: World, clip_bytes: bytes) -> None:
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/_retake.json", "a/clip.mp4")
    pass_seconds(world, 40)
    world.drop("a/clip.json", b'{"mode": "flex_1"}')
    ingest_and_submit(world, "a/clip.json")
    assert sorted(accepted_sidecars(world)) == [("oil", "flex_1"), ("oil", "reimagine_3")]
    world.drop("a/clip.json", b"{}")
    ingest_and_submit(world, "a/clip.json")
    assert len(accepted_jobs(world)) == 2, "the same instructions, wherever they come from"


def test_the_grace_period_begins_again_with_a_new_preset_and_schedules_one_message(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    pass_seconds(world, 3600)
    assert "waits for its sidecar" in status_of(world, "a/clip.mp4")["message"]
    world.clock.now = time.time()
    world.drop("a/_retake.json", OIL)
    ingest_and_submit(world, "a/_retake.json", "a/_retake.json", "a/clip.mp4")
    assert [key for key, _ in world.queue.delayed] == ["a/clip.mp4"]
    pass_seconds(world, PRESET_GRACE_SECONDS - 5)
    ingest_and_submit(world, "a/clip.mp4")
    assert accepted_jobs(world) == []
    pass_seconds(world, 10)
    assert len(accepted_jobs(world)) == 1


def test_sweep_replaces_a_delayed_message_that_was_lost(world: World, clip_bytes: bytes) -> None:
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    world.queue.delayed.clear()
    world.clock.now += PRESET_GRACE_SECONDS - 5
    world.sweep()
    assert world.queue.keys == []
    world.clock.now += 10
    world.sweep()
    ingest_and_submit(world)
    assert len(accepted_jobs(world)) == 1


@pytest.mark.parametrize("own", [None, b'{"prompt": "own"}'])
def test_clips_that_are_not_accepted_yet_wait_until_a_broken_preset_is_corrected(
    world: World, clip_bytes: bytes, own: bytes | None
) -> None:
    world.drop("a/_retake.json", b'{"promt": "ink"}')
    ingest_and_submit(world, "a/_retake.json")
    refused = status_of(world, "a/_retake.json")
    assert refused["state"] == "REFUSED"
    assert "did you mean prompt" in refused["do_now"]
    world.drop("a/clip.mp4", clip_bytes)
    if own:
        world.drop("a/clip.json", own)
        ingest_and_submit(world, "a/clip.json")
    ingest_and_submit(world, "a/clip.mp4")
    pass_seconds(world, 1000)
    world.sweep()
    ingest_and_submit(world)
    assert "until a/_retake.json is corrected" in status_of(world, "a/clip.mp4")["message"]
    assert accepted_jobs(world) == []
    world.clock.now = time.time()
    world.drop("a/_retake.json", OIL)
    ingest_and_submit(world, "a/_retake.json")
    assert status_of(world, "a/_retake.json") == {}
    assert len(accepted_jobs(world)) == bool(own)
    pass_seconds(world, PRESET_GRACE_SECONDS + 2)
    assert accepted_sidecars(world) == [("own" if own else "oil", "reimagine_3")]
    world.drop("a/_retake.json", b"{")
    ingest_and_submit(world, "a/_retake.json", "a/clip.mp4")
    assert status_of(world, "a/_retake.json")["state"] == "REFUSED"
    assert status_of(world, "a/clip.mp4")["state"] == "RENDERING"


def test_a_preset_in_another_spelling_is_refused(world: World) -> None:
    world.drop("a/_Retake.JSON", OIL)
    ingest_and_submit(world, "a/_Retake.JSON")
    status = status_of(world, "a/_Retake.JSON")
    assert status["state"] == "REFUSED"
    assert "lower case" in status["message"]


def test_a_preset_wakes_no_clip_that_has_a_job(world: World, clip_bytes: bytes) -> None:
    world.drop("a/_retake.json", OIL)
    for key in ("a/one.mp4", "a/two.mp4"):
        world.drop(key, clip_bytes)
        ingest_and_submit(world, key)
    pass_seconds(world, 40)
    assert len(accepted_jobs(world)) == 2
    for key in ("a/three.mp4", "a/b/four.mp4"):
        world.drop(key, clip_bytes)
        ingest_and_submit(world, key)
    world.ingest("a/_retake.json")
    assert world.queue.keys == ["a/three.mp4"]


@pytest.mark.slow
def test_a_preset_wakes_many_clips_page_by_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_clips = 50
    monkeypatch.setattr(ingest_module, "PAGE_CLIPS", page_clips)
    monkeypatch.setattr(ingest_module, "WAKE_SECONDS", 0)
    keys = [f"a/{number:04}.mp4" for number in range(110)]
    for key in keys:
        world.drop(key, b"clip")
        world.records.wait(key, "waits for its sidecar", due_at=0)
    world.drop("a/_retake.json", OIL)
    calls: list[str] = []
    world.table.wire = lambda call: calls.append(call.operation) or call.effect()
    pages: list[tuple[str, str | None]] = [("a/_retake.json", None)]
    most = 0
    while pages:
        calls.clear()
        world.ingest(*pages.pop())
        most = max(most, len(calls))
        pages += world.queue.pages
        world.queue.pages.clear()
    assert world.queue.keys == keys
    assert most <= page_clips + 5  # calls, and as many messages


def test_pages_are_looked_at_in_one_call_while_there_is_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda stops a chain of messages to a function's own queue after about 16."""
    monkeypatch.setattr(ingest_module, "PAGE_CLIPS", 1)
    keys = [f"a/{number:02}.mp4" for number in range(20)]
    for key in keys:
        world.drop(key, b"clip")
        world.records.wait(key, "waits for its sidecar", due_at=0)
    world.drop("a/_retake.json", OIL)
    world.ingest("a/_retake.json")
    assert world.queue.keys == keys
    assert world.queue.pages == []


@pytest.mark.slow
def test_a_first_frame_wakes_a_thousand_clips_in_three_messages(
    world: World, look_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"a/{number:04}.mp4" for number in range(1100)]
    for key in keys:
        world.records.link_first_frame("a/look.png", key)
    world.drop("a/look.png", look_bytes)
    looks = count(1)
    # 500 clips take the time that one message has.
    monkeypatch.setattr(world.app.ingest, "_clock", lambda: next(looks) * WAKE_SECONDS / 499.5)
    pages: list[tuple[str, str | None]] = [("a/look.png", None)]
    woken = []
    while pages:
        world.ingest(*pages.pop())
        woken.append(len(world.queue.keys))
        pages += world.queue.pages
        world.queue.pages.clear()
    assert world.queue.keys == keys
    assert woken == [500, 1000, 1100]


def test_a_first_frame_wakes_clips_for_30_seconds_and_another_message_continues(
    world: World, look_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"a/{number}.mp4" for number in range(3)]
    for key in keys:
        world.records.link_first_frame("a/look.png", key)
    world.drop("a/look.png", look_bytes)
    monkeypatch.setattr(world.app.ingest, "_clock", iter([0, 29.9, 30]).__next__)
    world.ingest("a/look.png")
    assert (world.queue.keys, world.queue.pages) == (keys[:2], [("a/look.png", keys[1])])


def test_a_preset_wakes_clips_for_30_seconds_and_another_message_continues(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "PAGE_CLIPS", 1)
    keys = [f"a/{number}.mp4" for number in range(3)]
    for key in keys:
        world.drop(key, b"clip")
        world.records.wait(key, "waits for its sidecar", due_at=0)
    world.drop("a/_retake.json", OIL)
    monkeypatch.setattr(world.app.ingest, "_clock", chain([0, 29.9], repeat(30)).__next__)
    world.ingest("a/_retake.json")
    assert world.queue.keys == keys[:2]
    [(key, page)] = world.queue.pages
    world.ingest(key, page)
    assert world.queue.keys == keys


def test_an_image_that_many_clips_once_named_checks_some_of_them_and_wakes_all(
    world: World, look_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"a/{number:03}.mp4" for number in range(102)]
    for key in keys:
        world.records.link_first_frame("a/look.png", key)
    world.drop("a/look.png", look_bytes)
    head = world.app.input_bucket.head
    looked_up: list[str] = []

    def counted(key: str) -> Any:
        looked_up.append(key)
        return head(key)

    monkeypatch.setattr(world.app.input_bucket, "head", counted)
    world.ingest("a/look.png")
    assert (looked_up, world.queue.keys) == (["a/look.png", *keys[:100]], keys)
    assert world.records.get("a/look.png").waiting


@pytest.mark.parametrize("step", ["own", "get", "wait"])
def test_two_functions_that_see_different_presets_create_one_job(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Just before a step of the first, the preset changes, and another one does everything."""
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    world.drop("a/clip.json", b"{}")
    real: Callable[..., Any] = getattr(world.records, step)

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(world.records, step, real)
        world.drop("a/_retake.json", NEW)
        ingest_and_submit(world, "a/_retake.json", "a/clip.json")
        return real(*arguments, **options)

    monkeypatch.setattr(world.records, step, overtaken)
    ingest_and_submit(world, "a/clip.mp4")
    assert len(world.segmind.sent) == len(accepted_jobs(world)) == 1
    ingest_and_submit(world, "a/clip.mp4", "a/clip.json")
    assert len(accepted_jobs(world)) == 1


def test_a_late_function_with_another_preset_continues_with_the_accepted_instructions(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is killed when it owns the key; the second one has seen another preset."""
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    world.drop("a/clip.json", b"{}")
    clip = world.app.input_bucket.head("a/clip.mp4")
    assert clip
    drop = Drop("input", clip, world.app.input_bucket.head("a/clip.json"))
    accepted = Sidecar(prompt="oil", mode="reimagine_3")
    own = world.records.own

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(world.records, "own", own)
        own(drop, job_id(drop, accepted), accepted=True, sidecar=accepted)
        return own(*arguments, **options)

    world.drop("a/_retake.json", NEW)
    monkeypatch.setattr(world.records, "own", overtaken)
    ingest_and_submit(world, "a/clip.mp4")
    assert accepted_sidecars(world) == [("oil", "reimagine_3")]


def test_a_late_look_does_not_make_an_accepted_clip_wait(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    wait = world.records.wait

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(world.records, "wait", wait)
        pass_seconds(world, 100)  # the delayed message arrives, and starts it
        return wait(*arguments, **options)

    monkeypatch.setattr(world.records, "wait", overtaken)
    ingest_and_submit(world, "a/clip.mp4")
    assert status_of(world, "a/clip.mp4")["state"] == "RENDERING"
    assert not world.records.get("a/clip.mp4").waiting


@pytest.mark.parametrize(("first", "second"), list(product([OIL, NEW], repeat=2)))
def test_a_clip_that_waits_for_its_first_frame_starts_with_the_preset_of_that_moment(
    world: World, clip_bytes: bytes, look_bytes: bytes, first: bytes, second: bytes
) -> None:
    """Nothing has been paid for, so it is not accepted before its first frame comes."""
    world.drop("a/_retake.json", first)
    world.drop("a/clip.mp4", clip_bytes)
    world.drop("a/clip.json", b'{"first_frame": "clip.png"}')
    ingest_and_submit(world, "a/clip.mp4")
    world.drop("a/_retake.json", second)
    ingest_and_submit(world, "a/_retake.json")
    world.drop("a/clip.png", look_bytes)
    ingest_and_submit(world, "a/clip.png", "a/clip.mp4")
    prompts = [prompt for prompt, _ in accepted_sidecars(world)]
    assert prompts == [json.loads(second)["prompt"]]


def test_an_image_that_only_a_preset_names_does_not_wait(
    world: World, clip_bytes: bytes, look_bytes: bytes
) -> None:
    world.drop("a/_retake.json", b'{"first_frame": "look.png"}')
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    pass_seconds(world, 100)
    assert "a/look.png" in status_of(world, "a/clip.mp4")["message"]
    world.drop("a/look.png", look_bytes)
    ingest_and_submit(world, "a/look.png")
    assert len(accepted_jobs(world)) == 1
    world.drop("a/look.png", look_bytes)
    ingest_and_submit(world, "a/look.png")
    pass_seconds(world, 1000)
    world.sweep()
    ingest_and_submit(world)
    assert status_of(world, "a/look.png") == {}
    assert len(accepted_jobs(world)) == 1


def test_a_failed_job_of_a_preset_is_retried_only_with_a_newer_clip(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("a/_retake.json", OIL)
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    pass_seconds(world, 100)
    [job] = accepted_jobs(world)
    fail(world, job.id)
    world.drop("a/_retake.json", OIL)
    ingest_and_submit(world, "a/_retake.json", "a/clip.mp4")
    pass_seconds(world, 100)
    assert len(world.segmind.sent) == 1
    world.drop("a/clip.mp4", clip_bytes)
    ingest_and_submit(world, "a/clip.mp4")
    pass_seconds(world, 100)
    assert len(world.segmind.sent) == 2
    assert len(accepted_jobs(world)) == 1


@pytest.mark.parametrize("folder", ["", "f" * 1015 + "/"])
def test_a_folder_of_any_length_can_be_dropped_into(
    world: World, clip_bytes: bytes, folder: str
) -> None:
    key = f"{folder}c.mp4"
    world.drop(key, clip_bytes)
    fits = len(f"{folder}{PRESET_NAME}") <= 1024
    if fits:
        world.drop(f"{folder}{PRESET_NAME}", OIL)
    ingest_and_submit(world, key)
    pass_seconds(world, 100)
    assert len(accepted_jobs(world)) == fits


@pytest.mark.parametrize("preset_first", [True, False])
def test_deleting_a_sidecar_makes_no_second_job_of_the_clip_and_the_preset(
    world: World, clip_bytes: bytes, preset_first: bool
) -> None:
    files = {"a/_retake.json": OIL, "a/clip.json": b'{"prompt": "own"}', "a/clip.mp4": clip_bytes}
    dropped = list(files) if preset_first else list(files)[1:]
    for key in dropped:
        world.drop(key, files[key])
        ingest_and_submit(world, key)
    world.s3.delete_object(Bucket="input", Key="a/clip.json")
    ingest_and_submit(world, "a/clip.mp4")  # its event, a second time
    world.drop("a/_retake.json", files["a/_retake.json"])
    ingest_and_submit(world, "a/_retake.json", "a/clip.mp4", "a/clip.json")
    pass_seconds(world, 100)
    assert [prompt for prompt, _ in accepted_sidecars(world)] == ["own"]
    assert status_of(world, "a/clip.mp4")["state"] == "RENDERING"


@pytest.mark.parametrize("received", [b"", b"{}", b'{"prompt": '])
def test_a_preset_that_was_received_in_part_is_not_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, received: bytes
) -> None:
    world.drop("_retake.json", b'{"prompt": "oil"}')
    whole = world.s3.get_object(Bucket="input", Key="_retake.json")
    body = StreamingBody(io.BytesIO(received), whole["ContentLength"])
    monkeypatch.setattr(world.s3, "get_object", lambda **_: whole | {"Body": body})
    with pytest.raises(IncompleteReadError):
        world.ingest("_retake.json")
    assert all_status_files(world) == {}


def test_a_preset_that_is_a_byte_too_long_is_refused(world: World) -> None:
    world.drop("_retake.json", b'{"prompt": "oil"}'.ljust(MAX_JSON_BYTES + 1))
    world.ingest("_retake.json")
    assert set(all_status_files(world)) == {"_retake.json.error.json"}


@pytest.mark.parametrize("settled_by", ["the refusal itself", "sweep, because that was killed"])
def test_a_late_refusal_of_a_preset_that_was_corrected_leaves_no_status_file(
    world: World, monkeypatch: pytest.MonkeyPatch, settled_by: str
) -> None:
    settlement = world.app.settlement
    settle = settlement.settle

    def corrected_before(refused_id: str) -> None:
        monkeypatch.setattr(settlement, "settle", settle)
        world.drop("_retake.json", b"{}")
        ingest_and_submit(world, "_retake.json")
        if settled_by == "the refusal itself":
            settle(refused_id)

    monkeypatch.setattr(settlement, "settle", corrected_before)
    world.drop("_retake.json", b"{")
    ingest_and_submit(world, "_retake.json")
    world.pass_minutes(10)
    assert all_status_files(world) == {}
    world.drop("_retake.json", b"{")
    ingest_and_submit(world, "_retake.json")
    assert status_of(world, "_retake.json")["state"] == "REFUSED"


def test_an_overdue_status_file_does_not_undo_that_a_preset_starts_the_clip(
    world: World, clip_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.now -= 200
    world.drop("clip.mp4", clip_bytes)
    ingest_and_submit(world, "clip.mp4")
    world.clock.now = time.time()
    status_files = world.app.status_files
    publish_waiting = status_files.publish_waiting

    def preset_comes_before(record: InputRecord) -> None:
        monkeypatch.setattr(status_files, "publish_waiting", publish_waiting)
        world.drop("_retake.json", b"{}")
        ingest_and_submit(world, "_retake.json")
        publish_waiting(record)

    monkeypatch.setattr(status_files, "publish_waiting", preset_comes_before)
    ingest_and_submit(world, "clip.mp4")
    world.queue.delayed.clear()  # the message is lost
    world.clock.now += 60
    world.sweep()
    ingest_and_submit(world)
    assert len(accepted_jobs(world)) == 1


def test_the_longest_preset_with_the_longest_url_can_be_stored_and_read_again(
    world: World, clip_bytes: bytes
) -> None:
    folder = "f" * 1000 + "/"
    key = f"{folder}clip.mp4"
    longest = b'{"prompt": "%s"}' % (b"\x7f" * 65_500)  # each takes six characters when escaped
    url = "https://a.b/" + "🎬" * 2036
    own = json.dumps({"first_frame_url": url}, ensure_ascii=False).encode()
    world.drop(f"{folder}_retake.json", longest)
    world.drop(f"{folder}clip.json", own)
    world.drop(key, clip_bytes)
    ingest_and_submit(world, f"{folder}clip.json", key)
    record = world.records.get(key)
    [job] = accepted_jobs(world)
    assert (record.newest_job, record.sidecar) == (job.id, job.sidecar)
    item = world.table.get_item(Key=dynamodb.key(f"input#input/{key}"))["Item"]
    size = sum(len(f"{name}{value}".encode()) for name, value in item.items())
    assert size < 200_000  # DynamoDB stores 400 KB
    world.drop(f"{folder}_retake.json", NEW)
    ingest_and_submit(world, key)
    assert len(accepted_jobs(world)) == 1


# ─── Prices ───────────────────────────────────────────────────────────────────────────────────


def drop_dear_clip(world: World, sidecar: bytes, preset: bytes | None = None) -> Any:
    """Drop a clip of 29 s in 1080p, which is estimated at 7.85 USD; return its newest job."""
    world.media.looks[b"dear"] = replace(FOOTAGE, seconds=29, width=1920, height=1080)
    if preset:
        world.drop("a/_retake.json", preset)
    world.clock.now += 2
    world.drop("a/clip.mp4", b"dear")
    world.drop("a/clip.json", sidecar)
    for key in ("a/clip.mp4", "a/clip.json"):
        ingest_and_submit(world, key)
    return world.job(world.records.get("a/clip.mp4").newest_job)


def test_a_clip_that_was_too_dear_starts_when_its_sidecar_allows_its_price(world: World) -> None:
    refused = drop_dear_clip(world, b"{}")
    assert (refused.state, world.segmind.sent) == (State.REFUSED, [])
    started = drop_dear_clip(world, b'{"max_usd": 9}')
    assert (started.id, started.state, started.estimate.usd) == (refused.id, State.RENDERING, 7.85)


def test_max_usd_makes_no_other_job_of_the_same_content(world: World) -> None:
    first = drop_dear_clip(world, b'{"max_usd": 9}')
    again = drop_dear_clip(world, b'{"max_usd": 20}')
    assert (again.id, len(world.segmind.sent)) == (first.id, 1)


def test_the_cap_of_a_preset_is_that_of_its_folder(world: World) -> None:
    job = drop_dear_clip(world, b'{"max_usd": 9}', preset=b'{"daily_usd": 8}')
    assert job.cap == FolderCap("a/", 8)
    assert (job.state, world.admission.budget.booked(world.clock.now, "a/")) == (
        State.RENDERING,
        7.85,
    )


def test_a_clip_over_the_cap_of_its_folder_is_refused(world: World) -> None:
    job = drop_dear_clip(world, b'{"max_usd": 9}', preset=b'{"daily_usd": 7}')
    assert job.state is State.REFUSED
    assert "the 7 USD that a/ may cost in a day" in job.explanation

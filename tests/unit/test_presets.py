"""Presets in the pipeline: any order and number of events is one job, and a preset alone pays for nothing."""

import json
import time
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import pytest

from retake import intake
from retake.rules import drop
from retake.rules.drop import Drop
from retake.rules.preset import GRACE, NAME
from retake.rules.sidecar import Sidecar, parse

from .conftest import World
from .test_intake import told

PRESET = b'{"prompt": "ink", "mode": "flex_1", "first_frame": "{name}.png"}'
OTHER = b'{"prompt": "oil", "mode": "reimagine_3"}'


@pytest.fixture
def world(world: World) -> World:
    world.clock.now = time.time()  # the bucket's clock and ours are one
    return world


def take(world: World, *keys: str) -> None:
    """Take drops, and whatever intake sends back to the queue at once; submit what is fit to go."""
    waiting: list[tuple[str, str | None]] = [(key, None) for key in keys]
    while waiting:
        for job in world.intake.take(*waiting.pop(0)):
            world.submission().submit(job)
        waiting += [(key, None) for key in world.queue.keys] + list(world.queue.pages)
        world.queue.keys.clear()
        world.queue.pages.clear()


def pass_by(world: World, seconds: float) -> None:
    """Let time pass, and the delayed messages arrive whose time has come."""
    world.clock.now += seconds
    due = [key for key, delay in world.queue.later if delay <= seconds]
    world.queue.later = [(key, delay - int(seconds)) for key, delay in world.queue.later if delay > seconds]
    take(world, *due)


def jobs(world: World) -> list[dict[str, Any]]:
    return [row for row in world.table.scan()["Items"] if row["sk"] == "job" and row["state"] != "REFUSED"]


def expected(world: World, note: dict[str, str], frame: str | None = None) -> str:
    """Give the id of the job that a sidecar with the whole note would make."""
    video, image = world.input.head("a/clip.mp4"), world.input.head(frame) if frame else None
    written = parse(json.dumps(note).encode())
    assert video
    assert isinstance(written, Sidecar)
    return drop.job_id(Drop("input", video, frame=image), written)


FILES = ["a/clip.mp4", "a/clip.json", "a/_retake.json", "a/clip.png"]
WITHOUT = permutations(["a/clip.mp4", "a/_retake.json", "a/clip.png"])
# A clip with its sidecar waits for no preset: another test says so.
ORDERS = [
    order for order in permutations(FILES) if order.index("a/_retake.json") < max(order.index("a/clip.mp4"), order.index("a/clip.json"))
]


@pytest.mark.parametrize(("order", "times"), [(order, 1 + number % 2) for number, order in enumerate(ORDERS)])
def test_every_order_of_the_four_is_one_job(world: World, film: bytes, look: bytes, order: tuple[str, ...], times: int) -> None:
    bodies = dict(zip(FILES, (film, b'{"prompt": "own"}', PRESET, look), strict=True))
    for key in order:
        world.drop(key, bodies[key])
        take(world, *[key] * times)
        pass_by(world, 1)
    pass_by(world, GRACE + 2)
    note = {"prompt": "own", "mode": "flex_1", "first_frame": "clip.png"}
    assert [job["id"] for job in jobs(world)] == [expected(world, note, "a/clip.png")]
    for changed in (OTHER, b"{", PRESET):
        world.drop("a/_retake.json", changed)
        take(world, *order, *order)
        pass_by(world, 1000)
    assert len(jobs(world)) == len(world.segmind.sent) == 1
    assert told(world, "a/clip.mp4")["state"] == "RENDERING"
    assert told(world, "a/clip.png") == told(world, "a/clip.json") == told(world, "a/_retake.json") == {}


@pytest.mark.parametrize(
    ("order", "times"),
    [(order, 1 + number % 2) for number, order in enumerate(permutations(["a/clip.mp4", "a/_retake.json", "a/clip.png"]))],
)
def test_every_order_without_a_sidecar_is_one_job(world: World, film: bytes, look: bytes, order: tuple[str, ...], times: int) -> None:
    bodies = {"a/clip.mp4": film, "a/_retake.json": PRESET, "a/clip.png": look}
    for key in order:
        world.drop(key, bodies[key])
        take(world, *[key] * times)
        pass_by(world, 1)
    assert jobs(world) == []
    waiting = told(world, "a/clip.mp4")
    assert waiting["state"] == "WAITING"
    assert "starts with a/_retake.json at" in str(waiting["message"])
    pass_by(world, GRACE + 2)
    note = {"prompt": "ink", "mode": "flex_1", "first_frame": "clip.png"}
    assert [job["id"] for job in jobs(world)] == [expected(world, note, "a/clip.png")]
    for changed in (OTHER, b"{", PRESET):
        world.drop("a/_retake.json", changed)
        take(world, *order, *order)
        pass_by(world, 1000)
        world.sweeping().sweep()
        take(world, *world.queue.keys)
    world.s3.delete_object(Bucket="input", Key="a/_retake.json")
    take(world, *order)
    pass_by(world, 1000)
    assert len(jobs(world)) == len(world.segmind.sent) == 1
    assert told(world, "a/clip.mp4")["state"] == "RENDERING"


@pytest.mark.parametrize("order", list(permutations(["a/clip.mp4", "a/clip.json", "a/_retake.json"])))
def test_all_dropped_at_once_is_one_job_with_the_merged_note(world: World, film: bytes, order: tuple[str, ...]) -> None:
    """The files are there before the first event: whichever comes first, all is seen."""
    for key, body in zip(("a/clip.mp4", "a/clip.json", "a/_retake.json"), (film, b'{"mode": "flex_2"}', OTHER), strict=True):
        world.drop(key, body)
    take(world, *order)
    pass_by(world, 100)
    assert [job["id"] for job in jobs(world)] == [expected(world, {"prompt": "oil", "mode": "flex_2"})]


def test_a_clip_with_its_sidecar_waits_for_no_preset(world: World, film: bytes) -> None:
    world.drop("a/clip.mp4", film)
    world.drop("a/clip.json", b"{}")
    take(world, "a/clip.mp4")
    world.drop("a/_retake.json", OTHER)
    take(world, "a/_retake.json", "a/clip.mp4", "a/clip.json")
    pass_by(world, 1000)
    assert [job["id"] for job in jobs(world)] == [expected(world, {})]


def test_a_preset_is_for_its_very_folder(world: World, film: bytes) -> None:
    for key in ("clip.mp4", "a/clip.mp4", "a/b/clip.mp4"):
        world.drop(key, film)
    world.drop("a/_retake.json", OTHER)
    take(world, "clip.mp4", "a/clip.mp4", "a/b/clip.mp4")
    pass_by(world, 100)
    assert [job["key"] for job in jobs(world)] == ["a/clip.mp4"]
    assert "waits for its sidecar" in str(told(world, "a/b/clip.mp4")["message"])


def test_a_newer_drop_takes_the_preset_of_now(world: World, film: bytes) -> None:
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    pass_by(world, 40)
    world.drop("a/_retake.json", b'{"prompt": "new"}')
    take(world, "a/_retake.json", "a/clip.mp4")
    world.clock.now = max(world.clock.now, time.time())
    assert len(jobs(world)) == 1
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    assert len(jobs(world)) == 1
    pass_by(world, 40)
    assert {job["prompt"] for job in jobs(world)} == {"oil", "new"}
    assert len(world.segmind.sent) == 2


def test_a_clip_known_with_this_note_is_not_paid_again_and_keeps_it(world: World, film: bytes) -> None:
    """Dropped again, then the preset changes, then the event of the second drop comes late."""
    world.drop("a/clip.mp4", film)
    world.drop("a/clip.json", b'{"prompt": "oil", "mode": "reimagine_3"}')
    take(world, "a/clip.mp4")
    world.s3.delete_object(Bucket="input", Key="a/clip.json")
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    pass_by(world, 100)
    world.drop("a/_retake.json", b'{"prompt": "new"}')
    take(world, "a/_retake.json", "a/clip.mp4")
    pass_by(world, 1000)
    take(world, "a/clip.mp4")
    assert len(jobs(world)) == len(world.segmind.sent) == 1


def test_a_sidecar_after_the_start_is_another_job(world: World, film: bytes) -> None:
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    take(world, "a/_retake.json", "a/clip.mp4")
    pass_by(world, 40)
    world.drop("a/clip.json", b'{"mode": "flex_1"}')
    take(world, "a/clip.json")
    assert sorted((job["prompt"], job["mode"]) for job in jobs(world)) == [("oil", "flex_1"), ("oil", "reimagine_3")]
    world.drop("a/clip.json", b"{}")
    take(world, "a/clip.json")
    assert len(jobs(world)) == 2, "the same note, whoever says it"


def test_the_time_of_grace_begins_again_with_a_new_preset_and_asks_once(world: World, film: bytes) -> None:
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    pass_by(world, 3600)
    assert "waits for its sidecar" in str(told(world, "a/clip.mp4")["message"])
    world.clock.now = time.time()
    world.drop("a/_retake.json", OTHER)
    take(world, "a/_retake.json", "a/_retake.json", "a/clip.mp4")
    assert [key for key, _ in world.queue.later] == ["a/clip.mp4"]
    pass_by(world, GRACE - 5)
    take(world, "a/clip.mp4")
    assert jobs(world) == []
    pass_by(world, 10)
    assert len(jobs(world)) == 1


def test_a_message_that_is_lost_is_made_up_for_by_sweep(world: World, film: bytes) -> None:
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    world.queue.later.clear()
    world.clock.now += GRACE - 5
    world.sweeping().sweep()
    assert world.queue.keys == []
    world.clock.now += 10
    world.sweeping().sweep()
    take(world, *world.queue.keys)
    assert len(jobs(world)) == 1


@pytest.mark.parametrize("own", [None, b'{"prompt": "own"}'])
def test_a_broken_preset_holds_back_what_is_not_taken_until_it_is_corrected(world: World, film: bytes, own: bytes | None) -> None:
    world.drop("a/_retake.json", b'{"promt": "ink"}')
    take(world, "a/_retake.json")
    refused = told(world, "a/_retake.json")
    assert refused["state"] == "REFUSED"
    assert "did you mean prompt" in str(refused["do_now"])
    world.drop("a/clip.mp4", film)
    if own:
        world.drop("a/clip.json", own)
        take(world, "a/clip.json")
    take(world, "a/clip.mp4")
    pass_by(world, 1000)
    world.sweeping().sweep()
    take(world, *world.queue.keys)
    assert "until a/_retake.json is corrected" in str(told(world, "a/clip.mp4")["message"])
    assert jobs(world) == []
    world.clock.now = time.time()
    world.drop("a/_retake.json", OTHER)
    take(world, "a/_retake.json")
    assert told(world, "a/_retake.json") == {}
    assert len(jobs(world)) == bool(own)
    pass_by(world, GRACE + 2)
    assert [(job["prompt"], job["mode"]) for job in jobs(world)] == [("own" if own else "oil", "reimagine_3")]
    world.drop("a/_retake.json", b"{")
    take(world, "a/_retake.json", "a/clip.mp4")
    assert told(world, "a/_retake.json")["state"] == "REFUSED"
    assert told(world, "a/clip.mp4")["state"] == "RENDERING"


def test_a_preset_in_another_spelling_is_told_so(world: World, film: bytes) -> None:
    world.drop("a/_Retake.JSON", OTHER)
    take(world, "a/_Retake.JSON")
    assert "lower case" in str(told(world, "a/_Retake.JSON")["message"])


def test_a_preset_wakes_no_clip_that_has_a_job(world: World, film: bytes) -> None:
    world.drop("a/_retake.json", OTHER)
    for key in ("a/one.mp4", "a/two.mp4"):
        world.drop(key, film)
        take(world, key)
    pass_by(world, 40)
    assert len(jobs(world)) == 2
    for key in ("a/three.mp4", "a/b/four.mp4"):
        world.drop(key, film)
        take(world, key)
    world.intake.take("a/_retake.json")
    assert world.queue.keys == ["a/three.mp4"]


def test_many_clips_are_woken_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PAGE", 50)
    keys = [f"a/{number:04}.mp4" for number in range(110)]
    for key in keys:
        world.drop(key, b"film")
        world.jobs.waiting("input", key, "waits for its sidecar", due=0)
    world.drop("a/_retake.json", OTHER)
    asked: list[str] = []
    world.table.meta.client.meta.events.register("before-call", lambda model, **_: asked.append(model.name))
    pages: list[tuple[str, str | None]] = [("a/_retake.json", None)]
    most = 0
    while pages:
        asked.clear()
        world.intake.take(*pages.pop())
        most = max(most, len(asked))
        pages += world.queue.pages
        world.queue.pages.clear()
    assert world.queue.keys == keys
    assert most <= intake.PAGE + 5  # calls, and as many messages


def test_a_first_frame_of_a_thousand_clips_wakes_them_page_by_page(world: World, look: bytes) -> None:
    keys = [f"a/{number:04}.mp4" for number in range(1100)]
    for key in keys:
        world.jobs.names_frame("input", "a/look.png", key)
    world.drop("a/look.png", look)
    pages: list[tuple[str, str | None]] = [("a/look.png", None)]
    woken = []
    while pages:
        world.intake.take(*pages.pop())
        woken.append(len(world.queue.keys))
        pages += world.queue.pages
        world.queue.pages.clear()
    assert world.queue.keys == keys
    assert woken == [500, 1000, 1100]


def test_an_image_that_many_clips_once_named_asks_some_of_them_and_wakes_all(
    world: World, look: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "NAMING", 3)
    keys = [f"a/{number}.mp4" for number in range(9)]
    for key in keys:
        world.jobs.names_frame("input", "a/look.png", key)
    world.drop("a/look.png", look)
    asked: list[str] = []
    monkeypatch.setattr(world.intake, "_names", lambda video_key, frame_key: asked.append(video_key))
    world.intake.take("a/look.png")
    assert (asked, world.queue.keys) == (keys[:3], keys)
    assert "waits" in world.jobs.place("input", "a/look.png")


@pytest.mark.parametrize("moment", ["take_place", "place", "waiting"])
def test_two_looks_that_see_different_presets_make_one_job(world: World, film: bytes, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """The preset changes, and another look goes all the way, just before a step of the first."""
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    world.drop("a/clip.json", b"{}")
    real: Callable[..., Any] = getattr(world.jobs, moment)

    def another_is_faster(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(world.jobs, moment, real)
        world.drop("a/_retake.json", b'{"prompt": "new"}')
        take(world, "a/_retake.json", "a/clip.json")
        return real(*given, **named)

    monkeypatch.setattr(world.jobs, moment, another_is_faster)
    take(world, "a/clip.mp4")
    assert len(world.segmind.sent) == len(jobs(world)) == 1
    take(world, "a/clip.mp4", "a/clip.json")
    assert len(jobs(world)) == 1


def test_who_is_late_with_another_preset_goes_on_with_what_was_taken(world: World, film: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look dies right after it has taken the place; the second has seen another preset."""
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    world.drop("a/clip.json", b"{}")
    video = world.input.head("a/clip.mp4")
    assert video
    dropped = Drop("input", video, world.input.head("a/clip.json"))
    real = world.jobs.take_place
    note = Sidecar(prompt="oil", mode="reimagine_3")

    def first_is_faster(*given: Any) -> Any:
        monkeypatch.setattr(world.jobs, "take_place", real)
        real(dropped, drop.job_id(dropped, note), True, note)
        return real(*given)

    world.drop("a/_retake.json", b'{"prompt": "new"}')
    monkeypatch.setattr(world.jobs, "take_place", first_is_faster)
    take(world, "a/clip.mp4")
    assert [job["prompt"] for job in jobs(world)] == ["oil"]


def test_a_look_that_comes_late_does_not_make_a_taken_clip_wait(world: World, film: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    real = world.jobs.waiting

    def another_starts_it(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(world.jobs, "waiting", real)
        pass_by(world, 100)
        return real(*given, **named)

    monkeypatch.setattr(world.jobs, "waiting", another_starts_it)
    take(world, "a/clip.mp4")
    assert told(world, "a/clip.mp4")["state"] == "RENDERING"
    assert "waits" not in world.jobs.place("input", "a/clip.mp4")


@pytest.mark.parametrize(("first", "second"), list(product([OTHER, b'{"prompt": "new"}'], repeat=2)))
def test_a_clip_that_waits_for_its_first_frame_is_not_taken_yet(
    world: World, film: bytes, look: bytes, first: bytes, second: bytes
) -> None:
    """Nothing is paid, so the preset of the moment at which the frame comes is what counts."""
    world.drop("a/_retake.json", first)
    world.drop("a/clip.mp4", film)
    world.drop("a/clip.json", b'{"first_frame": "clip.png"}')
    take(world, "a/clip.mp4")
    world.drop("a/_retake.json", second)
    take(world, "a/_retake.json")
    world.drop("a/clip.png", look)
    take(world, "a/clip.png", "a/clip.mp4")
    assert [job["prompt"] for job in jobs(world)] == [json.loads(second)["prompt"]]


def test_an_image_that_only_a_preset_names_is_not_alone(world: World, film: bytes, look: bytes) -> None:
    world.drop("a/_retake.json", b'{"first_frame": "look.png"}')
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    pass_by(world, 100)
    assert "a/look.png" in str(told(world, "a/clip.mp4")["message"])
    world.drop("a/look.png", look)
    take(world, "a/look.png")
    assert len(jobs(world)) == 1
    world.drop("a/look.png", look)
    take(world, "a/look.png")
    pass_by(world, 1000)
    world.sweeping().sweep()
    take(world, *world.queue.keys)
    assert told(world, "a/look.png") == {}
    assert len(jobs(world)) == 1


def test_a_failed_job_of_a_preset_starts_again_with_a_newer_clip_only(world: World, film: bytes) -> None:
    world.drop("a/_retake.json", OTHER)
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    pass_by(world, 100)
    [job] = jobs(world)
    world.move(job["id"], "FAILED", reason="no")
    world.settlement.settle(job["id"])
    world.drop("a/_retake.json", OTHER)
    take(world, "a/_retake.json", "a/clip.mp4")
    pass_by(world, 100)
    assert len(world.segmind.sent) == 1
    world.drop("a/clip.mp4", film)
    take(world, "a/clip.mp4")
    pass_by(world, 100)
    assert len(world.segmind.sent) == 2
    assert len(jobs(world)) == 1


@pytest.mark.parametrize("folder", ["", "f" * 1015 + "/"])
def test_any_folder_is_looked_at(world: World, film: bytes, folder: str) -> None:
    key = f"{folder}c.mp4"
    world.drop(key, film)
    fits = len(f"{folder}{NAME}") <= 1024
    if fits:
        world.drop(f"{folder}{NAME}", OTHER)
    take(world, key)
    pass_by(world, 100)
    assert len(jobs(world)) == fits

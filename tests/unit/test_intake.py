"""Nothing dropped is forgotten, in any order, any number of times."""

import json
from itertools import permutations
from pathlib import Path

import pytest

from .conftest import World

NOTE = b'{"prompt": "ink"}'


def take(world: World, *keys: str) -> set[str]:
    """Take drops, and whatever intake sends back to the queue."""
    ready: set[str] = set()
    waiting = list(keys)
    while waiting:
        ready |= set(world.intake.take(waiting.pop(0)))
        waiting += world.queue.keys
        world.queue.keys.clear()
    return ready


def told(world: World, name: str) -> dict[str, object]:
    found = [answer for suffix in (".job.json", ".error.json") if (answer := world.read(name + suffix))]
    assert len(found) <= 1, found
    return dict(json.loads(found[0])) if found else {}


@pytest.mark.parametrize("order", list(permutations(["clip.mp4", "clip.json", "look.png"]))[::2])
def test_three_files_in_any_order_are_one_job(world: World, film: bytes, look: bytes, order: tuple[str, ...]) -> None:
    bodies = {"clip.mp4": film, "clip.json": b'{"first_frame": "look.png"}', "look.png": look}
    ready: set[str] = set()
    for key in order:
        world.drop(key, bodies[key])
        ready |= take(world, key)
    assert len(ready) == 1
    assert told(world, "clip.mp4")["state"] == "CLAIMED"
    assert told(world, "look.png") == told(world, "clip.json") == {}
    assert take(world, *order, *order) == ready


@pytest.mark.parametrize(
    ("files", "answered", "state"),
    [
        ({"clip.mp4": b"film"}, "clip.mp4", "WAITING"),
        ({"clip.mov": b"film"}, "clip.mov", "REFUSED"),
        ({"noname": b"film"}, "noname", "REFUSED"),
        ({"clip.json": b"{"}, "clip.json", "REFUSED"),
        ({"clip.mp4": b"film", "clip.json": b"{"}, "clip.mp4", "REFUSED"),
        ({"clip.mp4": b"", "clip.json": NOTE}, "clip.mp4", "REFUSED"),
        ({"clip.MP4": b"text", "clip.JSON": NOTE}, "clip.MP4", "REFUSED"),
        ({"clip.mp4": b"film", "clip.json": b'{"first_frame": "gone.png"}'}, "clip.mp4", "WAITING"),
    ],
)
def test_whatever_is_dropped_gets_its_answer(world: World, files: dict[str, bytes], answered: str, state: str) -> None:
    for key, body in files.items():
        world.drop(key, body)
    assert take(world, *files) == set()
    assert told(world, answered)["state"] == state


def test_a_lone_sidecar_is_answered_when_its_time_of_grace_is_over(world: World) -> None:
    world.drop("clip.json", NOTE)
    take(world, "clip.json")
    assert told(world, "clip.json") == {}
    world.clock.now += 200
    world.sweeping().sweep()
    take(world, *world.queue.keys)
    assert told(world, "clip.json")["state"] == "WAITING"
    assert world.jobs.due(world.clock.now + 1e6, 9) == []


def test_a_refused_drop_starts_again_only_with_a_newer_object(world: World, film: bytes) -> None:
    world.drop("clip.mp4", film)
    world.drop("clip.json", b'{"mode": "no"}')
    assert take(world, "clip.json", "clip.mp4") == set()
    assert len(world.bus.told) == 1
    world.drop("clip.json", NOTE)
    assert len(take(world, "clip.json", "clip.json")) == 1


def test_a_waiting_file_that_is_deleted_is_looked_at_no_more(world: World) -> None:
    world.drop("clip.mp4", b"film")
    take(world, "clip.mp4")
    world.s3.delete_object(Bucket="input", Key="clip.mp4")
    for _ in range(3):
        world.clock.now += 400
        world.sweeping().sweep()
        take(world, *world.queue.keys)
    assert world.jobs.due(world.clock.now + 1e6, 9) == []
    assert told(world, "clip.mp4") == {}


def test_an_image_that_no_sidecar_names_any_more_is_answered(world: World, film: bytes, look: bytes) -> None:
    world.drop("clip.mp4", film)
    world.drop("clip.json", b'{"first_frame": "look.png"}')
    take(world, "clip.json")
    world.drop("clip.json", NOTE)
    take(world, "clip.json")
    world.drop("look.png", look)
    take(world, "look.png")
    world.clock.now += 400
    world.sweeping().sweep()
    take(world, *world.queue.keys)
    assert told(world, "look.png")


def test_a_second_spelling_of_the_sidecar_is_answered(world: World, film: bytes) -> None:
    for key, body in {"clip.mp4": film, "clip.json": NOTE, "clip.JSON": b'{"prompt": "oil"}'}.items():
        world.drop(key, body)
    take(world, "clip.json", "clip.mp4", "clip.JSON")
    assert told(world, "clip.JSON")


def test_a_sidecar_with_a_lone_surrogate_is_answered(world: World) -> None:
    world.drop("clip.json", rb'{"\ud800": 1, "\ud800": 2}')
    take(world, "clip.json")
    assert told(world, "clip.json")["state"] == "REFUSED"


def test_the_answer_of_a_note_that_was_changed_and_changed_back_points_to_its_own_video(world: World, film: bytes) -> None:
    world.drop("clip.mp4", film)
    jobs = []
    for number, note in enumerate((NOTE, b'{"prompt": "oil"}')):
        world.drop("clip.json", note)
        [job] = take(world, "clip.json")
        world.submission().submit(job)
        world.move(job, "DELIVERING", result_url="https://x/")
        world.output.put_video("clip.mp4", _Film(film), len(film), {"job-id": job}, world.output.etag("clip.mp4"))
        world.move(job, "DELIVERED", result="s3://output/clip.mp4")
        world.settlement.settle(job)
        jobs.append(job)
        world.clock.now += number
    world.drop("clip.json", NOTE)
    take(world, "clip.json")
    answer = told(world, "clip.mp4")
    key = str(answer["result"]).removeprefix("s3://output/")
    assert world.s3.head_object(Bucket="output", Key=key)["Metadata"]["job-id"] == answer["job"]


def test_a_first_frame_whose_key_cannot_exist_is_answered(world: World, film: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "f" * 1000 + "/"
    world.drop(f"{folder}clip.mp4", film)
    world.drop(f"{folder}clip.json", json.dumps({"first_frame": "n" * 100 + ".png"}).encode())
    head = world.s3.head_object

    def as_s3(**asked: str) -> object:
        if len(asked["Key"].encode()) > 1024:
            raise world.s3.exceptions.ClientError({"Error": {"Code": "400", "Message": "Bad Request"}}, "HeadObject")
        return head(**asked)

    monkeypatch.setattr(world.s3, "head_object", as_s3)
    take(world, f"{folder}clip.json")
    assert any(Path(item["Key"]).suffix == ".json" for item in world.s3.list_objects_v2(Bucket="output").get("Contents", ()))


def test_going_back_to_a_note_that_was_delivered_takes_the_failure_of_the_other_away(world: World, film: bytes) -> None:
    world.drop("clip.mp4", film)
    world.drop("clip.json", NOTE)
    [first] = take(world, "clip.json")
    world.submission().submit(first)
    world.move(first, "DELIVERING")
    world.move(first, "DELIVERED", result="s3://output/clip.mp4")
    world.settlement.settle(first)
    world.drop("clip.json", b'{"prompt": "oil"}')
    [second] = take(world, "clip.json")
    world.submission().submit(second)
    world.move(second, "FAILED", reason="no")
    world.settlement.settle(second)
    assert told(world, "clip.mp4")["state"] == "FAILED"
    world.drop("clip.json", NOTE)
    take(world, "clip.json")
    assert told(world, "clip.mp4")["job"] == first


def test_a_job_whose_name_is_taken_keeps_an_answer(world: World, film: bytes) -> None:
    world.drop("clip.mp4", film)
    jobs = []
    for note in (NOTE, b'{"prompt": "oil"}'):
        world.drop("clip.json", note)
        jobs += take(world, "clip.json")
    answers = {str(told(world, name)["job"]): name for name in ("clip.mp4", f"clip.{jobs[0][:8]}.mp4")}
    assert answers == {jobs[1]: "clip.mp4", jobs[0]: f"clip.{jobs[0][:8]}.mp4"}


class _Film:
    def __init__(self, film: bytes) -> None:
        self._film = film

    def read(self, size: int = -1, /) -> bytes:
        chunk, self._film = (self._film, b"") if size < 0 else (self._film[:size], self._film[size:])
        return chunk


def test_a_clip_that_is_taken_does_not_wait_again_for_a_first_frame_that_is_gone(world: World, film: bytes, look: bytes) -> None:
    world.drop("clip.mp4", film)
    world.drop("clip.json", b'{"first_frame": "look.png"}')
    world.drop("look.png", look)
    (job,) = take(world, "clip.mp4")
    world.submission().submit(job)
    world.s3.delete_object(Bucket="input", Key="look.png")
    assert take(world, "clip.mp4", "clip.json") == set()
    assert told(world, "clip.mp4")["state"] == "RENDERING"

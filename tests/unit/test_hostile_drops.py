"""Drops that play tricks, from the bucket to the answer: each gets its own, in its place, and nothing is paid."""

import json

import pytest

from retake.rules.sidecar import MAX_BYTES

from .conftest import World

STEMS = [
    "../../clip", "a//clip", "/clip", "./clip", "clip.mp4.job.json", "clip\x01\x1b[2J", "\u202egpj.clip", "🎬 映画 é", "%2e%2e%2fclip",
    "a+b c", "x" * 1000, "", "s3://bucket/clip",
]  # fmt: skip


@pytest.mark.parametrize("stem", STEMS, ids=ascii)
def test_a_hostile_key_is_answered_beside_itself(world: World, stem: str) -> None:
    keys = [f"{stem}.mp4", f"{stem}.json"]
    for key in keys:
        world.drop(key, b"<html>")
        world.intake.take(key)
    names = [item["Key"] for item in world.s3.list_objects_v2(Bucket="output")["Contents"]]
    assert names == [f"{stem}.mp4.error.json"]
    answer = json.loads(world.read(names[0]) or b"")
    assert (answer["state"], answer["clip"], answer["paid"]) == ("REFUSED", f"s3://input/{stem}.mp4", False)
    assert world.segmind.sent == []


@pytest.mark.parametrize("key", [".mp4", ".json", ".png", "clip.mp4.job.json", "clip.mp4.error.json", "x.MP4", "." + "x" * 1000])
def test_half_a_drop_under_an_odd_name_is_answered(world: World, key: str) -> None:
    world.drop(key, b"{}")
    for _ in range(2):
        world.intake.take(key)
        world.clock.now += 600
    assert world.s3.list_objects_v2(Bucket="output")["KeyCount"] == 1


SIGNS = "\x1b[2J \u202e \u2066 \x9b \x7f \0 \u200b \U000e0041"


@pytest.mark.parametrize("field", ["prompt", SIGNS])
def test_an_answer_steers_no_terminal_and_turns_no_text(world: World, field: str) -> None:
    world.drop("clip.mp4", b"<html>")
    world.drop("clip.json", json.dumps({field: f"Müller 映 🎬 {SIGNS}", "nonsense": SIGNS}).encode())
    world.intake.take("clip.mp4")
    answer = (world.read("clip.mp4.error.json") or b"").decode()
    assert all(sign.isprintable() or sign == "\n" for sign in answer)
    assert json.loads(answer)["state"] == "REFUSED"


def test_an_answer_is_the_same_text_for_programs(world: World) -> None:
    told = {"prompt": f"Müller 映 🎬 {SIGNS}", "cost": 0.6, "times": {"HELD": "now"}}
    world.output.put_answer("a", told)
    answer = (world.read("a") or b"").decode()
    assert json.loads(answer) == told
    assert "Müller 映 🎬" in answer


def test_a_sidecar_of_any_size_is_read_as_far_as_its_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = world.input.read
    monkeypatch.setattr(world.input, "read", lambda file, first, length: asked.append(length) or read(file, first, length))
    world.drop("clip.mp4", b"")
    world.drop("clip.json", b" " * 5_000_000)
    world.intake.take("clip.mp4")
    assert asked == [MAX_BYTES + 1]
    assert b"64 KB" in (world.read("clip.mp4.error.json") or b"")

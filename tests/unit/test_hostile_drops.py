"""Hostile drops: each gets its own status file in its place, and nothing is paid."""

import json
from typing import Any

import pytest

from retake.domain.limits import MAX_JSON_BYTES
from tests.support.drops import all_status_files, status_of
from tests.support.world import World

STEMS = [
    "../../clip",
    "a//clip",
    "/clip",
    "./clip",
    "clip.mp4.job.json",
    "clip\x01\x1b[2J",
    "\u202egpj.clip",
    "🎬 映画 é",
    "%2e%2e%2fclip",
    "a+b c",
    "x" * 1000,
    "",
    "s3://bucket/clip",
]
CONTROLS = "\x1b[2J \u202e \u2066 \x9b \x7f \0 \u200b \U000e0041"


@pytest.mark.parametrize("stem", STEMS, ids=ascii)
def test_a_hostile_key_gets_its_status_file_beside_itself(world: World, stem: str) -> None:
    for key in (f"{stem}.mp4", f"{stem}.json"):
        world.drop(key, b"<html>")
        world.ingest(key)
    listed = world.s3.list_objects_v2(Bucket="output")["Contents"]
    assert [item["Key"] for item in listed] == [f"{stem}.mp4.error.json"]
    status = status_of(world, f"{stem}.mp4")
    assert (status["state"], status["paid"]) == ("REFUSED", False)
    assert status["clip"] == f"s3://input/{stem}.mp4"
    assert world.segmind.sent == []


@pytest.mark.parametrize(
    "key",
    [
        *(".mp4", ".json", ".png", "clip.mp4.job.json", "clip.mp4.error.json", "x.MP4"),
        "." + "x" * 1000,
    ],
)
def test_half_a_drop_with_an_odd_name_gets_one_status_file(world: World, key: str) -> None:
    world.drop(key, b"{}")
    for _ in range(2):
        world.ingest(key)
        world.clock.now += 600
    assert len(all_status_files(world)) == 1
    assert world.s3.list_objects_v2(Bucket="output")["KeyCount"] == 1


@pytest.mark.parametrize("field", ["prompt", CONTROLS])
def test_a_status_file_cannot_control_a_terminal_or_the_direction_of_writing(
    world: World, field: str
) -> None:
    world.drop("clip.mp4", b"<html>")
    fields = {field: f"Müller 映 🎬 {CONTROLS}", "nonsense": CONTROLS}
    world.drop("clip.json", json.dumps(fields).encode())
    world.ingest("clip.mp4")
    text = (world.read("clip.mp4.error.json") or b"").decode()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert json.loads(text)["state"] == "REFUSED"


def test_a_program_reads_the_same_text_from_a_status_file(world: World) -> None:
    status = {"prompt": f"Müller 映 🎬 {CONTROLS}", "cost": 0.6, "times": {"HELD": "now"}}
    world.app.output_bucket.put_status("a", status)
    text = (world.read("a") or b"").decode()
    assert json.loads(text) == status
    assert "Müller 映 🎬" in text


def test_a_sidecar_of_any_size_is_read_only_up_to_its_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    bucket = world.app.input_bucket
    read, open_file = bucket.read, bucket.open

    def counted_read(file: Any, offset: int, length: int) -> bytes:
        content: bytes = read(file, offset, length)
        lengths.append(len(content))
        return content

    def counted_open(key: str, max_bytes: int) -> Any:
        found = open_file(key, max_bytes)
        if found:
            lengths.append(len(found[1]))
        return found

    monkeypatch.setattr(bucket, "read", counted_read)
    monkeypatch.setattr(bucket, "open", counted_open)
    world.drop("clip.mp4", b"")
    world.drop("clip.json", b" " * 5_000_000)
    world.ingest("clip.mp4")
    world.ingest("clip.json")
    assert lengths == [MAX_JSON_BYTES + 1] * len(lengths)
    assert lengths
    assert "64 KB" in status_of(world, "clip.mp4")["message"]

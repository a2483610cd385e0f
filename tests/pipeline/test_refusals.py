"""Hostile and broken drops: each gets its reason, none is submitted, nothing lands in the dead-letter queue for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import media
from tests.stack import Stack

BROKEN_NOTES: dict[str, tuple[Any, str]] = {
    "unknown-field": ({"promt": "x"}, "promt"),
    "unknown-mode": ({"mode": "flex-2"}, "flex_2"),
    "wrong-type": ({"prompt": 7}, "prompt"),
    "not-an-object": (b"[1]", "not a JSON object"),
    "not-json": (b"{prompt: x}", "not JSON"),
    "empty": (b"", "not JSON"),
    "not-utf8": (b'{"prompt": "\xff"}', "UTF-8"),
    "surrogate": (b'{"prompt": "\\ud800"}', "UTF-8"),
    "twice": (b'{"mode": "flex_1", "mode": "flex_2"}', "twice"),
    "nan": (b'{"rerun": NaN}', "not JSON"),
    "huge-number": (b'{"rerun": 1' + b"0" * 5000 + b"}", "not JSON"),
    "deep": (b"[" * 30000 + b"]" * 30000, "not JSON"),
    "too-large": (json.dumps({"prompt": "x" * 70000}).encode(), "64 KB"),
    "path-up": ({"first_frame": "../look.png"}, "first_frame"),
    "path-down": ({"first_frame": "a/look.png"}, "first_frame"),
    "frame-twice": ({"first_frame": "a.png", "first_frame_url": "https://example.com/a.png"}, "together"),
    "frame-http": ({"first_frame_url": "http://example.com/a.png"}, "first_frame_url"),
    "rerun-zero": ({"rerun": 0}, "rerun"),
    "rerun-true": ({"rerun": True}, "rerun"),
}


@pytest.fixture(scope="module")
def broken_clips(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> dict[str, tuple[bytes, str]]:
    folder = tmp_path_factory.mktemp("broken")
    whole = clip.read_bytes()
    long = media.ffmpeg(folder / "long.mp4", "-f", "lavfi", "-i", "color=size=16x16:rate=1:duration=31")
    sound = media.ffmpeg(folder / "sound.mp4", "-f", "lavfi", "-i", "sine=duration=1")
    return {
        "nothing": (b"", "empty"),
        "text": (b"this is a text, whatever its name says", "not an MP4"),
        "cut-off": (whole[: len(whole) // 2], "header is damaged"),
        "too-long": (long.read_bytes(), "31.0 s"),
        "no-picture": (sound.read_bytes(), "no video track"),
        "too-big": (whole + bytes(101_000_000), "100 MB"),
    }


def test_broken_sidecars_and_clips(pipeline: Stack, clip: Path, broken_clips: dict[str, tuple[bytes, str]]) -> None:
    for name, (note, _) in BROKEN_NOTES.items():
        pipeline.drop(f"refused/{name}.mp4", clip)
        pipeline.drop(f"refused/{name}.json", note)
    for name, (body, _) in broken_clips.items():
        pipeline.drop(f"refused/{name}.mp4", body)
        pipeline.drop(f"refused/{name}.json", {})
    expected = {name: reason for name, (_, reason) in (BROKEN_NOTES | broken_clips).items()}
    for name, reason in expected.items():
        answer = pipeline.until(f"refused/{name}.mp4", "REFUSED", "FAILED", "RENDERING", "DELIVERED")
        assert answer["state"] == "REFUSED", (name, answer)
        assert reason in json.dumps(answer), (name, answer)
        assert answer["do_now"]
        assert answer["paid"] is False
    pipeline.quiet()
    assert pipeline.submitted("refused/") == []
    assert pipeline.dead_letters() == 0


def test_a_first_frame_that_is_no_image(pipeline: Stack, clip: Path) -> None:
    pipeline.drop("noimage/look.png", b"GIF89a is not taken")
    pipeline.drop("noimage/clip.json", {"first_frame": "look.png"})
    pipeline.drop("noimage/clip.mp4", clip)
    assert "not a PNG" in pipeline.until("noimage/clip.mp4", "REFUSED")["message"]


def test_things_that_are_no_job_are_answered_too(pipeline: Stack) -> None:
    for name in ("film.mov", "notes.txt", "no-suffix", "film.mp4.zip"):
        pipeline.drop(f"stray/{name}", b"something")
    pipeline.drop("stray/folder/", b"")
    pipeline.drop("stray/" + "x" * 1010 + ".txt", b"a key as long as S3 allows")
    assert "MP4" in pipeline.until("stray/film.mov", "REFUSED")["message"]
    for name in ("notes.txt", "no-suffix", "film.mp4.zip"):
        pipeline.until(f"stray/{name}", "REFUSED")
    pipeline.quiet()
    listed = pipeline.s3.list_objects_v2(Bucket=pipeline.output, Prefix="stray/")["Contents"]
    assert not [item["Key"] for item in listed if "folder" in item["Key"]]
    assert [item["Key"] for item in listed if "xxx" in item["Key"]]
    assert pipeline.dead_letters() == 0


def test_lone_halves_wait_visibly_until_their_other_half_comes(pipeline: Stack, clip: Path, look: Path) -> None:
    pipeline.drop("lone/video.mp4", clip)
    pipeline.drop("lone/note.json", {"prompt": "x"})
    pipeline.drop("lone/broken.json", b"{")
    pipeline.drop("lone/look.png", look)
    assert "lone/video.json" in pipeline.until("lone/video.mp4", "WAITING")["message"]
    assert "not JSON" in pipeline.until("lone/broken.json", "REFUSED")["message"]
    pipeline.quiet()
    assert pipeline.answer("lone/note.json") is None
    for name in ("note.json", "look.png"):
        pipeline.age(f"place#{pipeline.input}/lone/{name}", at=0, since="2020-01-01T00:00:00+00:00")
    pipeline.sweep()
    assert "lone/note.mp4" in pipeline.until("lone/note.json", "WAITING")["message"]
    assert "first_frame" in pipeline.until("lone/look.png", "WAITING")["message"]
    pipeline.drop("lone/note.mp4", clip)
    pipeline.drop("lone/broken.mp4", clip)
    pipeline.drop("lone/video.json", {"first_frame": "look.png"})
    pipeline.until("lone/note.mp4", "DELIVERED")
    pipeline.until("lone/broken.mp4", "REFUSED")
    pipeline.until("lone/video.mp4", "DELIVERED")
    for name in ("note.json", "broken.json", "look.png"):
        assert pipeline.answer(f"lone/{name}") is None, name

"""Hostile and broken drops: each gets its reason, none is submitted or ends as a dead letter."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import media
from tests.support.stack import Stack

# Name, content, and what the refusal says.
BROKEN_SIDECARS: dict[str, tuple[Any, str]] = {
    "unknown-field": ({"promt": "x"}, "promt"),
    "unknown-mode": ({"mode": "flex-2"}, "flex_2"),
    "wrong-type": ({"prompt": 7}, "prompt"),
    "not-an-object": (b"[1]", "not a JSON object"),
    "not-json": (b"{prompt: x}", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "not-utf8": (b'{"prompt": "\xff"}', "UTF-8"),
    "surrogate": (b'{"prompt": "\\ud800"}', "UTF-8"),
    "twice": (b'{"mode": "flex_1", "mode": "flex_2"}', "twice"),
    "nan": (b'{"rerun": NaN}', "not valid JSON"),
    "huge-number": (b'{"rerun": 1' + b"0" * 5000 + b"}", "not valid JSON"),
    "deep": (b"[" * 30000 + b"]" * 30000, "not valid JSON"),
    "too-large": (json.dumps({"prompt": "x" * 70000}).encode(), "64 KB"),
    "path-up": ({"first_frame": "../look.png"}, "first_frame"),
    "path-down": ({"first_frame": "a/look.png"}, "first_frame"),
    "frame-twice": (
        {"first_frame": "a.png", "first_frame_url": "https://example.com/a.png"},
        "together",
    ),
    "frame-http": ({"first_frame_url": "http://example.com/a.png"}, "first_frame_url"),
    "rerun-zero": ({"rerun": 0}, "rerun"),
    "rerun-true": ({"rerun": True}, "rerun"),
}


@pytest.fixture(scope="module")
def broken_clips(
    tmp_path_factory: pytest.TempPathFactory, clip: Path
) -> dict[str, tuple[bytes, str]]:
    """Clips that are refused, and what the refusal says."""
    folder = tmp_path_factory.mktemp("broken")
    whole = clip.read_bytes()
    source = "color=size=64x64:rate=1:duration=31"
    long = media.ffmpeg(folder / "long.mp4", "-f", "lavfi", "-i", source)
    sound = media.ffmpeg(folder / "sound.mp4", "-f", "lavfi", "-i", "sine=duration=1")
    return {
        "nothing": (b"", "empty"),
        "text": (b"this is a text, whatever its name says", "not a video"),
        "cut-off": (whole[: len(whole) // 2], "is damaged"),
        "too-long": (long.read_bytes(), "31.0 s"),
        "no-picture": (sound.read_bytes(), "no picture"),
    }


def test_broken_sidecars_and_clips_are_refused_with_a_reason(
    pipeline: Stack, clip: Path, broken_clips: dict[str, tuple[bytes, str]]
) -> None:
    for name, (sidecar, _) in BROKEN_SIDECARS.items():
        pipeline.drop(f"refused/{name}.mp4", clip)
        pipeline.drop(f"refused/{name}.json", sidecar)
    for name, (body, _) in broken_clips.items():
        pipeline.drop(f"refused/{name}.mp4", body)
        pipeline.drop(f"refused/{name}.json", {})
    broken = BROKEN_SIDECARS | broken_clips
    for name, (_, reason) in broken.items():
        states = ("REFUSED", "FAILED", "RENDERING", "DELIVERED")
        status = pipeline.until(f"refused/{name}.mp4", *states)
        assert status["state"] == "REFUSED", (name, status)
        assert reason in json.dumps(status), (name, status)
        assert status["do_now"]
        assert status["paid"] is False
    pipeline.until_drained()
    assert pipeline.submitted("refused/") == []
    assert pipeline.dead_letters() == 0


def test_a_first_frame_that_is_not_an_image_is_refused(pipeline: Stack, clip: Path) -> None:
    pipeline.drop("noimage/look.png", b"GIF89a is not supported")
    pipeline.drop("noimage/clip.json", {"first_frame": "look.png"})
    pipeline.drop("noimage/clip.mp4", clip)
    assert "not a PNG" in pipeline.until("noimage/clip.mp4", "REFUSED")["message"]


def test_files_that_cannot_be_part_of_a_job_are_refused_visibly(pipeline: Stack) -> None:
    for name in ("film.mxf", "notes.txt", "no-suffix", "film.mp4.zip"):
        pipeline.drop(f"stray/{name}", b"something")
    pipeline.drop("stray/folder/", b"")
    pipeline.drop("stray/" + "x" * 1010 + ".txt", b"a key as long as S3 allows")
    for name in ("film.mxf", "notes.txt", "no-suffix", "film.mp4.zip"):
        pipeline.until(f"stray/{name}", "REFUSED")
    pipeline.until_drained()
    listed = pipeline.s3.list_objects_v2(Bucket=pipeline.output, Prefix="stray/")["Contents"]
    keys = [item["Key"] for item in listed]
    assert not [key for key in keys if "folder" in key]
    assert [key for key in keys if "xxx" in key]
    assert pipeline.dead_letters() == 0


def test_a_lone_file_waits_visibly_until_the_others_come(
    pipeline: Stack, clip: Path, look: Path
) -> None:
    pipeline.drop("lone/clip.mp4", clip)
    pipeline.drop("lone/sidecar.json", {"prompt": "x"})
    pipeline.drop("lone/broken.json", b"{")
    pipeline.drop("lone/look.png", look)
    assert "lone/clip.json" in pipeline.until("lone/clip.mp4", "WAITING")["message"]
    assert "not valid JSON" in pipeline.until("lone/broken.json", "REFUSED")["message"]
    pipeline.until_drained()
    assert pipeline.status("lone/sidecar.json") is None

    for name in ("sidecar.json", "look.png"):
        record = f"input#{pipeline.input}/lone/{name}"
        pipeline.age(record, follow_up_at=0, waiting_since="2020-01-01T00:00:00+00:00")
    pipeline.sweep()
    assert "lone/sidecar.mp4" in pipeline.until("lone/sidecar.json", "WAITING")["message"]
    assert "first_frame" in pipeline.until("lone/look.png", "WAITING")["message"]

    pipeline.drop("lone/sidecar.mp4", clip)
    pipeline.drop("lone/broken.mp4", clip)
    pipeline.drop("lone/clip.json", {"first_frame": "look.png"})
    pipeline.until("lone/sidecar.mp4", "DELIVERED")
    pipeline.until("lone/broken.mp4", "REFUSED")
    pipeline.until("lone/clip.mp4", "DELIVERED")
    for name in ("sidecar.json", "broken.json", "look.png"):
        assert pipeline.status(f"lone/{name}") is None, name

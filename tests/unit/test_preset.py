"""What a preset fills in for the clips of its folder."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain import sidecar
from retake.domain.input_files import Drop, FileKind, InputFile, job_id, kind_of, preset_key
from retake.domain.preset import SCHEMA, merge, parse
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from tests.support.strategies import MODES, SIDECARS, TEXT

FRAMES = st.sampled_from(["look.png", "{name}.png", "look of {name}, {name}.JPG"])
PRESETS = st.fixed_dictionaries(
    {},
    optional={
        "prompt": TEXT,
        "mode": st.sampled_from(MODES),
        "first_frame": FRAMES,
        "$schema": TEXT,
    },
)


def file(key: str) -> InputFile:
    return InputFile(key, "e", 1, datetime(2026, 1, 1, tzinfo=UTC), "v")


def accepted(fields: dict[str, Any]) -> dict[str, Any]:
    assert parse(json.dumps(fields).encode()) == fields
    return fields


def test_a_preset_is_recognized_by_its_name_in_any_folder() -> None:
    assert kind_of("_retake.json") is kind_of("a/_Retake.JSON") is FileKind.PRESET
    assert kind_of("_retake.mp4") is FileKind.CLIP
    assert kind_of("retake.json") is FileKind.SIDECAR
    assert preset_key("a/b/clip.mp4") == "a/b/_retake.json"
    assert preset_key("clip.mp4") == "_retake.json"


def test_a_preset_shares_its_field_definitions_with_the_sidecar() -> None:
    for name in ("prompt", "mode", "$schema"):
        assert SCHEMA["properties"][name] == sidecar.SCHEMA["properties"][name]


@given(SIDECARS, PRESETS)
def test_a_sidecar_overrides_the_preset_which_fills_in_the_rest(
    own: dict[str, Any], preset: dict[str, Any]
) -> None:
    filled = dict(accepted(preset))
    if "first_frame" in filled:
        filled["first_frame"] = filled["first_frame"].replace("{name}", "clip.v1")
    expected = sidecar.parse(json.dumps(filled | own).encode())
    assert merge(own, preset, "a/clip.v1.mp4") == expected


@given(SIDECARS, PRESETS)
def test_equal_instructions_are_the_same_job_wherever_they_come_from(
    own: dict[str, Any], preset: dict[str, Any]
) -> None:
    clip = file("a/clip.mp4")
    merged = merge(own, preset, clip.key)
    assert isinstance(merged, Sidecar)
    written = sidecar.parse(merged.canonical().encode())
    assert isinstance(written, Sidecar)
    with_sidecar = Drop("bucket", clip, file("a/clip.json"))
    assert job_id(Drop("bucket", clip), merged) == job_id(with_sidecar, written)


def test_an_empty_prompt_or_the_default_mode_overrides_the_preset_too() -> None:
    preset = {"prompt": "ink", "mode": "flex_1"}
    assert merge({"prompt": ""}, preset, "clip.mp4") == Sidecar(mode="flex_1")
    assert merge({"mode": "adhere_1"}, preset, "clip.mp4") == Sidecar(prompt="ink")


def test_the_url_in_a_sidecar_replaces_the_first_frame_of_the_preset() -> None:
    own, preset = {"first_frame_url": "https://x/y.png"}, {"first_frame": "{name}.png"}
    assert merge(own, preset, "clip.mp4") == Sidecar(first_frame_url="https://x/y.png")


@pytest.mark.parametrize(
    "frame",
    [
        "{nam}.png",
        "{}.png",
        "{name.png",
        "name}.png",
        "{{name}}.png",
        "{name}",
        "a/{name}.png",
        "../{name}.png",
        "{name}.gif",
        "{Name}.png",
    ],
)
def test_an_invalid_first_frame_pattern_is_refused(frame: str) -> None:
    refusal = parse(json.dumps({"first_frame": frame}).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.field == "first_frame"
    assert "{name}" in refusal.cure


@pytest.mark.parametrize("key", ["a\\b.mp4", "a\nb.mp4", "x" * 252 + ".mp4"])
def test_a_clip_whose_name_makes_no_valid_first_frame_is_refused(key: str) -> None:
    preset = {"first_frame": "{name}.png"}
    refusal = merge({}, preset, key)
    assert isinstance(refusal, Refusal)
    assert refusal.field == "first_frame"
    assert isinstance(merge({"first_frame": "look.png"}, preset, key), Sidecar)


@pytest.mark.parametrize("name", ["rerun", "first_frame_url"])
def test_a_field_that_applies_to_one_clip_is_refused_with_a_hint(name: str) -> None:
    refusal = parse(json.dumps({name: 1}).encode())
    assert isinstance(refusal, Refusal)
    assert "the clip's own sidecar" in refusal.cure
    assert "prompt, mode, size, sound, daily_usd, first_frame" in refusal.cure


def test_a_preset_is_read_as_strictly_as_a_sidecar() -> None:
    for raw in (
        b"",
        b"[]",
        b'{"mode": "no"}',
        b'{"mode": "flex_1", "mode": "flex_1"}',
        b"\xff",
        b" " * 65537,
        b'{"promt": ""}',
    ):
        refusal = parse(raw)
        assert isinstance(refusal, Refusal), raw
        assert "sidecar" not in refusal.reason
    assert parse(b"\xef\xbb\xbf{}") == {}

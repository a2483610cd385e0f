"""What a preset gives to the clips of its folder, by the rules alone."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.rules import drop, sidecar
from retake.rules.drop import Drop, File, Kind
from retake.rules.preset import FORM, GRACE, SCHEMA, Preset, Waits, decide, key_for, merge, parse
from retake.rules.refusal import Refusal
from retake.rules.sidecar import Sidecar

from .test_sidecar import MODES, NOTES, TEXT

THEN = 1_800_000_000
FRAMES = st.sampled_from(["look.png", "{name}.png", "look of {name}, {name}.JPG"])
PRESETS = st.fixed_dictionaries({}, optional={"prompt": TEXT, "mode": st.sampled_from(MODES), "first_frame": FRAMES, "$schema": TEXT})


def file(key: str, at: float = THEN) -> File:
    return File(key, "e", 1, datetime.fromtimestamp(at, UTC), "v")


def accepted(fields: dict[str, Any]) -> dict[str, Any]:
    read = parse(json.dumps(fields).encode())
    assert read == fields
    return fields


def test_a_preset_is_known_by_its_name_in_any_folder() -> None:
    assert [drop.kind(key) for key in ("_retake.json", "a/_Retake.JSON", "_retake.mp4")] == [Kind.PRESET, Kind.PRESET, Kind.VIDEO]
    assert drop.kind("retake.json") is Kind.SIDECAR
    assert (key_for("a/b/clip.mp4"), key_for("clip.mp4")) == ("a/b/_retake.json", "_retake.json")


def test_its_fields_are_those_of_the_sidecar() -> None:
    assert {name: SCHEMA["properties"][name] for name in ("prompt", "mode", "$schema")} == {
        name: sidecar.SCHEMA["properties"][name] for name in ("prompt", "mode", "$schema")
    }


@given(NOTES, PRESETS)
def test_what_a_sidecar_states_wins_and_the_rest_is_filled_in(own: dict[str, Any], preset: dict[str, Any]) -> None:
    filled = {name: value.replace("{name}", "clip.v1") if name == "first_frame" else value for name, value in accepted(preset).items()}
    assert merge(own, preset, "a/clip.v1.mp4") == sidecar.parse(json.dumps(filled | own).encode())


@given(NOTES, PRESETS)
def test_the_same_note_is_the_same_job_wherever_it_came_from(own: dict[str, Any], preset: dict[str, Any]) -> None:
    clip = Drop("bucket", file("a/clip.mp4"))
    note = merge(own, preset, clip.video.key)
    assert isinstance(note, Sidecar)
    written = sidecar.parse(note.canonical().encode())
    assert isinstance(written, Sidecar)
    assert drop.job_id(clip, note) == drop.job_id(Drop("bucket", clip.video, file("a/clip.json")), written)


def test_an_empty_prompt_is_a_word_too() -> None:
    assert merge({"prompt": ""}, {"prompt": "ink", "mode": "flex_1"}, "clip.mp4") == Sidecar(mode="flex_1")
    assert merge({"mode": "adhere_1"}, {"prompt": "ink", "mode": "flex_1"}, "clip.mp4") == Sidecar(prompt="ink")


def test_a_sidecars_address_shuts_out_the_presets_first_frame() -> None:
    note = merge({"first_frame_url": "https://x/y.png"}, {"first_frame": "{name}.png"}, "clip.mp4")
    assert note == Sidecar(first_frame_url="https://x/y.png")


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
def test_a_pattern_that_means_nothing_is_refused(frame: str) -> None:
    refusal = parse(json.dumps({"first_frame": frame}).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.field == "first_frame"
    assert "{name}" in refusal.cure


@pytest.mark.parametrize("key", ["a\\b.mp4", "a\nb.mp4", "x" * 252 + ".mp4"])
def test_a_name_that_makes_no_first_frame_refuses_the_clip(key: str) -> None:
    refusal = merge({}, {"first_frame": "{name}.png"}, key)
    assert isinstance(refusal, Refusal)
    assert refusal.field == "first_frame"
    assert isinstance(merge({"first_frame": "look.png"}, {"first_frame": "{name}.png"}, key), Sidecar)


@pytest.mark.parametrize("name", ["rerun", "first_frame_url"])
def test_what_is_for_one_clip_is_sent_to_its_sidecar(name: str) -> None:
    refusal = parse(json.dumps({name: 1}).encode())
    assert isinstance(refusal, Refusal)
    assert "the clip's own sidecar" in refusal.cure
    assert "prompt, mode, first_frame" in refusal.cure


def test_a_preset_is_read_as_strictly_as_a_sidecar() -> None:
    for raw in (b"", b"[]", b'{"mode": "no"}', b'{"mode": "flex_1", "mode": "flex_1"}', b"\xff", b" " * 65537, b'{"promt": ""}'):
        refusal = parse(raw)
        assert isinstance(refusal, Refusal), raw
        assert "sidecar" not in refusal.reason
    assert parse(b"\xef\xbb\xbf{}") == {}


def preset(at: float = THEN, states: Any = None) -> Preset:
    return Preset(file("a/_retake.json", at), {"prompt": "ink"} if states is None else states)


@pytest.mark.parametrize(("clip", "since", "dropped"), [(0, 0, 0), (0, 9, 0), (0, 0, 9), (9, 0, 0), (0.0, 8.1, 5)])
def test_a_clip_without_a_sidecar_waits_for_it_from_the_latest_of_its_times(clip: float, since: float, dropped: float) -> None:
    asked = (file("a/c.mp4", THEN + clip), None, preset(THEN + dropped), THEN + since)
    waits = decide(*asked, now=THEN + 9)
    start = THEN + (9 if 9 in (clip, since, dropped) or since == 8.1 else 0) + GRACE
    assert isinstance(waits, Waits)
    assert waits.until == start
    assert "a/_retake.json" in waits.why
    assert "a/c.json" in waits.why
    assert decide(*asked, now=start) == Sidecar(prompt="ink")


def test_only_a_clip_without_a_sidecar_waits_for_one() -> None:
    clip = file("a/c.mp4")
    assert decide(clip, {}, preset(), THEN, THEN) == Sidecar(prompt="ink")
    assert decide(clip, {}, None, THEN, THEN) == Sidecar()
    alone = decide(clip, None, None, THEN, THEN + 9999)
    assert isinstance(alone, Waits)
    assert alone.until is None
    assert "a/c.json" in alone.why


@pytest.mark.parametrize("own", [None, {}, {"prompt": "own", "mode": "flex_1"}])
def test_nothing_starts_beside_a_broken_preset(own: Any) -> None:
    refusal = FORM.check({"mode": "no"})
    waits = decide(file("a/c.mp4"), own, preset(states=refusal), THEN, THEN + 9999)
    assert isinstance(waits, Waits)
    assert waits.until is None
    assert "a/_retake.json" in waits.why
    assert "choose one of" in waits.why

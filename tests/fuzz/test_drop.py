"""Keys that play tricks: each is something, stays in its place, and its outputs collide with nothing."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.rules import drop
from retake.rules.drop import Kind
from retake.rules.sidecar import Sidecar, parse

from . import fuzz

JOB = "0123456789abcdef" * 2
PIECES = st.sampled_from(
    [
        "..", ".", "/", "//", "../", "clip", ".mp4", ".MP4", ".json", ".JSON", ".png", ".job", ".error", ".job.json", ".error.json", ".mov",
        drop.STAGING, ".retake", JOB, ".01234567", "~", "\0", "\n", "\x1b[2J", "\u202e", "\ufeff", "🎬", "é",
         "e\u0301", "İ", "K", "%2e%2e%2f", "+", " ",
        "\\", "s3://", "place#", "x" * 300, "映" * 100,
    ]
)  # fmt: skip
KEYS = st.lists(PIECES, min_size=1, max_size=9).map(lambda pieces: "".join(pieces).encode()[:1024].decode(errors="ignore")).filter(bool)


@fuzz
@given(KEYS)
@example(".mp4")
@example(".json")
@example("/.MP4")
@example("clip.mp4.job.json")
@example("x" * 1020 + ".mp4")
@example("." + "x" * 1020)
def test_any_key_is_something_and_has_names_that_s3_can_hold(key: str) -> None:
    assert isinstance(drop.kind(key), Kind)
    assert drop.refuse_by_name(key).reason
    assert key.startswith(drop.stem(key))
    side = drop.side_key(key, JOB)
    names = [drop.answer_key(name, suffix) for name in (key, side) for suffix in (".job.json", ".error.json")]
    if drop.kind(key) in (Kind.VIDEO, Kind.IMAGE):
        staged = drop.staged_key(key, JOB)
        assert staged.startswith(f"{drop.STAGING}{JOB}/")
        assert drop.kind(staged) is Kind.IGNORED
        assert not drop.needs_copy(staged)
        names += [side, staged]
    assert all(0 < len(name.encode()) <= drop.KEY_BYTES for name in names)


@fuzz
@given(KEYS, KEYS)
def test_no_answer_is_named_like_another_objects_answer_or_like_a_result(one: str, other: str) -> None:
    if one == other:
        return
    for suffix in (".job.json", ".error.json"):
        assert drop.answer_key(one, suffix) != drop.answer_key(other, suffix)
        assert drop.kind(drop.answer_key(one, suffix)) is not Kind.VIDEO
    assert drop.answer_key(one, ".job.json") != drop.answer_key(other, ".error.json")
    assert drop.side_key(one, JOB) != drop.side_key(other, JOB)


@fuzz
@given(KEYS, st.lists(PIECES, max_size=5).map("".join))
@example("a/clip.mp4", "..")
@example("a/clip.mp4", "../x")
def test_a_first_frame_that_is_accepted_lies_in_the_folder_of_its_clip(key: str, name: str) -> None:
    note: Any = parse(json.dumps({"first_frame": f"{name}.png"}).encode())
    if isinstance(note, Sidecar) and note.first_frame:
        beside = drop.beside(key, note.first_frame)
        assert beside.rpartition("/")[0] == key.rpartition("/")[0]
        assert beside.rpartition("/")[2] not in ("", ".", "..")
        assert drop.kind(beside) in (Kind.IMAGE, Kind.IGNORED)


@pytest.mark.parametrize("key", ["clip.mp4/", "a//", ".retake/x.mp4", f".retake/{JOB}/clip.mp4"])
def test_folders_and_our_own_copies_are_no_drops(key: str) -> None:
    assert drop.kind(key) is Kind.IGNORED

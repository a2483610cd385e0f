"""Any bytes as a preset, for any clip: fields that keep the contract and make a note that does, or a short refusal."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.rules import drop, preset, sidecar
from retake.rules.form import MAX_BYTES
from retake.rules.refusal import Refusal

from . import fuzz
from .test_drop import KEYS
from .test_sidecar import PAIRS, TEXTS

FIELDS = sorted(preset.SCHEMA["properties"])
PIECES = st.sampled_from(
    ["{name}", "{", "}", "{{", "name", "{NAME}", "{0}", "{name!r}", "{name.__class__}", "%s", "$name", "/", "\\", "..", "é"]
)
FRAMES = st.lists(PIECES, max_size=6).map(lambda pieces: "".join(pieces) + ".png")


def short(refusal: Refusal) -> None:
    assert 0 < len(refusal.reason) < 500
    assert 0 < len(refusal.cure) < 500
    assert len(refusal.field or "") <= 100
    json.dumps(vars(refusal), ensure_ascii=False).encode()


def taken_or_refused(raw: bytes, key: str) -> None:
    read = preset.parse(raw)
    if isinstance(read, Refusal):
        short(read)
        return
    assert read.keys() <= set(FIELDS)
    note = preset.merge({}, read, key)
    if isinstance(note, Refusal):
        short(note)
        return
    said = json.loads(note.canonical())
    assert sidecar.FORM.check(said) is None
    assert sidecar.note(said) == note
    if note.first_frame:
        beside = drop.beside(key, note.first_frame)
        assert beside.rpartition("/")[0] == key.rpartition("/")[0]
        assert beside.rpartition("/")[2] not in ("", ".", "..")


@fuzz
@given(st.binary() | TEXTS, KEYS)
@example(b'{"first_frame": "{name}.png"}', "a/..mp4")
@example(b'{"first_frame": "{name}.png"}', "a/.mp4")
def test_any_bytes_make_a_note_or_a_short_refusal(raw: bytes, key: str) -> None:
    taken_or_refused(raw, key)


@fuzz
@given(FRAMES, KEYS)
def test_any_pattern_stays_in_its_folder_or_is_refused(frame: str, key: str) -> None:
    taken_or_refused(json.dumps({"first_frame": frame}).encode(), key)


@fuzz
@given(st.sampled_from(FIELDS), st.sampled_from(["{name}", "{", "x", "{name", "🎬", "\\u0000", "[", '{"":']), st.booleans())
def test_64_kilobytes_of_one_field_make_a_note_or_a_short_refusal(name: str, sign: str, quoted: bool) -> None:
    many = sign * ((MAX_BYTES - len(name) - 20) // len(sign.encode()))
    raw = f'{{"{name}":"{many}.png"}}' if quoted else f'{{"{name}":{many}}}'
    taken_or_refused(raw.encode()[:MAX_BYTES], "clip.mp4")


@fuzz
@given(PAIRS, st.sampled_from([*FIELDS, "rerun", "first_frame_url"]))
def test_a_field_that_stands_twice_is_never_taken(pairs: list[tuple[str, str]], name: str) -> None:
    twice = [(f'"{name}"', '"a.png"'), *pairs, (f'"{name}"', '"a.png"')]
    raw = "{" + ",".join(f"{field}:{value}" for field, value in twice) + "}"
    assert isinstance(preset.parse(raw.encode("utf-8", "ignore")), Refusal)


@pytest.mark.parametrize("name", [*FIELDS, "rerun", "x"])
def test_nesting_of_any_depth_is_refused(name: str) -> None:
    for depth in (1, 1000, 30_000):
        assert isinstance(preset.parse(f'{{"{name}":{"[" * depth}'.encode()), Refusal)

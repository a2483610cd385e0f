"""Any bytes as a preset of any clip: valid fields and instructions, or a short refusal."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.domain import preset, sidecar
from retake.domain.input_files import beside
from retake.domain.limits import MAX_JSON_BYTES
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from tests.support.strategies import JSON_FILES, JSON_PAIRS, OBJECT_KEYS

from . import fuzz

FIELDS = sorted(preset.SCHEMA["properties"])
PATTERN_PIECES = st.sampled_from(
    [
        *("{name}", "{", "}", "{{", "name", "{NAME}", "{0}", "{name!r}", "{name.__class__}"),
        *("%s", "$name", "/", "\\", "..", "é"),
    ]
)
PATTERNS = st.lists(PATTERN_PIECES, max_size=6).map(lambda pieces: "".join(pieces) + ".png")


def check_refusal(refusal: Refusal) -> None:
    assert 0 < len(refusal.reason) < 500
    assert 0 < len(refusal.cure) < 500
    assert len(refusal.field or "") <= 100
    json.dumps(vars(refusal), ensure_ascii=False).encode()


def check_parsed(raw: bytes, clip_key: str) -> None:
    """Check that a preset is accepted with valid instructions, or refused briefly."""
    fields = preset.parse(raw)
    if isinstance(fields, Refusal):
        check_refusal(fields)
        return
    assert fields.keys() <= set(FIELDS)
    merged = preset.merge({}, fields, clip_key)
    if isinstance(merged, Refusal):
        check_refusal(merged)
        return
    written = json.loads(merged.canonical())
    assert sidecar.FORM.check(written) is None
    assert Sidecar.from_fields(written) == merged
    if merged.first_frame:
        frame_key = beside(clip_key, merged.first_frame)
        assert frame_key.rpartition("/")[0] == clip_key.rpartition("/")[0]
        assert frame_key.rpartition("/")[2] not in ("", ".", "..")


@fuzz
@given(st.binary() | JSON_FILES, OBJECT_KEYS)
@example(b'{"first_frame": "{name}.png"}', "a/..mp4")
@example(b'{"first_frame": "{name}.png"}', "a/.mp4")
def test_any_bytes_give_instructions_or_a_short_refusal(raw: bytes, key: str) -> None:
    check_parsed(raw, key)


@fuzz
@given(PATTERNS, OBJECT_KEYS)
def test_any_pattern_stays_in_its_folder_or_is_refused(pattern: str, key: str) -> None:
    check_parsed(json.dumps({"first_frame": pattern}).encode(), key)


@fuzz
@given(
    st.sampled_from(FIELDS),
    st.sampled_from(["{name}", "{", "x", "{name", "🎬", "\\u0000", "[", '{"":']),
    st.booleans(),
)
def test_64_kilobytes_of_one_field_give_instructions_or_a_short_refusal(
    name: str, piece: str, quoted: bool
) -> None:
    many = piece * ((MAX_JSON_BYTES - len(name) - 20) // len(piece.encode()))
    raw = f'{{"{name}":"{many}.png"}}' if quoted else f'{{"{name}":{many}}}'
    check_parsed(raw.encode()[:MAX_JSON_BYTES], "clip.mp4")


@fuzz
@given(JSON_PAIRS, st.sampled_from([*FIELDS, "rerun", "first_frame_url"]))
def test_a_duplicate_field_is_always_refused(pairs: list[tuple[str, str]], name: str) -> None:
    twice = [(f'"{name}"', '"a.png"'), *pairs, (f'"{name}"', '"a.png"')]
    raw = "{" + ",".join(f"{field}:{value}" for field, value in twice) + "}"
    assert isinstance(preset.parse(raw.encode("utf-8", "ignore")), Refusal)


@pytest.mark.parametrize("name", [*FIELDS, "rerun", "x"])
def test_nesting_of_any_depth_is_refused(name: str) -> None:
    for depth in (1, 1000, 30_000):
        assert isinstance(preset.parse(f'{{"{name}":{"[" * depth}'.encode()), Refusal)

"""Any bytes as a sidecar: valid instructions, or a short refusal that can be written to a file."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.domain.limits import MAX_JSON_BYTES
from retake.domain.refusal import Refusal
from retake.domain.sidecar import SCHEMA, Sidecar, parse
from tests.support.strategies import JSON_FILES, JSON_PAIRS, SIDECAR_FIELDS

from . import fuzz


def check_parsed(raw: bytes) -> Sidecar | Refusal:
    """Check that a sidecar is valid, or refused briefly, and return what it is."""
    parsed = parse(raw)
    json.dumps(vars(parsed), ensure_ascii=False).encode()
    if isinstance(parsed, Refusal):
        assert 0 < len(parsed.reason) < 500
        assert 0 < len(parsed.cure) < 500
        assert len(parsed.field or "") <= 100
        return parsed
    assert len(raw) > 60_000 or parse(parsed.canonical().encode()) == parsed
    assert Sidecar.from_fields(json.loads(parsed.canonical())) == parsed
    assert parsed.mode in SCHEMA["properties"]["mode"]["enum"]
    assert parsed.rerun is None or type(parsed.rerun) is int
    assert parsed.rerun is None or 1 <= parsed.rerun <= 1_000_000
    assert parsed.first_frame is None or not set("/\\\0\n") & set(parsed.first_frame)
    assert not (parsed.first_frame and parsed.first_frame_url)
    return parsed


@fuzz
@given(st.binary() | JSON_FILES)
@example(b"\xef\xbb\xbf\xef\xbb\xbf{}")
@example(b'{"prompt": "\xed\xa0\x80"}')
@example(b'{"first_frame_url": "https://[::1"}')
def test_any_bytes_give_a_sidecar_or_a_short_refusal(raw: bytes) -> None:
    check_parsed(raw)


@fuzz
@given(st.data())
def test_any_damage_to_a_valid_sidecar_gives_a_sidecar_or_a_short_refusal(
    data: st.DataObject,
) -> None:
    valid = {
        "prompt": "a 水彩 painting",
        "mode": "flex_2",
        "first_frame": "look.png",
        "rerun": 2,
        "$schema": "x",
    }
    raw = bytearray(json.dumps(valid, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"{", b"}", b",", b":"])
        )
    check_parsed(bytes(raw))


@fuzz
@given(
    st.sampled_from(SIDECAR_FIELDS),
    st.sampled_from(
        ["x", "9", ".", "/", " ", "\t", "\u202e", "🎬", "\\u0000", "\\ud800", '\\"', "[", '{"":']
    ),
    st.data(),
)
def test_64_kilobytes_of_one_field_give_a_sidecar_or_a_short_refusal(
    name: str, piece: str, data: st.DataObject
) -> None:
    room = MAX_JSON_BYTES - len(name) - 8
    many = piece * (room // len(piece.encode()))
    spellings = [many, f'"{many}"', f'"https://{many[:-12]}"', f'"{many[:-12]}.png"']
    value = data.draw(st.sampled_from(spellings))
    raw = f'{{"{name}":{value}}}'.encode()
    assert len(raw) <= MAX_JSON_BYTES + 8
    check_parsed(raw[:MAX_JSON_BYTES])


@fuzz
@given(
    st.sampled_from(SIDECAR_FIELDS),
    st.sampled_from([("[", "]"), ('{"a":', "}"), ('[{"":', "}]")]),
    st.integers(1, 30_000),
    st.booleans(),
)
def test_nesting_of_any_depth_is_refused(
    name: str, brackets: tuple[str, str], depth: int, closed: bool
) -> None:
    opening, closing = brackets
    end = f"1{closing * depth}}}" if closed else ""
    raw = f'{{"{name}":{opening * depth}{end}'
    assert isinstance(check_parsed(raw.encode()), Refusal)


@fuzz
@given(JSON_PAIRS, st.sampled_from(SIDECAR_FIELDS))
def test_a_duplicate_field_is_always_refused(pairs: list[tuple[str, str]], name: str) -> None:
    twice = [(f'"{name}"', "1"), *pairs, (f'"{name}"', "2")]
    raw = "{" + ",".join(f"{field}:{value}" for field, value in twice) + "}"
    assert isinstance(check_parsed(raw.encode("utf-8", "ignore")), Refusal)


@pytest.mark.parametrize("last", ["n0", "n7000", "other"])
def test_thousands_of_fields_are_refused_without_comparing_each_with_each(last: str) -> None:
    fields = ",".join(f'"n{number}":1' for number in [*range(5500), last[1:]])
    assert isinstance(check_parsed(f"{{{fields}}}".encode()), Refusal)

"""Any bytes as a sidecar: a note that keeps the contract, or a refusal that is short and can be written down."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.rules.refusal import Refusal
from retake.rules.sidecar import MAX_BYTES, SCHEMA, Sidecar, parse

from . import fuzz

FIELDS = sorted(SCHEMA["properties"])
ANY_TEXT = st.text(st.characters(), max_size=30)  # with lone surrogates, which JSON can spell
TRICKS = st.sampled_from(
    ["\u202egpj.exe", "\x1b[2J", "\0", "\x9b31m", "../../x.png", "..\\x.png", "a.png\n", "\ud800", "ﬁ.png", "https://h/\u202e", "K.png"]
)
NUMBERS = st.sampled_from(
    ["1e999", "-1e999", "1E-999", "9" * 4300, "9" * 4301, "-0", "0.0", "1e6", "1.0000000000000001", "01", "+1", ".5", "1."]
)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | TRICKS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
SPELLED = VALUES.map(json.dumps) | NUMBERS | st.sampled_from(["NaN", "Infinity", "-Infinity", "nul", "{", "[1,]", "'x'", "/**/1"])
NAMES = st.sampled_from(FIELDS) | ANY_TEXT | TRICKS
PAIRS = st.lists(st.tuples(NAMES.map(json.dumps), SPELLED), max_size=6)
OBJECTS = PAIRS.map(lambda pairs: "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}")
MARKS = st.sampled_from(["", "\ufeff", "\ufeff\ufeff", " \n", "\0"])
CODECS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp037"])
TEXTS = st.builds(lambda mark, text, codec: (mark + text).encode(codec, "ignore"), MARKS, OBJECTS, CODECS)


def note_or_refusal(raw: bytes) -> Sidecar | Refusal:
    read = parse(raw)
    if isinstance(read, Refusal):
        assert 0 < len(read.reason) < 500
        assert 0 < len(read.cure) < 500
        assert len(read.field or "") <= 100
        json.dumps(vars(read), ensure_ascii=False).encode()
        return read
    same = len(raw) > 60_000 or parse(read.canonical().encode()) == read
    assert same
    assert read.mode in SCHEMA["properties"]["mode"]["enum"]
    assert read.rerun is None or (type(read.rerun) is int and 1 <= read.rerun <= 1_000_000)
    assert read.first_frame is None or not set("/\\\0\n") & set(read.first_frame)
    assert not (read.first_frame and read.first_frame_url)
    json.dumps(vars(read), ensure_ascii=False).encode()
    return read


@fuzz
@given(st.binary() | TEXTS)
@example(b"\xef\xbb\xbf\xef\xbb\xbf{}")
@example(b'{"prompt": "\xed\xa0\x80"}')
@example(b'{"first_frame_url": "https://[::1"}')
def test_any_bytes_are_a_note_or_a_short_refusal(raw: bytes) -> None:
    note_or_refusal(raw)


@fuzz
@given(st.data())
def test_any_damage_to_a_good_note_is_a_note_or_a_short_refusal(data: st.DataObject) -> None:
    good = {"prompt": "a 水彩 painting", "mode": "flex_2", "first_frame": "look.png", "rerun": 2, "$schema": "x"}
    raw = bytearray(json.dumps(good, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"{", b"}", b",", b":"])
        )
    note_or_refusal(bytes(raw))


@fuzz
@given(
    st.sampled_from(FIELDS),
    st.sampled_from(["x", "9", ".", "/", " ", "\t", "\u202e", "🎬", "\\u0000", "\\ud800", '\\"', "[", '{"":']),
    st.data(),
)
def test_64_kilobytes_of_one_field_are_a_note_or_a_short_refusal(name: str, sign: str, data: st.DataObject) -> None:
    room = MAX_BYTES - len(name) - 8
    many = sign * (room // len(sign.encode()))
    value = data.draw(st.sampled_from([many, f'"{many}"', f'"https://{many[:-12]}"', f'"{many[:-12]}.png"']))
    raw = f'{{"{name}":{value}}}'.encode()
    assert len(raw) <= MAX_BYTES + 8
    note_or_refusal(raw[:MAX_BYTES])


@fuzz
@given(st.sampled_from(FIELDS), st.sampled_from(["[", '{"a":', '[{"":']), st.integers(1, 30_000), st.booleans())
def test_nesting_of_any_depth_is_refused(name: str, opening: str, depth: int, closed: bool) -> None:
    closing = opening.translate({ord("["): "]", ord("{"): "}", ord('"'): None, ord("a"): None, ord(":"): None})[::-1]
    raw = f'{{"{name}":{opening * depth}{"1" + closing * depth + "}" if closed else ""}'
    assert isinstance(note_or_refusal(raw.encode()), Refusal)


@fuzz
@given(PAIRS, st.sampled_from(FIELDS))
def test_a_field_that_stands_twice_is_never_taken(pairs: list[tuple[str, str]], name: str) -> None:
    twice = [(f'"{name}"', "1"), *pairs, (f'"{name}"', "2")]
    raw = "{" + ",".join(f"{field}:{value}" for field, value in twice) + "}"
    assert isinstance(note_or_refusal(raw.encode("utf-8", "ignore")), Refusal)


@pytest.mark.parametrize("last", ["n0", "n7000", "other"])
def test_thousands_of_fields_are_refused_without_comparing_each_with_each(last: str) -> None:
    fields = ",".join(f'"n{number}":1' for number in [*range(5500), last[1:]])
    assert isinstance(note_or_refusal(f"{{{fields}}}".encode()), Refusal)

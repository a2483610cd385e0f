"""The sidecar contract: any bytes give valid instructions or a refusal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain.limits import MAX_JSON_BYTES
from retake.domain.refusal import Refusal
from retake.domain.sidecar import SCHEMA, Sidecar, parse
from tests.support.strategies import MODES, SIDECARS

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from([*SCHEMA["properties"], "Prompt", "propmt", ""])


def refused(raw: bytes) -> Refusal:
    refusal = parse(raw)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.reason
    return refusal


def accepted(content: bytes | dict[str, Any]) -> Sidecar:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    sidecar = parse(raw)
    assert isinstance(sidecar, Sidecar), sidecar
    return sidecar


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_sidecar_or_a_refusal(raw: bytes) -> None:
    assert isinstance(parse(raw), Sidecar | Refusal)


@given(st.dictionaries(FIELDS, JSON))
def test_any_values_of_known_fields_give_a_sidecar_or_a_refusal(fields: dict[str, Any]) -> None:
    assert isinstance(parse(json.dumps(fields).encode()), Sidecar | Refusal)


@given(
    SIDECARS,
    st.randoms(),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_equal_instructions_in_any_spelling_have_the_same_canonical_text(
    fields: Any, random: Any, indent: Any, ascii_only: bool, byte_order_mark: bytes
) -> None:
    items = list(fields.items())
    random.shuffle(items)
    respelled = dict(items) | {"mode": fields.get("mode", "adhere_1"), "$schema": "x"}
    text = json.dumps(respelled, indent=indent, ensure_ascii=ascii_only)
    raw = byte_order_mark + text.encode()
    assert accepted(raw).canonical() == accepted(fields).canonical()


@given(SIDECARS, SIDECARS)
def test_different_instructions_have_different_canonical_texts(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    same_text = accepted(one).canonical() == accepted(other).canonical()
    assert same_text == (accepted(one) == accepted(other))


def test_every_mode_is_accepted_and_the_default_is_the_gentlest() -> None:
    assert [accepted({"mode": mode}).mode for mode in MODES] == MODES
    assert accepted({}).mode == "adhere_1"


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("Prompt", "prompt"),
        ("promt", "prompt"),
        ("first-frame", "first_frame"),
        ("re_run", "rerun"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_name(spelled: str, meant: str) -> None:
    refusal = refused(json.dumps({spelled: "x"}).encode())
    assert refusal.field == spelled
    assert f"did you mean {meant}?" in refusal.cure


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [("Adhere_1", "adhere_1"), ("flex2", "flex_2"), ("re-imagine_3", "reimagine_3")],
)
def test_an_unknown_mode_is_refused_with_the_nearest_known_one(spelled: str, meant: str) -> None:
    refusal = refused(json.dumps({"mode": spelled}).encode())
    assert f"did you mean {meant}?" in refusal.cure


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"[]",
        b"null",
        b'"prompt"',
        b"{",
        b"{'prompt': 'x'}",
        b'{"prompt": "x",}',
        b'{"prompt": "a", "prompt": "a"}',
        b'{"rerun": NaN}',
        b'{"rerun": Infinity}',
        b'{"rerun": 1e999}',
        b'{"rerun": ' + b"9" * 5000 + b"}",
        b'{"rerun": 1.5}',
        b'{"rerun": true}',
        b'{"rerun": 0}',
        b'{"rerun": 1000001}',
        b'{"rerun": "1"}',
        b'{"prompt": null}',
        b'{"prompt": ["x"]}',
        b'{"prompt": "\\ud800"}',
        b'{"mode": 1}',
        b'{"prompt": "\xff"}',
        '{"prompt": "x"}'.encode("utf-16"),
        b"[" * 60_000,
        b'{"mode":' * 9000,
        b'{"first_frame": "a.png", "first_frame_url": "https://a/b.png"}',
    ],
    ids=lambda raw: ascii(raw[:30]),
)
def test_what_the_contract_does_not_allow_is_refused(raw: bytes) -> None:
    refused(raw)


@pytest.mark.parametrize(
    "name",
    [
        *("../a.png", "a/b.png", "a\\b.png", "a\0.png", "a\n.png", "a.png\n", "/a.png", ".png"),
        *("a.gif", "a.mp4", "", "a\x7f.png"),
    ],
)
def test_a_first_frame_must_be_the_name_of_an_image_without_a_folder(name: str) -> None:
    assert refused(json.dumps({"first_frame": name}).encode()).field == "first_frame"


@pytest.mark.parametrize(
    "url",
    [
        *("http://a/b.png", "ftp://a", "https://", "https:///x", "https://u@h/x", "https://h/a b"),
        *("https://h/x\n", "x", "data:,x"),
    ],
)
def test_a_first_frame_url_must_be_an_https_url(url: str) -> None:
    assert refused(json.dumps({"first_frame_url": url}).encode()).field == "first_frame_url"


def test_a_first_frame_is_given_as_a_file_name_or_as_a_url() -> None:
    assert accepted({"first_frame": "Ein Bild.PNG"}).first_frame == "Ein Bild.PNG"
    url = "https://example.com/a.png?b#c"
    assert accepted({"first_frame_url": url}).first_frame_url == url


def test_a_whole_number_may_be_written_with_a_decimal_point() -> None:
    assert accepted(b'{"rerun": 2.0}').canonical() == accepted(b'{"rerun": 2}').canonical()


def test_an_empty_prompt_is_no_prompt() -> None:
    assert accepted({"prompt": ""}) == accepted({})


def test_64_kilobytes_are_accepted_and_one_byte_more_is_refused() -> None:
    raw = json.dumps({"prompt": "x"}).encode()
    assert accepted(raw.ljust(MAX_JSON_BYTES)) == accepted(raw)
    assert "64 KB" in refused(raw.ljust(MAX_JSON_BYTES + 1)).reason


def test_deep_nesting_is_refused_and_never_raises() -> None:
    for depth in range(900, 1000):
        refused(b'{"mode":' + b"[" * depth + b"]" * depth + b"}")


def test_a_refusal_can_always_be_written_to_a_file() -> None:
    refused(rb'{"\ud800": 1, "\ud800": 2}').reason.encode()


def test_a_refusal_stays_short_whatever_the_file_contains() -> None:
    name = b'"' + b"x" * 30_000 + b'": 1'
    assert len(refused(b"{" + name + b"," + name + b"}").reason) < 500

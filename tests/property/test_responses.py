"""Any response of Segmind: each reader returns one of its declared values, fit to be stored."""

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from math import isfinite
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.segmind.history import is_ours, read_page
from retake.segmind.responses import (
    Accepted,
    Ambiguous,
    Completed,
    Deferred,
    Failed,
    Found,
    Gone,
    Rejected,
    Response,
    Running,
    Unusable,
    read_history_row,
    read_result,
    read_status,
    read_submit,
    retry_after,
)

from . import fuzz

WORDS = st.sampled_from(
    [
        *("status", "request_id", "error", "error_description", "detail", "message", "msg", "loc"),
        *("metrics", "cost", "total_time", "output", "video", "videos", "video_url", "url"),
        *("generation_url", "model_status", "request_body", "prompt", "mode", "history"),
    ]
)
STRINGS = st.text(st.characters(), max_size=20) | st.sampled_from(
    [
        *("COMPLETED", "FAILED", "QUEUED", "failed", "r-1", "../../v1/x"),
        *("https://images.segmind.com/out.mp4", "https://h/\ud800.mp4", "https://h/\0.mp4"),
        *("https://h/\u202e4pm.exe", "http://169.254.169.254/", "https://[::1"),
        "https://h/" + "x" * 9000 + ".mp4",
        *("\x1b]0;x\a", "x" * 5000, " ", '["https://h/a.mp4"]', '"\\ud800"'),
    ]
)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**400), 1e308, 5e-324, 10**38, -0.0])
)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | NUMBERS | STRINGS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | STRINGS, inner, max_size=4)
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=6)
DEEP = st.builds(
    lambda word, opening, depth: f'{{"{word}":{opening * depth}',
    WORDS,
    st.sampled_from(["[", '{"url":', '{"loc":[']),
    st.integers(1, 3000),
)
DEEP_AND_CLOSED = st.builds(
    lambda word, depth: f'{{"status":"FAILED","{word}":{"[" * depth}1{"]" * depth}}}',
    WORDS,
    st.integers(900, 1000),
)
SPELLED = st.sampled_from(
    [
        '{"metrics":{"cost":1e999}}',
        '{"cost":NaN}',
        f'{{"metrics":{{"cost":{"9" * 4301}}}}}',
        "<html>",
        '{"status":',
        "",
    ]
)
TEXTS = (
    st.text(st.characters(exclude_categories=["Cs"]))
    | OBJECTS.map(json.dumps)
    | VALUES.map(json.dumps)
    | DEEP
    | DEEP_AND_CLOSED
    | SPELLED
)
KNOWN_STATUSES = [
    *(0, 200, 202, 302, 400, 401, 402, 403, 404, 405, 406, 410, 413, 422, 429, 500, 503),
]
STATUSES = st.sampled_from(KNOWN_STATUSES) | st.integers(0, 999)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-rate-limit-reset-at-utc", "date"]),
    st.text(st.characters(max_codepoint=0x3FF)),
)
RESPONSES = st.builds(Response, STATUSES, TEXTS, HEADERS, st.booleans())


def can_be_stored(value: Any) -> bool:
    """Tell whether DynamoDB, S3 and EventBridge take a value, and a person would read it."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    match value:
        case str():
            return len(value) <= 4096 and value == value.encode(errors="ignore").decode()
        case bool() | None:
            return True
        case int() | float():
            return isfinite(value) and abs(value) < 1e12
        case dict():
            return all(can_be_stored(item) for item in value.values())
    return False


@fuzz
@given(RESPONSES)
@example(Response(200, '{"output": "https://h/\\ud800.mp4"}'))
@example(Response(200, json.dumps({"generation_url": "https://h/" + "x" * 500_000})))
@example(Response(200, '{"output": "https://h/a b\\u0000.mp4"}'))
def test_every_response_gives_a_declared_value_that_can_be_stored(response: Response) -> None:
    submitted, progress = read_submit(response), read_status(response)
    result, row = read_result(response, {}), read_history_row(response, "r")
    assert isinstance(submitted, Accepted | Rejected | Deferred | Ambiguous)
    assert isinstance(progress, Running | Completed | Failed | Gone | Unusable)
    assert result is None or isinstance(result, Found)
    assert row is None or isinstance(row, Found | Failed)
    for value in (submitted, progress, result, row, response.words):
        assert can_be_stored(value)
    assert 0 < len(response.words) <= 500


@fuzz
@given(RESPONSES)
def test_a_wait_is_a_whole_number_of_at_most_two_minutes(response: Response) -> None:
    assert 1 <= retry_after(response) <= 120
    assert type(retry_after(response)) is int


@fuzz
@given(
    TEXTS | st.lists(OBJECTS, max_size=4).map(lambda rows: json.dumps({"history": rows})),
    OBJECTS.map(lambda body: {"mode": "flex_1", "video_url": "https://h/x.mp4"} | body),
)
def test_a_page_of_the_history_is_rows_or_nothing_and_any_row_can_be_compared(
    text: str, sent: Mapping[str, Any]
) -> None:
    plain = {"prompt": "x", "mode": "adhere_1", "video_url": "https://h/in.mp4"}
    for row in read_page(Response(200, text), 1) or []:
        assert isinstance(row, dict)
        for body in (sent, plain):
            if is_ours(row, body, "j-0.mp4"):
                assert row["request_id"].isascii()


@fuzz
@given(st.dictionaries(WORDS, VALUES), st.sampled_from(["poll_url", "status_url", "response_url"]))
def test_an_accepted_request_is_known_by_its_id_alone(more: dict[str, Any], name: str) -> None:
    body = more | {"request_id": "r-1", name: "https://evil.example/v2/requests/r-1"}
    assert read_submit(Response(200, json.dumps(body))) == Accepted("r-1")


@pytest.mark.parametrize("opening", ["[", '{"url":', '{"output":', '["\\"', '{"loc":['])
def test_a_megabyte_of_nesting_raises_nothing(opening: str) -> None:
    for word in ("output", "error", "history"):
        response = Response(200, f'{{"{word}":' + opening * (1_000_000 // len(opening)))
        read_submit(response)
        read_status(response)
        read_result(response, {})
        read_history_row(response, "r")
        read_page(response, 1)


def test_json_within_json_is_unwrapped_to_a_limited_depth() -> None:
    value: Any = "https://h/a.mp4"
    for _ in range(12):
        value = json.dumps([value])
    assert read_result(Response(200, json.dumps({"output": value})), {}) is None


def test_a_hundred_thousand_urls_are_read_once() -> None:
    urls = ["https://h/a"] * 70_000 + ["https://h/b.mp4"]
    found = read_result(Response(200, json.dumps({"output": urls})), {})
    assert found == Found("https://h/b.mp4", {})

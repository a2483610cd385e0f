"""Every documented variant of Segmind's responses as a table, and what each of them means.

An ambiguous response to a submit is never taken for a rejection.
"""

import json
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain.job import HoldReason
from retake.domain.limits import (
    FILE_LIFETIME_SECONDS,
    RECORD_LIFETIME_SECONDS,
    REPLICA_LAG_SECONDS,
)
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
from tests.support.responses import HTML, JSON, REQUEST_ID, RESULT_URL, response

QUEUED = {
    "request_id": REQUEST_ID,
    "status": "QUEUED",
    "poll_url": "https://evil.example/",
    "status_url": "x",
    "response_url": "y",
}
INPUT_URL = "https://input.example/clip.mp4"
QUOTED_URL = "https://in.s3.amazonaws.com/shoot/end-credits.mp4?X-Amz-Date=1"
CERTAIN = {400, 401, 402, 403, 404, 405, 406, 410, 413, 415, 422, 429}
AMBIGUOUS = {
    *(0, 100, 200, 201, 202, 204, 301, 302, 307, 308, 408, 409, 425, 499),
    *(500, 501, 502, 503, 504, 520, 522, 524, 529, 599),
}
NO_IDS = ("../x", "a/b", "a b", "a?b", "é", "x" * 129, "a\n", "%2e")
ID_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
NAMES = st.sampled_from(
    [
        *("status", "request_id", "error", "detail", "metrics", "output", "video", "url"),
        *("message", "error_description"),
    ]
)
BODIES = st.text() | st.dictionaries(
    NAMES, JSON | st.sampled_from(["COMPLETED", "FAILED", REQUEST_ID, RESULT_URL])
).map(json.dumps)
RESPONSES = st.builds(
    Response,
    st.sampled_from(sorted(AMBIGUOUS | CERTAIN)) | st.integers(0, 999),
    BODIES,
    st.just({}),
    st.booleans(),
)


@pytest.mark.parametrize(
    ("received", "meaning"),
    [
        (response(200, QUEUED), Accepted(REQUEST_ID)),
        (response(202, {"request_id": "a_b-1"}), Accepted("a_b-1")),
        (response(400, {"error": "video_url is required"}), Rejected),
        (
            response(
                401,
                {"error": "invalid_api_key", "error_description": "no", "status_code": 401},
            ),
            HoldReason.KEY,
        ),
        (response(401, HTML), HoldReason.KEY),
        (response(402, {"error": "Payment required"}), HoldReason.CREDITS),
        (response(403, {"error": "model not allowed"}), HoldReason.KEY),
        (response(404, HTML), HoldReason.KEY),
        (response(405, HTML), HoldReason.KEY),
        (response(410, {"error": "retired"}), HoldReason.KEY),
        (response(406, {"error": "Insufficient credits"}), HoldReason.CREDITS),
        (response(406, {"error": "balance is below this call's price"}), HoldReason.CREDITS),
        (response(406, {"error": "Team spend limit reached"}), HoldReason.CREDITS),
        (response(406, {"error": "mode must be one of adhere_1"}), Rejected),
        (response(406, {"error": f"Invalid value for video_url: {QUOTED_URL}"}), Rejected),
        (response(413, HTML), Rejected),
        (
            response(422, {"detail": [{"loc": ["body", "mode"], "msg": "bad", "type": "x"}]}),
            Rejected,
        ),
        (response(429), HoldReason.RATE),
        (Response(0, "ConnectError", sent=False), HoldReason.RATE),
        *((response(status, HTML), Ambiguous) for status in sorted(AMBIGUOUS)),
        *((response(200, body), Ambiguous) for body in ("", "[]", "null", {})),
        *((response(200, {"request_id": bad}), Ambiguous) for bad in (None, 7, "", *NO_IDS)),
    ],
    ids=str,
)
def test_a_response_to_a_submit_has_one_meaning(received: Response, meaning: Any) -> None:
    outcome = read_submit(received)
    if isinstance(outcome, Deferred):
        assert outcome.hold_reason is meaning
    elif isinstance(meaning, type):
        assert isinstance(outcome, meaning)
    else:
        assert outcome == meaning


@given(RESPONSES)
def test_a_submit_that_may_have_been_accepted_is_never_rejected(received: Response) -> None:
    outcome = read_submit(received)
    if received.sent and received.status not in CERTAIN:
        assert isinstance(outcome, Accepted | Ambiguous)
        assert isinstance(outcome, Ambiguous) or 200 <= received.status < 300


@pytest.mark.slow
@given(RESPONSES)
def test_no_response_raises_an_error(received: Response) -> None:
    read_submit(received)
    read_status(received)
    for found in (read_result(received, {}), read_history_row(received, REQUEST_ID)):
        if isinstance(found, Found):
            assert found.url.lower().startswith(("http://", "https://"))
            assert all(isfinite(value) for value in found.metrics.values())
    assert len(received.words) <= 500


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_accepted_request_id_is_harmless_in_a_url(text: str) -> None:
    outcome = read_submit(response(200, {"request_id": text}))
    assert isinstance(outcome, Ambiguous) or set(text) <= ID_CHARACTERS


@pytest.mark.parametrize(
    ("received", "meaning"),
    [
        (response(200, {"status": "QUEUED", "metrics": {}}), Running(queued=True)),
        (response(200, {"status": "PROCESSING", "metrics": {}}), Running()),
        (response(200, {"status": "processing"}), Running()),
        (response(200, {"status": "BREWING"}), Running()),
        (response(422, {"status": "BREWING"}), Running()),
        (
            response(200, {"status": "COMPLETED", "metrics": {"inference_time": 13.06}}),
            Completed({"inference_time": 13.06}),
        ),
        (response(200, {"status": "COMPLETED"}), Completed({})),
        (response(200, {"status": "COMPLETED", "metrics": None}), Completed({})),
        (response(422, {"status": "FAILED", "error": "moderation"}), Failed("moderation")),
        (response(200, {"status": "FAILED", "error": "moderation"}), Failed("moderation")),
        (response(422, {"status": "FAILED", "detail": "bad input"}), Failed("bad input")),
        (
            response(422, {"status": "FAILED", "detail": [{"loc": ["body", "url"], "msg": "no"}]}),
            Failed("body.url: no"),
        ),
        (response(422, {"status": "FAILED"}), Failed("Segmind gave no reason")),
        (response(422, {"detail": "x"}), Failed("x")),
        (response(422, HTML), Failed(HTML)),
        (response(404, {"error": f"Request {REQUEST_ID} not found"}), Gone()),
        (response(410, {"error": "gone"}), Gone()),
        *(
            (response(status, {"status": "FAILED", "error": "no"}), Unusable)
            for status in (401, 402, 403, 406, 429, 500)
        ),
        (response(404, {"status": "FAILED", "error": "not found"}), Gone),
        *(
            (response(status, HTML), Unusable)
            for status in (0, 200, 302, 400, 401, 403, 404, 405, 406, 429, 500, 502, 503, 504)
        ),
    ],
    ids=str,
)
def test_a_response_to_a_poll_has_one_meaning(received: Response, meaning: Any) -> None:
    progress = read_status(received)
    if isinstance(meaning, type):
        assert isinstance(progress, meaning)
    else:
        assert progress == meaning


@pytest.mark.parametrize("status", [401, 403])
def test_an_unusable_response_has_the_status_that_shows_a_rejected_key(status: int) -> None:
    progress = read_status(response(status))
    assert isinstance(progress, Unusable)
    assert progress.status == status


@pytest.mark.parametrize(
    "body",
    [
        {"output": RESULT_URL},
        {"output": f"  {RESULT_URL} "},
        {
            "video": {
                "url": RESULT_URL,
                "content_type": "video/mp4",
                "file_name": "out.mp4",
                "file_size": 7,
            }
        },
        {"output": None, "video": {"url": RESULT_URL}},
        {"output": [RESULT_URL]},
        {"output": [{"url": RESULT_URL}]},
        {"output": {"url": RESULT_URL}},
        {"output": {"video_url": RESULT_URL}},
        {"output": {"videos": [{"url": RESULT_URL}]}},
        {"output": json.dumps(RESULT_URL)},
        {"output": json.dumps({"video": {"url": RESULT_URL}})},
        {"output": json.dumps([{"url": RESULT_URL}])},
        {"video_url": RESULT_URL},
        {"url": RESULT_URL},
        {
            "output": RESULT_URL,
            "video": {"url": "https://other.example/"},
            "url": "https://last.example/",
        },
    ],
    ids=json.dumps,
)
def test_a_result_is_found_in_every_shape(body: dict[str, Any]) -> None:
    found = read_result(response(200, {"status": "COMPLETED"} | body), {})
    assert found is not None
    assert found.url == RESULT_URL


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"output": []},
        {"output": "done"},
        {"output": 7},
        {"output": "data:video/mp4;base64,AA"},
        "[]",
        HTML,
    ],
)
def test_a_response_without_a_url_has_no_result(body: Any) -> None:
    assert read_result(response(200, body), {}) is None


@pytest.mark.parametrize(
    ("row", "meaning"),
    [
        (
            {
                "generation_url": RESULT_URL,
                "model_status": "COMPLETED",
                "request_body": {"video_url": INPUT_URL},
            },
            RESULT_URL,
        ),
        (
            {"model_status": "FAILED", "error": "out of memory", "generation_url": None},
            Failed("out of memory"),
        ),
        ({"model_status": "failed"}, Failed("Segmind gave no reason")),
        (
            {
                "data": {
                    "request_id": REQUEST_ID,
                    "model_status": "COMPLETED",
                    "generation_url": RESULT_URL,
                }
            },
            RESULT_URL,
        ),
        ({"success": True, "data": [{"generation_url": RESULT_URL}]}, RESULT_URL),
        (
            {
                "data": {
                    "request_id": REQUEST_ID,
                    "model_status": "FAILED",
                    "error": "out of memory",
                }
            },
            Failed("out of memory"),
        ),
        ({"data": [{"request_id": "another", "generation_url": RESULT_URL}]}, None),
        (
            {
                "model_status": "PENDING",
                "generation_url": None,
                "request_body": {"video_url": INPUT_URL},
            },
            None,
        ),
        ({}, None),
    ],
)
def test_a_history_row_has_a_result_a_failure_or_neither(row: dict[str, Any], meaning: Any) -> None:
    read = read_history_row(response(200, row), REQUEST_ID)
    assert (read.url if isinstance(read, Found) else read) == meaning


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("7", 7),
        (" 9 ", 9),
        ("0", 1),
        ("9999", 120),
        ("", 20),
        ("soon", 20),
        ("-1", 20),
        ("9" * 99, 20),
        ("²", 20),
    ],
)
def test_retry_after_is_followed_within_limits(stated: str, seconds: int) -> None:
    assert retry_after(response(429, **{"retry-after": stated})) == seconds


def test_the_words_for_a_person_are_short_plain_and_never_empty() -> None:
    assert response(500, "a\n b\t" + "c" * 999).words.startswith("a b c")
    assert response(500).words == "HTTP 500 without a body"
    explained = response(401, {"error": "code", "error_description": "the words"})
    assert explained.words == "the words"
    assert len(response(500, "x" * 9999).words) == 500


def test_the_limits_are_those_of_segmind() -> None:
    assert (RECORD_LIFETIME_SECONDS, FILE_LIFETIME_SECONDS) == (3600, 604800)
    assert REPLICA_LAG_SECONDS >= 30


@pytest.mark.parametrize("status", [200, 422, 500])
def test_a_deeply_nested_error_is_read(status: int) -> None:
    deep = f'{{"request_id": "{REQUEST_ID}", "error": {"[" * 600}1{"]" * 600}}}'
    assert read_status(Response(status, deep))
    assert read_submit(Response(status, deep))


@pytest.mark.parametrize("status", [None, 422, False])
def test_a_failure_whose_status_is_not_a_word_is_a_failure(status: Any) -> None:
    assert isinstance(read_status(response(422, {"status": status, "error": "bad"})), Failed)


@pytest.mark.parametrize(
    "body", ["", HTML, {"error": "Please top up your account"}, {"error": "Not enough funds"}]
)
def test_an_account_without_money_rejects_no_job(body: Any) -> None:
    assert isinstance(read_submit(response(406, body)), Deferred)


@pytest.mark.parametrize("figure", ["NaN", "-Infinity", "1e999", "1" * 60, "null"])
def test_metrics_are_finite_numbers(figure: str) -> None:
    received = Response(200, f'{{"status": "COMPLETED", "metrics": {{"cost": {figure}}}}}')
    assert read_status(received) == Completed({})


def test_segminds_words_can_always_be_written_to_a_file() -> None:
    Response(422, r'{"status": "FAILED", "error": "\ud83d"}').words.encode()


DATE = "Fri, 01 Jan 2027 00:00:00 GMT"
RESET = "x-rate-limit-reset-at-utc"


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("2027-01-01T00:00:33Z", 33),
        ("2027-01-01T00:00:33.400000+00:00", 34),
        ("2027-01-01 00:00:33", 33),
        ("2027-01-01T01:00:33+01:00", 33),
        ("Fri, 01 Jan 2027 00:00:33 GMT", 33),
        ("1798761633", 33),
        ("1798761633.4", 34),
        ("1798761633400", 34),
        ("2026-12-31T23:00:00Z", 1),
        ("2999-01-01T00:00:00Z", 120),
        ("soon", 20),
        ("", 20),
    ],
)
def test_the_time_at_which_a_rate_limit_ends_is_respected(reset: str, seconds: int) -> None:
    assert retry_after(response(429, **{RESET: reset, "date": DATE})) == seconds


def test_a_reset_time_needs_the_servers_time_and_retry_after_is_preferred() -> None:
    reset = {RESET: "2027-01-01T00:00:33Z"}
    assert retry_after(response(429, **reset)) == retry_after(response(429))
    assert retry_after(response(429, **reset, **{"date": DATE, "retry-after": "5"})) == 5


@given(
    st.text(st.characters(max_codepoint=255))
    | st.sampled_from(["Fri, 01 Jan 2027 00:00:00", "2027-01-01"]),
    st.text(max_size=9),
)
def test_headers_of_any_form_give_a_wait_within_limits(stated: str, more: str) -> None:
    headers = {RESET: f"{stated} {more}", "date": DATE, "retry-after": more}
    assert 1 <= retry_after(response(429, **headers)) <= 120


def test_a_reset_time_in_an_impossible_time_zone_is_ignored() -> None:
    headers = {RESET: f"Fri, 01 Jan 2027 00:00:00 +{'9' * 20}", "date": DATE}
    assert isinstance(read_submit(response(429, **headers)), Deferred)


@pytest.mark.parametrize(
    "other",
    [
        {"output": {"generation_url": "https://x/other.mp4"}},
        {"response": {"model_status": "FAILED", "error": "e"}},
    ],
)
def test_what_is_within_the_row_of_another_request_is_not_ours(other: dict[str, Any]) -> None:
    row = {"request_id": "r2", "model_status": "COMPLETED", **other}
    assert read_history_row(Response(200, json.dumps(row)), "r1") is None
    ours = {"request_id": "r1", "generation_url": "https://x/ours.mp4"}
    both = Response(200, json.dumps({"data": [row, ours]}))
    found = read_history_row(both, "r1")
    assert isinstance(found, Found)
    assert found.url == "https://x/ours.mp4"

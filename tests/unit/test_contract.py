"""Every variant of SEGMIND.md as a table: what each answer means, and that nothing ambiguous is taken for a refusal."""

import json
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.rules import contract
from retake.rules.contract import (
    Accepted,
    Answer,
    Completed,
    Failed,
    Found,
    Gone,
    Rejected,
    Running,
    Unanswered,
    Unknown,
    Withheld,
    read_history,
    read_result,
    read_status,
    read_submit,
    retry_after,
)
from retake.rules.states import Held

ID = "7f2c2f0e-5a3c-4a52-9a54-6a1f5f0a3f11"
HTML = "<html><head><title>Bad gateway</title></head></html>"
URL = "https://images.segmind.com/out.mp4"
QUEUED = {"request_id": ID, "status": "QUEUED", "poll_url": "https://evil.example/", "status_url": "x", "response_url": "y"}
AMBIGUOUS = {0, 100, 200, 201, 202, 204, 301, 302, 307, 308, 408, 409, 425, 499, 500, 501, 502, 503, 504, 520, 522, 524, 529, 599}
CERTAIN = {400, 401, 402, 403, 404, 405, 406, 410, 413, 415, 422, 429}
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
WORDS = st.sampled_from(["status", "request_id", "error", "detail", "metrics", "output", "video", "url", "message", "error_description"])
BODIES = st.text() | st.dictionaries(WORDS, JSON | st.sampled_from(["COMPLETED", "FAILED", ID, URL])).map(json.dumps)
ANSWERS = st.builds(Answer, st.sampled_from(sorted(AMBIGUOUS | CERTAIN)) | st.integers(0, 999), BODIES, st.just({}), st.booleans())


def answer(status: int, body: Any = "", **headers: str) -> Answer:
    return Answer(status, body if isinstance(body, str) else json.dumps(body), headers)


@pytest.mark.parametrize(
    ("given_answer", "meaning"),
    [
        (answer(200, QUEUED), Accepted(ID)),
        (answer(202, {"request_id": "a_b-1"}), Accepted("a_b-1")),
        (answer(400, {"error": "video_url is required"}), Rejected),
        (answer(401, {"error": "invalid_api_key", "error_description": "no", "status_code": 401}), Held.KEY),
        (answer(401, HTML), Held.KEY),
        (answer(402, {"error": "Payment required"}), Held.CREDITS),
        (answer(403, {"error": "model not allowed"}), Held.KEY),
        (answer(404, HTML), Held.KEY),
        (answer(405, HTML), Held.KEY),
        (answer(410, {"error": "retired"}), Held.KEY),
        (answer(406, {"error": "Insufficient credits"}), Held.CREDITS),
        (answer(406, {"error": "balance is below this call's price"}), Held.CREDITS),
        (answer(406, {"error": "Team spend limit reached"}), Held.CREDITS),
        (answer(406, {"error": "mode must be one of adhere_1"}), Rejected),
        (answer(406, {"error": "Invalid value for video_url: https://in.s3.amazonaws.com/shoot/end-credits.mp4?X-Amz-Date=1"}), Rejected),
        (answer(413, HTML), Rejected),
        (answer(422, {"detail": [{"loc": ["body", "mode"], "msg": "bad", "type": "x"}]}), Rejected),
        (answer(429), Held.RATE),
        (Answer(0, "ConnectError", sent=False), Held.RATE),
        *((answer(status, HTML), Unknown) for status in sorted(AMBIGUOUS)),
        *((answer(200, body), Unknown) for body in ("", "[]", "null", {}, {"request_id": None}, {"request_id": 7}, {"request_id": ""})),
        *((answer(200, {"request_id": bad}), Unknown) for bad in ("../x", "a/b", "a b", "a?b", "é", "x" * 129, "a\n", "%2e")),
    ],
    ids=str,
)
def test_an_answer_to_a_submit_has_one_meaning(given_answer: Answer, meaning: Any) -> None:
    read = read_submit(given_answer)
    assert (
        read.held is meaning if isinstance(read, Withheld) else isinstance(read, meaning) if isinstance(meaning, type) else read == meaning
    )


@given(ANSWERS)
def test_nothing_that_may_have_been_accepted_is_taken_for_a_refusal(given_answer: Answer) -> None:
    read = read_submit(given_answer)
    if given_answer.sent and given_answer.status not in CERTAIN:
        assert isinstance(read, Accepted | Unknown)
        assert isinstance(read, Unknown) or 200 <= given_answer.status < 300


@given(ANSWERS)
def test_no_answer_is_an_error(given_answer: Answer) -> None:
    read_submit(given_answer)
    read_status(given_answer)
    for found in (read_result(given_answer, {}), read_history(given_answer, ID)):
        if isinstance(found, Found):
            assert found.url.lower().startswith(("http://", "https://"))
            assert all(isfinite(value) for value in found.metrics.values())
    assert len(given_answer.words) <= 500


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_id_that_is_accepted_can_do_nothing_in_a_url(text: str) -> None:
    read = read_submit(answer(200, {"request_id": text}))
    assert isinstance(read, Unknown) or set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@pytest.mark.parametrize(
    ("given_answer", "meaning"),
    [
        (answer(200, {"status": "QUEUED", "metrics": {}}), Running(queued=True)),
        (answer(200, {"status": "PROCESSING", "metrics": {}}), Running()),
        (answer(200, {"status": "processing"}), Running()),
        (answer(200, {"status": "BREWING"}), Running()),
        (answer(422, {"status": "BREWING"}), Running()),
        (answer(200, {"status": "COMPLETED", "metrics": {"inference_time": 13.06}}), Completed({"inference_time": 13.06})),
        (answer(200, {"status": "COMPLETED"}), Completed({})),
        (answer(200, {"status": "COMPLETED", "metrics": None}), Completed({})),
        (answer(422, {"status": "FAILED", "error": "moderation"}), Failed("moderation")),
        (answer(200, {"status": "FAILED", "error": "moderation"}), Failed("moderation")),
        (answer(422, {"status": "FAILED", "detail": "bad input"}), Failed("bad input")),
        (answer(422, {"status": "FAILED", "detail": [{"loc": ["body", "url"], "msg": "no"}]}), Failed("body.url: no")),
        (answer(422, {"status": "FAILED"}), Failed("Segmind gave no reason")),
        (answer(422, {"detail": "x"}), Failed("x")),
        (answer(422, HTML), Failed(HTML)),
        (answer(404, {"error": f"Request {ID} not found"}), Gone()),
        (answer(410, {"error": "gone"}), Gone()),
        *((answer(status, {"status": "FAILED", "error": "no"}), Unanswered) for status in (401, 402, 403, 406, 429, 500)),
        (answer(404, {"status": "FAILED", "error": "not found"}), Gone),
        *((answer(status, HTML), Unanswered) for status in (0, 200, 302, 400, 401, 403, 404, 405, 406, 429, 500, 502, 503, 504)),
    ],
    ids=str,
)
def test_an_answer_to_a_look_has_one_meaning(given_answer: Answer, meaning: Any) -> None:
    read = read_status(given_answer)
    assert isinstance(read, meaning) if isinstance(meaning, type) else read == meaning


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_was_not_accepted_can_be_told(status: int) -> None:
    read = read_status(answer(status))
    assert isinstance(read, Unanswered)
    assert read.status == status


@pytest.mark.parametrize(
    "body",
    [
        {"output": URL},
        {"output": f"  {URL} "},
        {"video": {"url": URL, "content_type": "video/mp4", "file_name": "out.mp4", "file_size": 7}},
        {"output": None, "video": {"url": URL}},
        {"output": [URL]},
        {"output": [{"url": URL}]},
        {"output": {"url": URL}},
        {"output": {"video_url": URL}},
        {"output": {"videos": [{"url": URL}]}},
        {"output": json.dumps(URL)},
        {"output": json.dumps({"video": {"url": URL}})},
        {"output": json.dumps([{"url": URL}])},
        {"video_url": URL},
        {"url": URL},
        {"output": URL, "video": {"url": "https://other.example/"}, "url": "https://last.example/"},
    ],
    ids=json.dumps,
)
def test_a_result_is_found_in_every_shape(body: dict[str, Any]) -> None:
    found = read_result(answer(200, {"status": "COMPLETED"} | body), {})
    assert found is not None
    assert found.url == URL


@pytest.mark.parametrize(
    "body", [{}, {"output": []}, {"output": "done"}, {"output": 7}, {"output": "data:video/mp4;base64,AA"}, "[]", HTML]
)
def test_a_result_that_names_no_address_gives_none(body: Any) -> None:
    assert read_result(answer(200, body), {}) is None


@pytest.mark.parametrize(
    ("row", "meaning"),
    [
        ({"generation_url": URL, "model_status": "COMPLETED", "request_body": {"video_url": "https://input.example/clip.mp4"}}, URL),
        ({"model_status": "FAILED", "error": "out of memory", "generation_url": None}, Failed("out of memory")),
        ({"model_status": "failed"}, Failed("Segmind gave no reason")),
        ({"data": {"request_id": ID, "model_status": "COMPLETED", "generation_url": URL}}, URL),
        ({"success": True, "data": [{"generation_url": URL}]}, URL),
        ({"data": {"request_id": ID, "model_status": "FAILED", "error": "out of memory"}}, Failed("out of memory")),
        ({"data": [{"request_id": "another", "generation_url": URL}]}, None),
        ({"model_status": "PENDING", "generation_url": None, "request_body": {"video_url": "https://input.example/clip.mp4"}}, None),
        ({}, None),
    ],
)
def test_a_row_of_the_history_tells_a_result_a_failure_or_nothing(row: dict[str, Any], meaning: Any) -> None:
    read = read_history(answer(200, row), ID)
    assert (read.url if isinstance(read, Found) else read) == meaning


@pytest.mark.parametrize(
    ("told", "wait"), [("7", 7), (" 9 ", 9), ("0", 1), ("9999", 120), ("", 20), ("soon", 20), ("-1", 20), ("9" * 99, 20), ("²", 20)]
)
def test_a_rate_limit_waits_as_it_is_told_within_reason(told: str, wait: int) -> None:
    assert retry_after(answer(429, **{"retry-after": told})) == wait


def test_what_is_said_to_a_person_is_short_plain_and_never_empty() -> None:
    assert answer(500, "a\n b\t" + "c" * 999).words.startswith("a b c")
    assert answer(500).words == "HTTP 500 without a body"
    assert answer(401, {"error": "code", "error_description": "the words"}).words == "the words"
    assert len(answer(500, "x" * 9999).words) == 500


def test_the_bounds_are_segminds() -> None:
    assert (contract.RECORD_LIFE, contract.FILE_LIFE) == (3600, 604800)
    assert contract.EARLY >= 30


@pytest.mark.parametrize("status", [200, 422, 500])
def test_an_error_of_any_depth_is_no_error_of_ours(status: int) -> None:
    deep = f'{{"request_id": "{ID}", "error": {"[" * 600}1{"]" * 600}}}'
    assert read_status(Answer(status, deep))
    assert read_submit(Answer(status, deep))


@pytest.mark.parametrize("status", [None, 422, False])
def test_a_failure_whose_status_is_no_word_is_a_failure(status: Any) -> None:
    assert isinstance(read_status(answer(422, {"status": status, "error": "bad"})), Failed)


@pytest.mark.parametrize("body", ["", HTML, {"error": "Please top up your account"}, {"error": "Not enough funds"}])
def test_an_account_without_money_refuses_no_job(body: Any) -> None:
    assert isinstance(read_submit(answer(406, body)), Withheld)


@pytest.mark.parametrize("figure", ["NaN", "-Infinity", "1e999", "1" * 60, "null"])
def test_a_figure_is_a_finite_number(figure: str) -> None:
    read = read_status(Answer(200, f'{{"status": "COMPLETED", "metrics": {{"cost": {figure}}}}}'))
    assert read == Completed({})


def test_segminds_words_can_always_be_written_to_a_file() -> None:
    Answer(422, r'{"status": "FAILED", "error": "\ud83d"}').words.encode()


DATE = "Fri, 01 Jan 2027 00:00:00 GMT"


@pytest.mark.parametrize(
    ("reset", "wait"),
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
def test_a_rate_limit_that_tells_when_it_ends_is_honoured(reset: str, wait: int) -> None:
    assert retry_after(answer(429, **{"x-rate-limit-reset-at-utc": reset, "date": DATE})) == wait


def test_without_a_known_now_a_moment_tells_no_wait_and_a_wait_is_worth_more_than_a_moment() -> None:
    reset = {"x-rate-limit-reset-at-utc": "2027-01-01T00:00:33Z"}
    assert retry_after(answer(429, **reset)) == retry_after(answer(429))
    assert retry_after(answer(429, **reset, **{"date": DATE, "retry-after": "5"})) == 5


@given(st.text(st.characters(max_codepoint=255)) | st.sampled_from(["Fri, 01 Jan 2027 00:00:00", "2027-01-01"]), st.text(max_size=9))
def test_a_header_of_any_form_gives_a_wait(told: str, more: str) -> None:
    assert 1 <= retry_after(answer(429, **{"x-rate-limit-reset-at-utc": f"{told} {more}", "date": DATE, "retry-after": more})) <= 120


def test_a_moment_in_an_impossible_zone_tells_no_wait() -> None:
    headers = {"x-rate-limit-reset-at-utc": f"Fri, 01 Jan 2027 00:00:00 +{'9' * 20}", "date": DATE}
    assert isinstance(read_submit(answer(429, **headers)), Withheld)

"""Whose row is it, and does a page prove an absence?"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.rules.contract import Answer
from retake.rules.history import is_ours, mark_of, read_page

from .conftest import signed
from .test_contract import HTML, ID, JSON, answer

LISTED = {"request_id": ID, "model_status": "COMPLETED"}
CLIP = "https://in.s3.eu-central-1.amazonaws.com/c.mp4"
SENT = {"prompt": "ink", "mode": "flex_1", "video_url": CLIP, "first_frame_url": "https://in.s3.eu-central-1.amazonaws.com/f.png"}


@pytest.mark.parametrize(
    "page",
    [
        {"history": [LISTED]},
        {"total": 1, "data": [LISTED]},
        [LISTED],
        {"rows": [LISTED, "odd", None]},
        {"errors": [], "history": [LISTED]},
        {"warnings": [{"code": 1}], "history": [LISTED]},
        {"filters": ["modify-video"], "data": {"items": [LISTED]}},
    ],
)
def test_a_page_is_the_first_list_of_requests_wherever_it_is(page: Any) -> None:
    assert read_page(answer(200, page), 1) == [LISTED]


@pytest.mark.parametrize(
    "given_answer",
    [
        answer(200, HTML),
        answer(200, {}),
        answer(200, "7"),
        answer(200, "[" * 9999),
        answer(401, [LISTED]),
        answer(200, {"data": [], "total": 37}),
        answer(200, {"messages": ["no"]}),
        answer(200, {"data": [], "pagination": {"totalItems": 37}}),
        answer(200, {"data": [], "total": "37"}),
        answer(200, {"errors": [], "data": [{"requestId": ID}]}),
        answer(200, {"success": False, "data": []}),
        answer(200, {"error": "the history is not available", "data": []}),
    ],
)
def test_an_answer_that_is_no_page_is_not_taken_for_an_empty_history(given_answer: Answer) -> None:
    assert read_page(given_answer, 1) is None


@pytest.mark.parametrize("page", [{"history": []}, [], {"errors": [], "data": {"items": [], "total": 0}}])
def test_an_empty_page_is_one(page: Any) -> None:
    assert read_page(answer(200, page), 1) == []


def test_the_page_after_the_last_one_is_empty_whatever_the_total() -> None:
    assert read_page(answer(200, {"history": [], "total": 37}), 2) == []


def listed(body: Any) -> dict[str, Any]:
    return {"request_id": ID, "request_body": body}


@given(JSON, JSON, st.text(), JSON)
def test_no_row_is_an_error(row: Any, url: Any, path: str, prompt: Any) -> None:
    read_page(answer(200, {"history": [row]}), 1)
    sent = {"prompt": prompt, "mode": "adhere_1", "video_url": path}
    for body in (row, json.dumps(row), {"video_url": url}, {"first_frame_url": url}, {"video_url": path}):
        assert is_ours(listed(body), sent, "j-0.mp4") in (True, False, None)
    mark_of(url)


@pytest.mark.parametrize("wrap", [lambda body: body, json.dumps, lambda body: json.dumps(json.dumps(body)), lambda body: {"input": body}])
def test_a_mark_decides_however_the_body_is_wrapped(wrap: Any) -> None:
    ours = SENT | {"video_url": signed("in", "c.mp4", "j-0.mp4")}
    assert mark_of(ours["video_url"]) == "j-0.mp4"
    assert is_ours(listed(wrap(ours)), SENT, "j-0.mp4") is True
    assert is_ours(listed(wrap(ours)), SENT, "j-1.mp4") is False


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, True),
        ({"prompt": " ink "}, True),
        ({"mode": None}, True),
        ({"video_url": CLIP + "?X-Amz-Signature=another"}, True),
        ({"video_url": "https://s3.eu-central-1.amazonaws.com/in/c.mp4"}, True),
        ({"video_url": "https://cdn.example/c.mp4"}, None),
        ({"prompt": None}, None),
        ({"first_frame_url": None}, None),
        ({"video_url": None}, None),
        ({"prompt": "oil"}, False),
        ({"mode": "flex_2"}, False),
        ({"video_url": "https://in.s3.eu-central-1.amazonaws.com/d.mp4"}, False),
        ({"first_frame_url": "https://in.s3.eu-central-1.amazonaws.com/g.png"}, False),
    ],
)
def test_without_a_mark_all_fields_decide_and_what_is_missing_leaves_it_open(change: dict[str, Any], verdict: bool | None) -> None:
    assert is_ours(listed(SENT | change), SENT, "j-0.mp4") is verdict


@pytest.mark.parametrize("name", ["prompt", "first_frame_url"])
def test_a_row_with_more_than_was_sent_is_anothers(name: str) -> None:
    assert is_ours(listed(SENT), {field: value for field, value in SENT.items() if field != name}, "j-0.mp4") is False


@pytest.mark.parametrize("request_id", [None, "../r", "", 7])
def test_a_row_without_an_id_that_can_be_asked_for_leaves_it_open(request_id: Any) -> None:
    assert is_ours(listed(SENT) | {"request_id": request_id}, SENT, "j-0.mp4") is None

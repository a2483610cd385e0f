"""Segmind's history: whose request a row is, and whether a page proves that one is absent."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.segmind.history import correlation_id_of, is_ours, read_page
from retake.segmind.responses import Response
from tests.support.responses import HTML, JSON, REQUEST_ID, response
from tests.support.stand_ins import signed

LISTED = {"request_id": REQUEST_ID, "model_status": "COMPLETED"}
BUCKET_URL = "https://in.s3.eu-central-1.amazonaws.com"
CLIP_URL = f"{BUCKET_URL}/c.mp4"
SENT = {
    "prompt": "ink",
    "mode": "flex_1",
    "video_url": CLIP_URL,
    "first_frame_url": f"{BUCKET_URL}/f.png",
}


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
    assert read_page(response(200, page), 1) == [LISTED]


@pytest.mark.parametrize(
    "received",
    [
        response(200, HTML),
        response(200, {}),
        response(200, "7"),
        response(200, "[" * 9999),
        response(401, [LISTED]),
        response(200, {"data": [], "total": 37}),
        response(200, {"messages": ["no"]}),
        response(200, {"data": [], "pagination": {"totalItems": 37}}),
        response(200, {"data": [], "total": "37"}),
        response(200, {"errors": [], "data": [{"requestId": REQUEST_ID}]}),
        response(200, {"success": False, "data": []}),
        response(200, {"error": "the history is not available", "data": []}),
    ],
)
def test_a_response_that_is_not_a_page_is_not_an_empty_history(received: Response) -> None:
    assert read_page(received, 1) is None


@pytest.mark.parametrize(
    "page", [{"history": []}, [], {"errors": [], "data": {"items": [], "total": 0}}]
)
def test_an_empty_page_is_empty(page: Any) -> None:
    assert read_page(response(200, page), 1) == []


def test_the_page_after_the_last_one_is_empty_whatever_the_total() -> None:
    assert read_page(response(200, {"history": [], "total": 37}), 2) == []


def row_of(request_body: Any) -> dict[str, Any]:
    return {"request_id": REQUEST_ID, "request_body": request_body}


@pytest.mark.slow
@given(JSON, JSON, st.text(), JSON)
def test_no_row_raises_an_error(row: Any, url: Any, path: str, prompt: Any) -> None:
    read_page(response(200, {"history": [row]}), 1)
    sent = {"prompt": prompt, "mode": "adhere_1", "video_url": path}
    bodies = (
        row,
        json.dumps(row),
        {"video_url": url},
        {"first_frame_url": url},
        {"video_url": path},
    )
    for body in bodies:
        assert is_ours(row_of(body), sent, "j-0.mp4") in (True, False, None)
    correlation_id_of(url)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda body: body,
        json.dumps,
        lambda body: json.dumps(json.dumps(body)),
        lambda body: {"input": body},
    ],
)
def test_a_correlation_id_decides_however_the_body_is_wrapped(
    wrap: Callable[[dict[str, str]], Any],
) -> None:
    ours = SENT | {"video_url": signed("in", "c.mp4", "j-0.mp4")}
    assert correlation_id_of(ours["video_url"]) == "j-0.mp4"
    assert is_ours(row_of(wrap(ours)), SENT, "j-0.mp4") is True
    assert is_ours(row_of(wrap(ours)), SENT, "j-1.mp4") is False


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, True),
        ({"prompt": " ink "}, True),
        ({"mode": None}, True),
        ({"video_url": f"{CLIP_URL}?X-Amz-Signature=another"}, True),
        ({"video_url": "https://s3.eu-central-1.amazonaws.com/in/c.mp4"}, True),
        ({"video_url": "https://cdn.example/c.mp4"}, None),
        ({"prompt": None}, None),
        ({"first_frame_url": None}, None),
        ({"video_url": None}, None),
        ({"prompt": "oil"}, False),
        ({"mode": "flex_2"}, False),
        ({"video_url": f"{BUCKET_URL}/d.mp4"}, False),
        ({"first_frame_url": f"{BUCKET_URL}/g.png"}, False),
    ],
)
def test_without_a_correlation_id_all_fields_decide_and_a_missing_one_leaves_it_open(
    change: dict[str, Any], verdict: bool | None
) -> None:
    assert is_ours(row_of(SENT | change), SENT, "j-0.mp4") is verdict


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1"])
def test_a_copy_is_recognized_by_its_path_whatever_the_region(region: str) -> None:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    copy = f"https://in.s3.{region}.{domain}/sent/j-0.mp4"
    sent = SENT | {"video_url": copy}
    by_path = f"https://s3.{region}.{domain}/in/sent/j-0.mp4?X-Amz-Signature=another"
    assert is_ours(row_of(SENT | {"video_url": by_path}), sent, "j-0.mp4") is True
    other = copy.replace("/j-0.mp4", "/k-0.mp4")
    assert is_ours(row_of(SENT | {"video_url": other}), sent, "j-0.mp4") is False


@pytest.mark.parametrize("name", ["prompt", "first_frame_url"])
def test_a_row_with_more_than_was_sent_is_not_ours(name: str) -> None:
    sent = {field: value for field, value in SENT.items() if field != name}
    assert is_ours(row_of(SENT), sent, "j-0.mp4") is False


@pytest.mark.parametrize("request_id", [None, "../r", "", 7])
def test_a_row_without_a_usable_request_id_leaves_it_open(request_id: Any) -> None:
    assert is_ours(row_of(SENT) | {"request_id": request_id}, SENT, "j-0.mp4") is None

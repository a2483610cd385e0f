"""The API that SEGMIND.md describes: responses, states, charges, the rate limit, and lifetimes."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import pytest

from local.simulator import Settings, Simulator
from local.simulator.render import probe
from local.simulator.settings import BILLINGS, JSON_SHAPES, SHAPES
from tests.support.clip_store import ClipStore

Submit = Callable[..., str]
WaitForEnd = Callable[[str], httpx.Response]

HISTORY = "/inference-request/request-history"


def find_url(value: Any) -> str:
    """Return the first URL of a result file anywhere in a JSON value; empty if there is none."""
    if isinstance(value, str):
        if value.startswith(("[", "{", '"')):
            return find_url(json.loads(value))
        return value if "/files/" in value else ""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return ""
    return next(filter(None, map(find_url, value)), "")


def test_a_submit_returns_the_request_id_and_its_urls(
    api: httpx.Client, simulator: Simulator, store: ClipStore
) -> None:
    body = api.post("/v2/modify-video", json={"video_url": f"{store.url}/clip.mp4"}).json()
    request_id = body["request_id"]
    assert body == {
        "request_id": request_id,
        "status": "QUEUED",
        "poll_url": f"{simulator.url}/v1/requests/{request_id}",
        "status_url": f"{simulator.url}/v2/requests/{request_id}/status",
        "response_url": f"{simulator.url}/v2/requests/{request_id}",
    }


def test_a_request_goes_from_queued_through_processing_to_completed(
    api: httpx.Client, simulator: Simulator, submit: Submit, wait_for_end: WaitForEnd
) -> None:
    simulator.change(queue_seconds=0.3, render_seconds=0.5)
    start = time.monotonic()
    request_id = submit()
    queued = api.get(f"/v2/requests/{request_id}/status")
    assert queued.status_code == 200
    assert (queued.json()["status"], queued.json()["metrics"]) == ("QUEUED", {})
    assert api.get(f"/v2/requests/{request_id}").json()["status"] == "QUEUED"
    time.sleep(0.4)
    assert api.get(f"/v2/requests/{request_id}/status").json()["status"] == "PROCESSING"
    body = wait_for_end(request_id).json()
    assert time.monotonic() - start >= 0.8
    metrics = body["metrics"]
    assert body == {"status": "COMPLETED", "request_id": request_id, "metrics": metrics}
    assert 0.3 <= metrics["queue_time"] < metrics["inference_time"] < metrics["total_time"]
    assert metrics["cost"] == 0.6
    assert metrics["remaining_credits"] == 99.4
    assert metrics["retry_count"] == 0


def test_every_result_shape_contains_the_url_of_the_file(
    web: httpx.Client,
    api: httpx.Client,
    simulator: Simulator,
    submit: Submit,
    wait_for_end: WaitForEnd,
) -> None:
    request_id = submit()
    wait_for_end(request_id)
    different_bodies = set()
    for shape in SHAPES + JSON_SHAPES:
        simulator.change(shape=shape)
        body = api.get(f"/v2/requests/{request_id}").json()
        assert body["status"] == "COMPLETED"
        assert "cost" in body["metrics"]
        file = web.get(find_url(body))
        assert file.status_code == 200
        assert file.content[4:8] == b"ftyp"
        without_metrics = {name: body[name] for name in body.keys() - {"metrics"}}
        different_bodies.add(json.dumps(without_metrics, sort_keys=True))
        if shape == "video_only":
            assert body["video"]["file_size"] == len(file.content)
            assert "output" not in body
        assert api.get(f"/v1/requests/{request_id}").json() == body
    assert len(different_bodies) == len(SHAPES + JSON_SHAPES)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"video_url": None}, "video_url: field required"),
        ({"video_url": "data:video/mp4;base64,AAAA"}, "an http or https URL expected"),
        ({"video_url": "http://127.0.0.1:9/clip.mp4"}, "could not be fetched (ConnectError)"),
        ({"video_url": "{store}/absent.mp4"}, "could not be fetched (HTTP 404)"),
        ({"video_url": "{store}/text.mp4"}, "not an MP4 file"),
        ({"video_url": "{store}/broken.mp4"}, "no video stream can be read"),
        ({"video_url": "{store}/long.mp4"}, "under 30 s"),
        ({"mode": "adhere_4"}, "mode: must be one of"),
        ({"prompt": 5}, "prompt: text expected"),
        ({"first_frame_url": "{store}/clip.mp4"}, "not a PNG, JPEG or WebP image"),
    ],
)
def test_an_invalid_body_is_accepted_then_fails_and_is_not_billed(
    fields: dict[str, Any],
    error: str,
    api: httpx.Client,
    simulator: Simulator,
    store: ClipStore,
    wait_for_end: WaitForEnd,
) -> None:
    body = {"video_url": "{store}/clip.mp4"} | fields
    for name, value in body.items():
        if isinstance(value, str):
            body[name] = value.replace("{store}", store.url)
    request_id = api.post("/v2/modify-video", json=body).json()["request_id"]
    failed = wait_for_end(request_id)
    assert failed.status_code == 422
    assert error in failed.json()["error"]
    assert "cost" not in failed.json()["metrics"]
    assert "total_time" in failed.json()["metrics"]
    assert api.get(f"/v2/requests/{request_id}").status_code == 422
    assert api.get("/v1/get-user-credits").json() == {"credits": 100.0, "free-credits": 0}
    ledger = simulator.ledger()
    assert (ledger["paid_requests"], ledger["paid_total"]) == (0, 0)
    assert ledger["requests"][0]["paid"] is False


@pytest.mark.parametrize("form", ["error", "detail", "detail_list"])
@pytest.mark.parametrize("status", [200, 422])
def test_a_failure_is_reported_in_every_form(
    form: str, status: int, simulator: Simulator, submit: Submit, wait_for_end: WaitForEnd
) -> None:
    simulator.change(fail="Content was blocked", fail_as=form, failed_status=status)
    failed = wait_for_end(submit())
    assert failed.status_code == status
    body = failed.json()
    assert body["status"] == "FAILED"
    reported = {name: body[name] for name in ("error", "detail") if name in body}
    if form == "detail_list":
        item = {"loc": ["body"], "msg": "Content was blocked", "type": "value_error"}
        assert reported == {"detail": [item]}
    else:
        assert reported == {form: "Content was blocked"}


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "SG_other"}])
@pytest.mark.parametrize(
    "path", ["/v2/requests/x/status", "/v2/requests/x", "/v1/get-user-credits", HISTORY]
)
def test_the_api_rejects_a_missing_or_wrong_key(
    path: str, headers: dict[str, str], web: httpx.Client, simulator: Simulator
) -> None:
    rejected = web.get(simulator.url + path, headers=headers)
    assert rejected.status_code == 401
    assert rejected.json()["error"] == "invalid_api_key"
    assert rejected.json()["status_code"] == 401
    assert simulator.ledger()["misplaced_keys"] == []


def test_a_download_rejects_the_key_and_supports_ranges(
    web: httpx.Client,
    api: httpx.Client,
    simulator: Simulator,
    submit: Submit,
    wait_for_end: WaitForEnd,
) -> None:
    request_id = submit()
    wait_for_end(request_id)
    url = api.get(f"/v2/requests/{request_id}").json()["output"]
    assert api.get(url).status_code == 400
    misplaced = [{"method": "GET", "path": httpx.URL(url).path}]
    assert simulator.ledger()["misplaced_keys"] == misplaced
    part = web.get(url, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-type"] == "video/mp4"
    whole = web.get(url)
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"


def test_invalid_calls_get_the_errors_of_the_contract(api: httpx.Client) -> None:
    submit = "/v2/modify-video"
    json_type = {"content-type": "application/json"}
    assert api.post(submit, content=b"{}").status_code == 406
    assert api.post(submit, content=b"{", headers=json_type).status_code == 400
    assert api.post(submit, json=[1]).status_code == 400
    assert api.post("/v2/other-model", json={}).status_code == 404
    unknown = api.get("/v2/requests/none/status")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "Request none not found"})
    wrong_method = api.delete(submit)
    assert wrong_method.status_code == 405
    assert wrong_method.text.startswith("<html>")
    assert api.get("/nowhere").json() == {"error": "Not found"}


@pytest.mark.parametrize("status", [402, 406])
def test_a_submit_without_enough_credits_is_rejected_and_not_charged(
    status: int, api: httpx.Client, simulator: Simulator, submit: Submit
) -> None:
    simulator.change(credits=0.61, no_credits_status=status)
    submit()
    rejected = api.post("/v2/modify-video", json={})
    assert rejected.status_code == status
    assert "credits" in rejected.json()["error"]
    simulator.change(credits=1)
    submit()
    ledger = simulator.ledger()
    assert (ledger["paid_requests"], ledger["paid_total"], ledger["credits"]) == (2, 1.2, 0.4)
    assert ledger["calls"]["submit"] == {"200": 2, str(status): 1}


@pytest.mark.parametrize("billing", BILLINGS)
def test_a_request_is_billed_by_what_the_setting_says(
    billing: str,
    api: httpx.Client,
    simulator: Simulator,
    store: ClipStore,
    submit: Submit,
    wait_for_end: WaitForEnd,
) -> None:
    picture = probe(store.folder / "clip.mp4")
    simulator.change(billing=billing, price=0.25)
    request_id = submit()
    cost = wait_for_end(request_id).json()["metrics"]["cost"]
    expected = {
        "request": 0.25,
        "second": 0.25 * picture.seconds,
        "megapixel": 0.25 * picture.width * picture.height * 24 * picture.seconds / 1e6,
    }
    assert cost == pytest.approx(expected[billing], abs=1e-4)
    ledger = simulator.ledger()
    assert ledger["paid_total"] == pytest.approx(cost)
    assert ledger["credits"] == pytest.approx(100 - cost)


@pytest.mark.parametrize(("reports", "cost"), [("nothing", None), ("zero", 0), ("absurd", 1e6)])
def test_a_result_can_state_no_price_or_a_wrong_one(
    reports: str,
    cost: float | None,
    simulator: Simulator,
    submit: Submit,
    wait_for_end: WaitForEnd,
) -> None:
    simulator.change(reports=reports)
    assert wait_for_end(submit()).json()["metrics"].get("cost") == cost
    assert simulator.ledger()["paid_total"] == 0.6


def test_calls_above_the_rate_get_429_and_are_counted(
    api: httpx.Client, simulator: Simulator, submit: Submit
) -> None:
    simulator.change(requests_per_minute=4)
    request_id = submit()
    paths = [f"/v2/requests/{request_id}/status", f"/v2/requests/{request_id}", HISTORY]
    assert [api.get(path).status_code for path in paths] == [200, 200, 200]
    rejected = api.get(paths[0])
    assert rejected.status_code == 429
    assert "retry-after" not in rejected.headers
    reset = datetime.fromisoformat(rejected.headers["x-rate-limit-reset-at-utc"])
    assert 50 < (reset - datetime.now(UTC)).total_seconds() <= 60
    assert api.post("/v2/modify-video", json={}).status_code == 429
    assert api.get("/v1/get-user-credits").status_code == 200
    ledger = simulator.ledger()
    assert (ledger["rate_limited"], len(ledger["requests"])) == (2, 1)


def test_an_expired_request_is_not_found_but_its_history_and_file_remain(
    web: httpx.Client,
    api: httpx.Client,
    simulator: Simulator,
    submit: Submit,
    wait_for_end: WaitForEnd,
) -> None:
    request_id = submit()
    wait_for_end(request_id)
    simulator.change(record_life_seconds=0)
    for path in (
        f"/v2/requests/{request_id}/status",
        f"/v2/requests/{request_id}",
        f"/v1/requests/{request_id}",
    ):
        expired = api.get(path)
        assert expired.status_code == 404
        assert expired.json() == {"error": f"Request {request_id} not found"}
    url = api.get(f"{HISTORY}/{request_id}").json()["generation_url"]
    assert web.get(url).status_code == 200
    simulator.change(file_life_seconds=0)
    assert web.get(url).status_code == 404


class RequestIds(NamedTuple):
    """The requests in the history, by their state, oldest first."""

    completed: str
    failed: str
    running: str


@pytest.fixture
def ids(simulator: Simulator, submit: Submit, wait_for_end: WaitForEnd) -> RequestIds:
    """Three requests in different states."""
    completed = submit(mode="flex_1")
    failed = submit("absent.mp4")
    wait_for_end(completed)
    wait_for_end(failed)
    simulator.change(render_seconds=60)
    return RequestIds(completed, failed, running=submit())


def test_the_history_lists_completed_failed_and_running_requests_with_their_bodies(
    api: httpx.Client, store: ClipStore, ids: RequestIds
) -> None:
    page = api.get(HISTORY).json()
    listed = [row["request_id"] for row in page["data"]]
    assert listed == [ids.running, ids.failed, ids.completed]
    assert page["total"] == 3
    rows = {row["model_status"]: row for row in page["data"]}
    completed = rows["COMPLETED"]
    video_url = f"{store.url}/clip.mp4?signature=1"
    assert completed["request_body"] == {"video_url": video_url, "mode": "flex_1"}
    assert completed["model_name"] == "modify-video"
    assert completed["credits_deduction"] == 0.6
    assert completed["latency_ms"] > 0
    assert completed["error"] is None
    assert rows["FAILED"]["generation_url"] is None
    assert "404" in rows["FAILED"]["error"]
    assert rows["PENDING"]["request_id"] == ids.running
    assert rows["PENDING"]["latency_ms"] is None
    assert api.get(f"{HISTORY}/{ids.completed}").json() == completed
    assert api.get(f"{HISTORY}/other").status_code == 404


def test_the_history_can_be_filtered_sorted_and_paged(api: httpx.Client, ids: RequestIds) -> None:
    def listed(**query: Any) -> list[str]:
        return [row["request_id"] for row in api.get(HISTORY, params=query).json()["data"]]

    today = datetime.now(UTC).date().isoformat()
    second = {"per_page": 1, "page": 2, "sort_order": "asc"}
    assert listed(status="FAILED") == [ids.failed]
    assert listed(**second, from_date=today, to_date=today) == [ids.failed]
    assert listed(sort_by="credits_deduction")[0] == ids.completed
    assert listed(model_name="modify") == [ids.running, ids.failed, ids.completed]
    assert listed(model_name="other") == []
    assert listed(from_date="2020-01-01", to_date="2020-01-31") == []


@pytest.mark.parametrize(
    "query", [{"per_page": 101}, {"page": "x"}, {"from_date": "2020-01-01"}, {"sort_by": "id"}]
)
def test_the_history_rejects_invalid_parameters(api: httpx.Client, query: dict[str, Any]) -> None:
    assert api.get(HISTORY, params=query).status_code == 400


def test_the_history_can_be_late_and_use_another_key_for_its_list(
    api: httpx.Client, simulator: Simulator, ids: RequestIds
) -> None:
    simulator.change(history_delay_seconds=60, history_list_key="requests")
    assert api.get(HISTORY).json()["requests"] == []
    assert api.get(f"{HISTORY}/{ids.completed}").status_code == 404


@pytest.mark.parametrize(
    "invalid",
    [
        {"shape": "cube"},
        {"render_seconds": "3"},
        {"credits": -1},
        {"color": 1},
        {"failed_status": 500},
    ],
)
def test_an_invalid_setting_is_rejected(simulator: Simulator, invalid: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(invalid))):
        simulator.change(**invalid)


def test_an_invalid_initial_setting_is_rejected() -> None:
    with pytest.raises(ValueError, match="price"):
        Settings(price=-0.5)

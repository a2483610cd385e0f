"""The API as SEGMIND.md has it: answers, states, money, rate, lives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from local.simulator import Settings, Simulator
from local.simulator.settings import JSON_SHAPES, SHAPES
from tests.simulator.clip_store import Store

Submit = Callable[..., str]
Ended = Callable[[str], httpx.Response]


def find_url(found: Any) -> str:
    """Return the first URL of a result file anywhere in a body."""
    if isinstance(found, str):
        if found.startswith(("[", "{", '"')):
            return find_url(json.loads(found))
        return found if "/files/" in found else ""
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else []
    return next(filter(None, map(find_url, inner)), "")


def test_a_submit_names_the_request_and_where_to_ask(api: httpx.Client, sim: Simulator, store: Store) -> None:
    body = api.post("/v2/modify-video", json={"video_url": f"{store.url}/clip.mp4"}).json()
    made = body["request_id"]
    assert body == {
        "request_id": made,
        "status": "QUEUED",
        "poll_url": f"{sim.url}/v1/requests/{made}",
        "status_url": f"{sim.url}/v2/requests/{made}/status",
        "response_url": f"{sim.url}/v2/requests/{made}",
    }


def test_a_request_goes_from_queued_over_processing_to_completed(api: httpx.Client, sim: Simulator, submit: Submit, ended: Ended) -> None:
    sim.change(queue_seconds=0.3, render_seconds=0.5)
    start, made = time.monotonic(), submit()
    running = api.get(f"/v2/requests/{made}/status")
    assert running.status_code == 200
    assert (running.json()["status"], running.json()["metrics"]) == ("QUEUED", {})
    assert api.get(f"/v2/requests/{made}").json()["status"] == "QUEUED"
    time.sleep(0.4)
    assert api.get(f"/v2/requests/{made}/status").json()["status"] == "PROCESSING"
    answer = ended(made)
    assert time.monotonic() - start >= 0.8
    metrics = answer.json()["metrics"]
    assert answer.json() == {"status": "COMPLETED", "request_id": made, "metrics": metrics}
    assert 0.3 <= metrics["queue_time"] < metrics["inference_time"] < metrics["total_time"]
    assert (metrics["cost"], metrics["remaining_credits"], metrics["retry_count"]) == (0.6, 99.4, 0)


def test_every_shape_leads_to_the_file(web: httpx.Client, api: httpx.Client, sim: Simulator, submit: Submit, ended: Ended) -> None:
    made = submit()
    ended(made)
    seen = set()
    for shape in SHAPES + JSON_SHAPES:
        sim.change(shape=shape)
        body = api.get(f"/v2/requests/{made}").json()
        assert body["status"] == "COMPLETED"
        assert "cost" in body["metrics"]
        file = web.get(find_url(body))
        assert file.status_code == 200
        assert file.content[4:8] == b"ftyp"
        seen.add(json.dumps({name: body[name] for name in body.keys() - {"metrics"}}, sort_keys=True))
        if shape == "video_only":
            assert body["video"]["file_size"] == len(file.content)
            assert "output" not in body
        assert api.get(f"/v1/requests/{made}").json() == body
    assert len(seen) == len(SHAPES + JSON_SHAPES)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"video_url": None}, "video_url: field required"),
        ({"video_url": "data:video/mp4;base64,AAAA"}, "an http or https URL expected"),
        ({"video_url": "http://127.0.0.1:9/clip.mp4"}, "could not be fetched (ConnectError)"),
        ({"video_url": "{store}/absent.mp4"}, "could not be fetched (HTTP 404)"),
        ({"video_url": "{store}/text.mp4"}, "not an MP4 file"),
        ({"video_url": "{store}/broken.mp4"}, "no video stream can be read"),
        ({"video_url": "{store}/long.mp4"}, "at most 30 s"),
        ({"mode": "adhere_4"}, "mode: must be one of"),
        ({"prompt": 5}, "prompt: text expected"),
        ({"first_frame_url": "{store}/clip.mp4"}, "not a PNG, JPEG or WebP image"),
    ],
)
def test_a_bad_body_is_accepted_then_failed_and_not_billed(
    fields: dict[str, Any], why: str, api: httpx.Client, sim: Simulator, store: Store, ended: Ended
) -> None:
    body = {"video_url": f"{store.url}/clip.mp4"} | fields
    body = {k: v.replace("{store}", store.url) if isinstance(v, str) else v for k, v in body.items()}
    made = api.post("/v2/modify-video", json=body).json()["request_id"]
    answer = ended(made)
    assert answer.status_code == 422
    assert why in answer.json()["error"]
    assert "cost" not in answer.json()["metrics"]
    assert "total_time" in answer.json()["metrics"]
    assert api.get(f"/v2/requests/{made}").status_code == 422
    assert api.get("/v1/get-user-credits").json() == {"credits": 100.0, "free-credits": 0}
    ledger = sim.ledger()
    assert (ledger["paid_requests"], ledger["paid_total"], ledger["requests"][0]["paid"]) == (0, 0, False)


@pytest.mark.parametrize("form", ["error", "detail", "detail_list"])
@pytest.mark.parametrize("status", [200, 422])
def test_a_failure_speaks_in_every_form(form: str, status: int, sim: Simulator, submit: Submit, ended: Ended) -> None:
    sim.change(fail="Content was blocked", fail_as=form, failed_status=status)
    answer = ended(submit())
    assert answer.status_code == status
    assert answer.json()["status"] == "FAILED"
    told = {name: answer.json()[name] for name in ("error", "detail") if name in answer.json()}
    listed = [{"loc": ["body"], "msg": "Content was blocked", "type": "value_error"}]
    assert told == ({"detail": listed} if form == "detail_list" else {form: "Content was blocked"})


def test_the_key_is_asked_for_and_the_file_refuses_it(
    web: httpx.Client, api: httpx.Client, sim: Simulator, submit: Submit, ended: Ended
) -> None:
    for path in (
        "/v2/requests/x/status",
        "/v2/requests/x",
        "/v1/get-user-credits",
        "/inference-request/request-history",
    ):
        for headers in ({}, {"x-api-key": "SG_other"}):
            refused = web.get(sim.url + path, headers=headers)
            assert refused.status_code == 401
            assert (refused.json()["error"], refused.json()["status_code"]) == ("invalid_api_key", 401)
    made = submit()
    ended(made)
    url = api.get(f"/v2/requests/{made}").json()["output"]
    assert api.get(url).status_code == 400
    assert sim.ledger()["misplaced_keys"] == [{"method": "GET", "path": httpx.URL(url).path}]
    part = web.get(url, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"ftyp", "video/mp4")
    whole = web.get(url)
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"


def test_wrong_calls_get_the_errors_of_the_contract(api: httpx.Client) -> None:
    assert api.post("/v2/modify-video", content=b"{}").status_code == 406
    assert api.post("/v2/modify-video", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert api.post("/v2/modify-video", json=[1]).status_code == 400
    assert api.post("/v2/other-model", json={}).status_code == 404
    unknown = api.get("/v2/requests/none/status")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "Request none not found"})
    wrong_method = api.delete("/v2/modify-video")
    assert wrong_method.status_code == 405
    assert wrong_method.text.startswith("<html>")
    assert api.get("/nowhere").json() == {"error": "Not found"}


@pytest.mark.parametrize("status", [402, 406])
def test_out_of_credits_refuses_and_is_not_charged(status: int, api: httpx.Client, sim: Simulator, submit: Submit) -> None:
    sim.change(credits=0.61, no_credits_status=status)
    submit()
    refused = api.post("/v2/modify-video", json={})
    assert refused.status_code == status
    assert "credits" in refused.json()["error"]
    sim.change(credits=1)
    submit()
    ledger = sim.ledger()
    assert (ledger["paid_requests"], ledger["paid_total"], ledger["credits"]) == (2, 1.2, 0.4)
    assert ledger["calls"]["submit"] == {"200": 2, str(status): 1}


def test_calls_above_the_rate_are_429_and_counted(api: httpx.Client, sim: Simulator, submit: Submit) -> None:
    sim.change(requests_per_minute=4)
    made = submit()
    paths = [f"/v2/requests/{made}/status", f"/v2/requests/{made}", "/inference-request/request-history"]
    assert [api.get(path).status_code for path in paths] == [200, 200, 200]
    refused = api.get(paths[0])
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    reset = datetime.fromisoformat(refused.headers["x-rate-limit-reset-at-utc"])
    assert 50 < (reset - datetime.now(UTC)).total_seconds() <= 60
    assert api.post("/v2/modify-video", json={}).status_code == 429
    assert api.get("/v1/get-user-credits").status_code == 200
    ledger = sim.ledger()
    assert (ledger["rate_limited"], len(ledger["requests"])) == (2, 1)


def test_a_record_dies_but_history_and_file_live_on(
    web: httpx.Client, api: httpx.Client, sim: Simulator, submit: Submit, ended: Ended
) -> None:
    made = submit()
    ended(made)
    sim.change(record_life_seconds=0)
    for path in (f"/v2/requests/{made}/status", f"/v2/requests/{made}", f"/v1/requests/{made}"):
        assert (api.get(path).status_code, api.get(path).json()) == (404, {"error": f"Request {made} not found"})
    url = api.get(f"/inference-request/request-history/{made}").json()["generation_url"]
    assert web.get(url).status_code == 200
    sim.change(file_life_seconds=0)
    assert web.get(url).status_code == 404


def test_history_lists_failed_and_running_requests_with_their_bodies(
    api: httpx.Client, sim: Simulator, store: Store, submit: Submit, ended: Ended
) -> None:
    done, failed = submit(mode="flex_1"), submit("absent.mp4")
    ended(done), ended(failed)
    sim.change(render_seconds=60)
    running = submit()
    path = "/inference-request/request-history"
    page = api.get(path).json()
    assert [row["request_id"] for row in page["data"]] == [running, failed, done]
    assert page["total"] == 3
    rows = {row["model_status"]: row for row in page["data"]}
    completed = rows["COMPLETED"]
    assert completed["request_body"] == {"video_url": f"{store.url}/clip.mp4?signature=1", "mode": "flex_1"}
    assert (completed["model_name"], completed["credits_deduction"]) == ("modify-video", 0.6)
    assert completed["latency_ms"] > 0
    assert completed["error"] is None
    assert rows["FAILED"]["generation_url"] is None
    assert "404" in rows["FAILED"]["error"]
    assert rows["PENDING"]["request_id"] == running
    assert rows["PENDING"]["latency_ms"] is None
    assert api.get(f"{path}/{done}").json() == completed
    assert api.get(f"{path}/other").status_code == 404

    def ids(**query: Any) -> list[str]:
        return [row["request_id"] for row in api.get(path, params=query).json()["data"]]

    today = datetime.now(UTC).date().isoformat()
    assert ids(status="FAILED") == [failed]
    assert ids(per_page=1, page=2, sort_order="asc", from_date=today, to_date=today) == [failed]
    assert ids(sort_by="credits_deduction")[0] == done
    assert ids(model_name="modify") == [running, failed, done]
    assert ids(model_name="other") == []
    assert ids(from_date="2020-01-01", to_date="2020-01-31") == []
    for bad in ({"per_page": 101}, {"page": "x"}, {"from_date": "2020-01-01"}, {"sort_by": "id"}):
        assert api.get(path, params=bad).status_code == 400
    sim.change(history_delay_seconds=60, history_list_key="requests")
    assert api.get(path).json()["requests"] == []
    assert api.get(f"{path}/{done}").status_code == 404


def test_settings_that_do_not_fit_are_refused(sim: Simulator) -> None:
    for wrong in ({"shape": "cube"}, {"render_seconds": "3"}, {"credits": -1}, {"colour": 1}, {"failed_status": 500}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            sim.change(**wrong)
    with pytest.raises(ValueError, match="price"):
        Settings(price=-0.5)

"""Faults on demand, seen from the client's side, and what they leave in the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from local.simulator import Settings, Simulator
from tests.simulator.clip_store import KEY, Store

Submit = Callable[..., str]
Ended = Callable[[str], httpx.Response]


@pytest.fixture
def post(api: httpx.Client, store: Store) -> Callable[[], httpx.Response]:
    return lambda: api.post("/v2/modify-video", json={"video_url": f"{store.url}/clip.mp4"})


@pytest.fixture
def file_url(api: httpx.Client, submit: Submit, ended: Ended) -> str:
    made = submit()
    ended(made)
    return str(api.get(f"/v2/requests/{made}").json()["output"])


@pytest.mark.parametrize("processed", [False, True])
def test_a_reset_loses_the_answer_before_or_after_the_request_is_paid(
    processed: bool, api: httpx.Client, sim: Simulator, post: Callable[[], httpx.Response]
) -> None:
    sim.add_rule("submit", fault="reset", processed=processed, times=1)
    with pytest.raises(httpx.ReadError) as caught:
        post()
    assert "reset" in str(caught.value).lower()  # ECONNRESET, not an early end
    ledger = sim.ledger()
    assert (ledger["paid_requests"], ledger["calls"]["submit"]) == (int(processed), {"reset": 1})
    assert len(api.get("/inference-request/request-history").json()["data"]) == int(processed)
    assert post().status_code == 200


@pytest.mark.parametrize("processed", [False, True])
def test_a_gateway_error_may_hide_a_paid_request(processed: bool, sim: Simulator, post: Callable[[], httpx.Response]) -> None:
    sim.add_rule("submit", fault="answer", status=504, processed=processed, times=1)
    answer = post()
    assert answer.status_code == 504
    assert answer.headers["content-type"].startswith("text/html")
    assert sim.ledger()["paid_requests"] == int(processed)


def test_any_status_with_any_body_can_be_answered(api: httpx.Client, sim: Simulator) -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"status": 403}, 403, '{"error":"Forbidden"}'),
        ({"status": 406, "body": {"error": "Team spend limit reached"}}, 406, '{"error":"Team spend limit reached"}'),
        ({"status": 429, "headers": {"retry-after": "2"}}, 429, '{"error":"Too Many Requests"}'),
        ({"status": 200, "html": "<p>hello</p>"}, 200, "<p>hello</p>"),
    ]
    for fields, status, text in cases:
        sim.add_rule("credits", fault="answer", times=1, **fields)
        answer = api.get("/v1/get-user-credits")
        assert (answer.status_code, answer.text) == (status, text)
        assert answer.headers.items() >= fields.get("headers", {}).items()
    sim.add_rule("credits", fault="empty", times=1)
    assert (api.get("/v1/get-user-credits").status_code, api.get("/v1/get-user-credits").status_code) == (200, 200)


def test_an_empty_and_a_truncated_body_cannot_be_parsed(api: httpx.Client, sim: Simulator) -> None:
    for fault in ("empty", "truncate"):
        sim.add_rule("credits", fault=fault, times=1)
        answer = api.get("/v1/get-user-credits")
        assert answer.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            answer.json()


def test_a_rule_holds_for_its_times_and_its_clip_only(api: httpx.Client, sim: Simulator, submit: Submit) -> None:
    sim.add_rule("status", match="/sound", fault="answer", status=404, times=2)
    clip, sound = submit(), submit("sound.mp4")
    assert api.get(f"/v2/requests/{clip}/status").status_code == 200
    assert [api.get(f"/v2/requests/{sound}/status").status_code for _ in range(3)] == [404, 404, 200]
    assert sim.ledger()["rules"][0]["hits"] == 2


def test_an_answer_without_an_id_and_an_unknown_word(
    api: httpx.Client, sim: Simulator, submit: Submit, post: Callable[[], httpx.Response]
) -> None:
    sim.add_rule("submit", fault="no_id", times=1)
    assert post().json() == {"status": "QUEUED"}
    assert sim.ledger()["paid_requests"] == 1
    sim.add_rule("status", fault="word", word="THAWING")
    assert api.get(f"/v2/requests/{submit()}/status").json()["status"] == "THAWING"


def test_a_delayed_answer_times_out_though_the_request_is_taken(
    sim: Simulator, post: Callable[[], httpx.Response], api: httpx.Client
) -> None:
    sim.add_rule("submit", fault="delay", seconds=20, times=1)
    api.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        post()
    assert sim.ledger()["paid_requests"] == 1


def test_a_slow_body_arrives_whole_in_the_end(api: httpx.Client, sim: Simulator) -> None:
    sim.add_rule("credits", fault="slow", seconds=0.4)
    start = time.monotonic()
    assert api.get("/v1/get-user-credits").json()["credits"] == 100
    assert time.monotonic() - start > 0.35


def test_a_redirect_to_another_host_tells_whether_the_key_followed(
    web: httpx.Client, api: httpx.Client, sim: Simulator, file_url: str
) -> None:
    sim.add_rule("status", fault="redirect")
    sim.add_rule("file", fault="redirect", status=302)
    answer = api.get("/v2/requests/x/status")
    target = answer.headers["location"]
    assert answer.status_code == 307
    assert httpx.URL(target).host == "localhost"
    web.get(target, headers={"x-api-key": KEY})
    assert sim.ledger()["misplaced_keys"] == [{"method": "GET", "path": httpx.URL(target).path}]
    moved = web.get(file_url, follow_redirects=True)
    assert moved.status_code == 200
    assert moved.content[4:8] == b"ftyp"


def until_it_breaks(answer: httpx.Response) -> bytes:
    """Return what arrives of a body that must not end well."""
    got = b""
    try:
        for chunk in answer.iter_raw():
            got += chunk
    except httpx.RemoteProtocolError:
        return got
    raise AssertionError("the body did not break off")


def test_a_file_breaks_after_so_many_bytes_and_goes_on_by_range(web: httpx.Client, sim: Simulator, file_url: str) -> None:
    whole = web.get(file_url).content
    sim.add_rule("file", fault="break", bytes=1000, times=2)
    got = b""
    for _ in range(2):
        with web.stream("GET", file_url, headers={"range": f"bytes={len(got)}-"}) as answer:
            assert int(answer.headers["content-length"]) == len(whole) - len(got)
            got += until_it_breaks(answer)
    assert got == whole[:2000]
    got += web.get(file_url, headers={"range": "bytes=2000-"}).content
    assert got == whole


def test_a_file_without_a_length_with_a_wrong_one_and_with_wrong_content(web: httpx.Client, sim: Simulator, file_url: str) -> None:
    whole = web.get(file_url)
    sim.add_rule("file", fault="chunked", times=1)
    chunked = web.get(file_url)
    assert "content-length" not in chunked.headers
    assert chunked.content == whole.content
    sim.add_rule("file", fault="chunked", bytes=500, times=1)
    with web.stream("GET", file_url) as broken:
        assert "content-length" not in broken.headers
        assert until_it_breaks(broken) == whole.content[:500]
    sim.add_rule("file", fault="length", bytes=500, times=1)
    with pytest.raises(httpx.RemoteProtocolError, match=f"received {len(whole.content)} bytes"):
        web.get(file_url)
    sim.add_rule("file", fault="length", bytes=-500, times=1)
    assert web.get(file_url).content == whole.content[:-500]
    sim.add_rule("file", fault="content", body="<html>sorry</html>", times=1)
    wrong = web.get(file_url)
    assert (wrong.text, wrong.headers["content-type"]) == ("<html>sorry</html>", "video/mp4")
    assert web.get(file_url).content == whole.content


def test_a_rule_gives_single_requests_their_own_settings(api: httpx.Client, sim: Simulator, submit: Submit, ended: Ended) -> None:
    sim.add_rule("submit", match="/sound", settings={"fail": "Blocked", "fail_as": "detail", "failed_status": 200})
    sim.add_rule("submit", match="/clip", settings={"shape": "url", "queue_seconds": 0.1})
    clip, sound = submit(), submit("sound.mp4")
    failed = ended(sound)
    assert (failed.status_code, failed.json()["detail"]) == (200, "Blocked")
    assert ended(clip).json()["metrics"]["queue_time"] >= 0.1
    assert "/files/" in api.get(f"/v2/requests/{clip}").json()["url"]


def test_a_stop_does_not_wait_for_a_delayed_answer(api: httpx.Client, capfd: pytest.CaptureFixture[str]) -> None:
    with Simulator(Settings(key=KEY)).running() as short, ThreadPoolExecutor() as pool:
        short.add_rule("credits", fault="delay", seconds=60)
        waiting = pool.submit(api.get, f"{short.url}/v1/get-user-credits")
        while not short.ledger()["rules"][0]["hits"]:
            time.sleep(0.01)
        short.stop()
        with pytest.raises(httpx.TransportError):
            waiting.result(timeout=5)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("endpoint", "fields", "why"),
    [
        ("nowhere", {}, "endpoint: 'nowhere' is not one of submit, status"),
        ("file", {"fault": "explode"}, "fault: 'explode' is not one of"),
        ("file", {"settings": {"shape": "url"}}, "only a rule on submit"),
        ("file", {"fault": "word"}, "word: not on a file"),
        ("submit", {"settings": {"key": "SG"}}, "setting: 'key' is not one of"),
        ("submit", {"times": "2"}, "times: a whole number or null expected"),
        ("submit", {"seconds": "2"}, "seconds: float expected"),
        ("submit", {"colour": 1}, "field: 'colour' is not one of"),
        ("submit", {"status": 99}, "status: 200 to 599 expected"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(sim: Simulator, endpoint: str, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sim.add_rule(endpoint, **fields)
    assert sim.ledger()["rules"] == []


def test_a_reset_brings_back_the_start(sim: Simulator, submit: Submit) -> None:
    sim.change(render_seconds=60, credits=5)
    sim.add_rule("status", fault="reset")
    submit()
    sim.reset()
    ledger = sim.ledger()
    assert (ledger["requests"], ledger["rules"], ledger["calls"], ledger["credits"]) == ([], [], {}, 100.0)

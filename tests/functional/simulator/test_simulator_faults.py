"""Faults on demand: what the client sees, and what the ledger records."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from local.simulator import Settings, Simulator
from tests.support.clip_store import KEY, ClipStore

Submit = Callable[..., str]
Post = Callable[[], httpx.Response]
WaitForEnd = Callable[[str], httpx.Response]

CREDITS = "/v1/get-user-credits"


@pytest.fixture
def post(api: httpx.Client, store: ClipStore) -> Post:
    """Submit a clip and return the response, whatever it is."""
    return lambda: api.post("/v2/modify-video", json={"video_url": f"{store.url}/clip.mp4"})


@pytest.fixture
def file_url(api: httpx.Client, submit: Submit, wait_for_end: WaitForEnd) -> str:
    """The URL of a result file."""
    request_id = submit()
    wait_for_end(request_id)
    return str(api.get(f"/v2/requests/{request_id}").json()["output"])


@pytest.mark.parametrize("processed", [False, True])
def test_a_connection_reset_loses_the_response_with_or_without_a_paid_request(
    processed: bool, api: httpx.Client, simulator: Simulator, post: Post
) -> None:
    simulator.add_rule("submit", fault="reset", processed=processed, times=1)
    with pytest.raises(httpx.ReadError) as caught:
        post()
    assert "reset" in str(caught.value).lower()  # ECONNRESET, not an early end
    ledger = simulator.ledger()
    assert ledger["paid_requests"] == int(processed)
    assert ledger["calls"]["submit"] == {"reset": 1}
    history = api.get("/inference-request/request-history").json()
    assert len(history["data"]) == int(processed)
    assert post().status_code == 200


@pytest.mark.parametrize("processed", [False, True])
def test_a_gateway_error_can_hide_a_paid_request(
    processed: bool, simulator: Simulator, post: Post
) -> None:
    simulator.add_rule("submit", fault="answer", status=504, processed=processed, times=1)
    response = post()
    assert response.status_code == 504
    assert response.headers["content-type"].startswith("text/html")
    assert simulator.ledger()["paid_requests"] == int(processed)


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"status": 403}, 403, '{"error":"Forbidden"}'),
        (
            {"status": 406, "body": {"error": "Team spend limit reached"}},
            406,
            '{"error":"Team spend limit reached"}',
        ),
        (
            {"status": 429, "headers": {"retry-after": "2"}},
            429,
            '{"error":"Too Many Requests"}',
        ),
        ({"status": 200, "html": "<p>hello</p>"}, 200, "<p>hello</p>"),
    ],
)
def test_a_rule_can_respond_with_any_status_and_body(
    fields: dict[str, Any], status: int, text: str, api: httpx.Client, simulator: Simulator
) -> None:
    simulator.add_rule("credits", fault="answer", times=1, **fields)
    response = api.get(CREDITS)
    assert (response.status_code, response.text) == (status, text)
    assert response.headers.items() >= fields.get("headers", {}).items()
    assert api.get(CREDITS).json()["credits"] == 100


@pytest.mark.parametrize("fault", ["empty", "truncate"])
def test_an_empty_or_truncated_body_is_not_valid_json(
    fault: str, api: httpx.Client, simulator: Simulator
) -> None:
    simulator.add_rule("credits", fault=fault, times=1)
    response = api.get(CREDITS)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()
    assert api.get(CREDITS).json()["credits"] == 100


def test_a_rule_applies_only_to_its_clip_and_for_its_number_of_times(
    api: httpx.Client, simulator: Simulator, submit: Submit
) -> None:
    simulator.add_rule("status", match="/sound", fault="answer", status=404, times=2)
    clip, sound = submit(), submit("sound.mp4")
    assert api.get(f"/v2/requests/{clip}/status").status_code == 200
    statuses = [api.get(f"/v2/requests/{sound}/status").status_code for _ in range(3)]
    assert statuses == [404, 404, 200]
    assert simulator.ledger()["rules"][0]["hits"] == 2


def test_a_submit_response_without_a_request_id_is_paid(simulator: Simulator, post: Post) -> None:
    simulator.add_rule("submit", fault="no_id", times=1)
    assert post().json() == {"status": "QUEUED"}
    assert simulator.ledger()["paid_requests"] == 1


def test_a_rule_can_respond_with_an_unknown_status_word(
    api: httpx.Client, simulator: Simulator, submit: Submit
) -> None:
    simulator.add_rule("status", fault="word", word="THAWING")
    assert api.get(f"/v2/requests/{submit()}/status").json()["status"] == "THAWING"


def test_a_delayed_response_times_out_although_the_request_is_accepted(
    api: httpx.Client, simulator: Simulator, post: Post
) -> None:
    simulator.add_rule("submit", fault="delay", seconds=20, times=1)
    api.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        post()
    assert simulator.ledger()["paid_requests"] == 1


def test_a_slow_body_arrives_completely(api: httpx.Client, simulator: Simulator) -> None:
    simulator.add_rule("credits", fault="slow", seconds=0.4)
    start = time.monotonic()
    assert api.get(CREDITS).json()["credits"] == 100
    assert time.monotonic() - start > 0.35


def test_a_redirect_to_another_host_shows_whether_the_key_follows(
    web: httpx.Client, api: httpx.Client, simulator: Simulator, file_url: str
) -> None:
    simulator.add_rule("status", fault="redirect")
    simulator.add_rule("file", fault="redirect", status=302)
    response = api.get("/v2/requests/x/status")
    target = response.headers["location"]
    assert response.status_code == 307
    assert httpx.URL(target).host == "localhost"
    web.get(target, headers={"x-api-key": KEY})
    misplaced = [{"method": "GET", "path": httpx.URL(target).path}]
    assert simulator.ledger()["misplaced_keys"] == misplaced
    file = web.get(file_url, follow_redirects=True)
    assert file.status_code == 200
    assert file.content[4:8] == b"ftyp"


def read_until_it_breaks(response: httpx.Response) -> bytes:
    """Return what arrives of a body that breaks off; fail if it ends properly."""
    received = b""
    try:
        for chunk in response.iter_raw():
            received += chunk
    except httpx.RemoteProtocolError:
        return received
    raise AssertionError("the body did not break off")


def test_a_download_that_breaks_off_can_be_resumed_by_range(
    web: httpx.Client, simulator: Simulator, file_url: str
) -> None:
    whole = web.get(file_url).content
    simulator.add_rule("file", fault="break", bytes=1000, times=2)
    received = b""
    for _ in range(2):
        rest = {"range": f"bytes={len(received)}-"}
        with web.stream("GET", file_url, headers=rest) as response:
            assert int(response.headers["content-length"]) == len(whole) - len(received)
            received += read_until_it_breaks(response)
    assert received == whole[:2000]
    received += web.get(file_url, headers={"range": "bytes=2000-"}).content
    assert received == whole


def test_a_file_can_be_sent_without_its_length(
    web: httpx.Client, simulator: Simulator, file_url: str
) -> None:
    whole = web.get(file_url).content
    simulator.add_rule("file", fault="chunked", times=1)
    chunked = web.get(file_url)
    assert "content-length" not in chunked.headers
    assert chunked.content == whole
    simulator.add_rule("file", fault="chunked", bytes=500, times=1)
    with web.stream("GET", file_url) as response:
        assert "content-length" not in response.headers
        assert read_until_it_breaks(response) == whole[:500]
    assert web.get(file_url).content == whole


def test_a_file_can_be_sent_with_a_wrong_length(
    web: httpx.Client, simulator: Simulator, file_url: str
) -> None:
    whole = web.get(file_url).content
    simulator.add_rule("file", fault="length", bytes=500, times=1)
    with pytest.raises(httpx.RemoteProtocolError, match=f"received {len(whole)} bytes"):
        web.get(file_url)
    simulator.add_rule("file", fault="length", bytes=-500, times=1)
    assert web.get(file_url).content == whole[:-500]
    assert web.get(file_url).content == whole


def test_a_file_can_have_wrong_content(
    web: httpx.Client, simulator: Simulator, file_url: str
) -> None:
    whole = web.get(file_url).content
    simulator.add_rule("file", fault="content", body="<html>sorry</html>", times=1)
    wrong = web.get(file_url)
    assert (wrong.text, wrong.headers["content-type"]) == ("<html>sorry</html>", "video/mp4")
    assert web.get(file_url).content == whole


def test_a_rule_can_change_settings_for_single_requests(
    api: httpx.Client, simulator: Simulator, submit: Submit, wait_for_end: WaitForEnd
) -> None:
    blocked = {"fail": "Blocked", "fail_as": "detail", "failed_status": 200}
    simulator.add_rule("submit", match="/sound", settings=blocked)
    simulator.add_rule("submit", match="/clip", settings={"shape": "url", "queue_seconds": 0.1})
    clip, sound = submit(), submit("sound.mp4")
    failed = wait_for_end(sound)
    assert (failed.status_code, failed.json()["detail"]) == (200, "Blocked")
    assert wait_for_end(clip).json()["metrics"]["queue_time"] >= 0.1
    assert "/files/" in api.get(f"/v2/requests/{clip}").json()["url"]


def test_a_stop_does_not_wait_for_a_delayed_response(
    api: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    with Simulator(Settings(key=KEY)).running() as simulator, ThreadPoolExecutor() as pool:
        simulator.add_rule("credits", fault="delay", seconds=60)
        waiting = pool.submit(api.get, f"{simulator.url}{CREDITS}")
        while not simulator.ledger()["rules"][0]["hits"]:
            time.sleep(0.01)
        simulator.stop()
        with pytest.raises(httpx.TransportError):
            waiting.result(timeout=5)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("endpoint", "fields", "error"),
    [
        ("nowhere", {}, "endpoint: 'nowhere' is not one of submit, status"),
        ("file", {"fault": "explode"}, "fault: 'explode' is not one of"),
        ("file", {"settings": {"shape": "url"}}, "only a rule on submit"),
        ("file", {"fault": "word"}, "word: not on a file"),
        ("submit", {"settings": {"key": "SG"}}, "setting: 'key' is not one of"),
        ("submit", {"times": "2"}, "times: a whole number or null expected"),
        ("submit", {"seconds": "2"}, "seconds: float expected"),
        ("submit", {"color": 1}, "field: 'color' is not one of"),
        ("submit", {"status": 99}, "status: 200 to 599 expected"),
    ],
)
def test_an_invalid_rule_is_rejected(
    simulator: Simulator, endpoint: str, fields: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        simulator.add_rule(endpoint, **fields)
    assert simulator.ledger()["rules"] == []


def test_a_reset_restores_the_initial_state(simulator: Simulator, submit: Submit) -> None:
    simulator.change(render_seconds=60, credits=5)
    simulator.add_rule("status", fault="reset")
    submit()
    simulator.reset()
    ledger = simulator.ledger()
    assert (ledger["requests"], ledger["rules"], ledger["calls"]) == ([], [], {})
    assert ledger["credits"] == 100.0

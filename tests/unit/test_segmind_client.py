"""Segmind over real HTTP on this machine: where the key goes, lost responses, broken downloads."""

import socket
import threading
from urllib.parse import parse_qsl

import httpx
import pytest

from retake.aws.secrets import ApiKey
from retake.domain.job import HoldReason
from retake.segmind import download, transport
from retake.segmind.client import MAX_RESPONSE_BYTES, SegmindClient
from retake.segmind.download import ResultFiles, ResultUnavailableError
from retake.segmind.responses import Accepted, Ambiguous, Deferred, Rejected
from tests.support.server import (
    KEY,
    KEY_ARN,
    VIDEO,
    FakeSecretsManager,
    Request,
    Responder,
    Server,
    chunked,
    client_of,
    fetch,
    ranged,
    reply,
    submit,
)


def hang(request: Request) -> None:
    threading.Event().wait(0.6)
    request.close_connection = True


def reset(request: Request) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    request.close_connection = True


def open_result(server: Server, url: str | None = None) -> download.ResultStream:
    return ResultFiles(base_url=server.url).open(url or server.url)


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", httpx.Timeout(0.3))


# ─── Requests ─────────────────────────────────────────────────────────────────────────────────


def test_requests_go_to_the_documented_paths_with_the_key(server: Server) -> None:
    client = client_of(server)
    client.send(client.new_submit({"video_url": "x"}))
    client.status("r")
    client.result("r")
    client.history("r")
    assert [path for path, _ in server.requests] == [
        "/v2/modify-video",
        "/v2/requests/r/status",
        "/v2/requests/r",
        "/inference-request/request-history/r",
    ]
    assert {headers["x-api-key"] for _, headers in server.requests} == {KEY}
    assert server.requests[0][1]["content-type"] == "application/json"


def test_a_key_is_cached_for_some_minutes_and_read_again_when_it_is_rejected(
    server: Server,
) -> None:
    secrets, now = FakeSecretsManager("SG_old"), [0.0]
    key = ApiKey(client=secrets, secret_arn=KEY_ARN, clock=lambda: now[0])
    client = SegmindClient(base_url=server.url, history_url=server.url, key=key)
    rejected = client.new_submit({})

    def rotate() -> None:
        secrets.text = "SG_new"

    def rotate_and_wait() -> None:
        secrets.text, now[0] = "SG_third", now[0] + 300

    for step in (lambda: None, rotate, client.refresh_key, rotate_and_wait):
        step()
        client.status("r")
    sent = [headers["x-api-key"] for _, headers in server.requests]
    assert sent == ["SG_old", "SG_old", "SG_new", "SG_third"]
    assert [client.refresh_key(rejected), client.refresh_key(rejected)] == [True, False]
    assert rejected.headers["x-api-key"] == "SG_third"


def test_a_key_that_cannot_be_read_again_stays_in_use() -> None:
    secrets = FakeSecretsManager("SG_old\n")
    key = ApiKey(client=secrets, secret_arn=KEY_ARN)
    assert key.get() == "SG_old"
    secrets.broken = True
    key.refresh()
    assert key.get() == "SG_old"


def test_the_history_is_requested_newest_first_as_documented(server: Server) -> None:
    client_of(server).history_page(2, "2027-01-01", "2027-01-03")
    path, _, query = server.requests[0][0].partition("?")
    assert path == "/inference-request/request-history"
    assert dict(parse_qsl(query)) == {
        "page": "2",
        "per_page": "100",
        "from_date": "2027-01-01",
        "to_date": "2027-01-03",
        "model_name": "modify-video",
        "sort_order": "desc",
    }
    assert server.requests[0][1]["x-api-key"] == KEY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_the_key(
    server: Server, other_server: Server, status: int
) -> None:
    server.responses = [reply(status, Location=other_server.url)] * 2
    assert isinstance(submit(server), Ambiguous)
    assert client_of(server).status("r").status == status
    assert other_server.requests == []


@pytest.mark.parametrize(
    "fault", [hang, reset, reply(200, b'{"request_id"', length=500), lambda request: None]
)
def test_a_submit_whose_response_is_lost_may_have_been_accepted(
    server: Server, fault: Responder
) -> None:
    def respond(request: Request) -> None:
        fault(request)
        request.close_connection = True

    server.responses = [respond]
    assert isinstance(submit(server), Ambiguous)
    assert len(server.requests) == 1


def test_a_submit_gets_a_connection_of_its_own(server: Server) -> None:
    """A connection that was used before is dead: it takes a request, and nobody responds."""
    used: list[object] = []

    def respond_once(request: Request) -> None:
        if request.connection in used:
            request.close_connection = True
            return
        used.append(request.connection)
        reply(200, b'{"request_id": "r-1"}')(request)

    server.responses = [respond_once] * 4
    client = client_of(server)
    client.status("r")
    responses = [client.send(client.new_submit({})) for _ in range(2)]
    assert [response.status for response in responses] == [200, 200]
    assert client.status("r").status == 0, "polls reuse their connection"


def test_a_submit_that_could_not_connect_was_not_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert isinstance(submit(Server(f"http://127.0.0.1:{port}")), Deferred)


def test_responses_of_any_content_are_read(server: Server) -> None:
    server.responses = [
        reply(200, b'{"request_id": "r-1"}'),
        reply(400, b'{"error": "no"}'),
        reply(200, b"\xff<html>"),
        reply(200, b" " * 3_000_000),
        reply(200, b"not gzip", Content_Encoding="gzip"),
    ]
    outcomes = [type(submit(server)) for _ in range(5)]
    assert outcomes == [Accepted, Rejected, Ambiguous, Ambiguous, Ambiguous]


def test_a_huge_response_is_not_kept_in_memory(server: Server) -> None:
    server.responses = [reply(200, b"x" * 5_000_000)]
    assert len(client_of(server).status("r").text) <= MAX_RESPONSE_BYTES + 2**17


@pytest.mark.parametrize("key", ["SG_a\nb", "SG_\u200bab", "SG_é", "SG_\0"])
def test_a_key_that_cannot_be_sent_holds_the_job(server: Server, key: str) -> None:
    """The rest of the key is sent, and Segmind rejects it."""
    server.responses = [reply(401, b'{"error": "invalid_api_key"}')]
    outcome = submit(server, key)
    assert isinstance(outcome, Deferred)
    assert outcome.hold_reason is HoldReason.KEY
    assert server.requests[0][1]["x-api-key"].removeprefix("SG_") in ("ab", "")


# ─── Downloads ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("responder", [reply(200, VIDEO), chunked(VIDEO)])
def test_a_result_is_read_completely_without_the_key(server: Server, responder: Responder) -> None:
    server.responses = [responder]
    stream = open_result(server, f"{server.url}/out.mp4")
    assert fetch(stream) == VIDEO
    assert stream.length in (len(VIDEO), None)
    assert "x-api-key" not in server.requests[0][1]


@pytest.mark.parametrize("cut", [0, 5, 12, 70_000, len(VIDEO) - 1])
def test_a_broken_download_resumes_by_range(server: Server, cut: int) -> None:
    server.responses = [reply(200, VIDEO[:cut], length=len(VIDEO), ETag='"e"'), ranged()]
    assert fetch(open_result(server)) == VIDEO
    assert server.requests[1][1]["if-range"] == '"e"'


def test_a_broken_download_of_unknown_length_resumes_by_range(server: Server) -> None:
    server.responses = [chunked(VIDEO[:100_000], end=False), ranged()]
    assert fetch(open_result(server)) == VIDEO


@pytest.mark.parametrize(
    "second",
    [
        reply(200, VIDEO),
        reply(416),
        reply(404),
        ranged(start=0),
        ranged(start=11),
        ranged(status=200),
        reply(206, VIDEO[9:]),
        reset,
        hang,
    ],
)
def test_a_download_that_cannot_resume_where_it_broke_is_unavailable(
    server: Server, second: Responder
) -> None:
    server.responses = [reply(200, VIDEO[:70_000], length=len(VIDEO)), second]
    with pytest.raises(ResultUnavailableError):
        fetch(open_result(server))


def test_a_download_that_keeps_breaking_is_given_up(server: Server) -> None:
    def ten_bytes(request: Request) -> None:
        first = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        reply(
            206,
            VIDEO[first : first + 10],
            length=len(VIDEO) - first,
            Content_Range=f"bytes {first}-/{len(VIDEO)}",
        )(request)

    server.responses = [reply(200, VIDEO[:20], length=len(VIDEO)), *[ten_bytes] * 50]
    with pytest.raises(ResultUnavailableError, match="broke 6 times"):
        fetch(open_result(server))


@pytest.mark.parametrize(
    "responder",
    [
        reply(404),
        reply(403),
        reply(500),
        reply(204),
        reply(200),
        reply(200, b"<html>" * 9),
        reply(200, b"\0\0\0\x18ft"),
    ],
)
def test_a_result_that_is_not_an_mp4_is_unavailable(server: Server, responder: Responder) -> None:
    server.responses = [responder] * 9
    with pytest.raises(ResultUnavailableError):
        open_result(server)


def test_a_redirect_to_another_host_is_followed_without_the_key(
    server: Server, other_server: Server
) -> None:
    server.responses = [reply(302, Location=f"{other_server.url}/moved.mp4")]
    other_server.responses = [reply(200, VIDEO)]
    assert fetch(open_result(server)) == VIDEO
    assert "x-api-key" not in other_server.requests[0][1]


@pytest.mark.parametrize(
    "location",
    [
        "/round",
        "ftp://example.com/x",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/x",
    ],
)
def test_a_redirect_to_a_forbidden_place_is_not_followed(server: Server, location: str) -> None:
    server.responses = [reply(302, Location=location)] * 9
    with pytest.raises(ResultUnavailableError):
        open_result(server)
    assert len(server.requests) <= 4


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]"),
        *("[::ffff:127.0.0.1]", "x@127.0.0.1", "0"),
    ],
)
def test_with_a_public_origin_this_machine_is_never_asked(server: Server, host: str) -> None:
    port = server.url.rpartition(":")[2]
    files = ResultFiles(base_url="https://api.segmind.com")
    for scheme in ("http", "https"):
        with pytest.raises(ResultUnavailableError):
            files.open(f"{scheme}://{host}:{port}/out.mp4")
    assert server.requests == []


def test_a_result_beyond_the_size_limit_is_not_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_RESULT_BYTES", 100_000)
    server.responses = [reply(200, VIDEO)]
    with pytest.raises(ResultUnavailableError, match="larger"):
        fetch(open_result(server))


def test_a_file_that_changed_is_not_joined_to_the_old_one(server: Server) -> None:
    server.responses = [
        reply(200, VIDEO[:70_000], length=len(VIDEO)),
        ranged(total=len(VIDEO) + 5),
    ]
    with pytest.raises(ResultUnavailableError):
        fetch(open_result(server))


@pytest.mark.parametrize("url", ["https://xn--a/", "https://é.example/\ud800"])
def test_a_result_at_an_impossible_url_is_unavailable(url: str) -> None:
    with pytest.raises(ResultUnavailableError):
        ResultFiles(base_url="https://api.segmind.com").open(url)

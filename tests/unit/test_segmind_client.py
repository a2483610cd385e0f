"""Segmind over real HTTP on this machine: where the key goes, what no answer means, and downloads that break."""

import socket
import threading
from collections.abc import Callable
from urllib.parse import parse_qsl

import httpx
import pytest

from retake.adapters import segmind
from retake.adapters.secret import ApiKey
from retake.adapters.segmind import ResultFiles, ResultUnavailable, Segmind
from retake.rules.contract import Accepted, Rejected, Unknown, Withheld
from retake.rules.states import Held

from .server import FILM, KEY, Request, Server, Vault, asking, chunked, fetch, ranged, reply, submit


def hang(request: Request) -> None:
    threading.Event().wait(0.6)
    request.close_connection = True


def reset(request: Request) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    request.close_connection = True


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmind, "_TIMEOUT", httpx.Timeout(0.3))


def test_requests_go_to_the_documented_paths_with_the_key(server: Server) -> None:
    client = asking(server)
    client.send(client.new_submit({"video_url": "x"}))
    client.status("r"), client.result("r"), client.history("r")
    paths = ["/v2/modify-video", "/v2/requests/r/status", "/v2/requests/r", "/inference-request/request-history/r"]
    assert [path for path, _ in server.asked] == paths
    assert {headers["x-api-key"] for _, headers in server.asked} == {KEY}
    assert server.asked[0][1]["content-type"] == "application/json"


def test_a_key_is_kept_a_few_minutes_and_read_again_when_it_was_not_accepted(server: Server) -> None:
    vault, now = Vault("SG_old"), [0.0]
    client = Segmind(server.url, server.url, ApiKey(vault, "id", lambda: now[0]))
    refused = client.new_submit({})

    def rotate() -> None:
        vault.text = "SG_new"

    def wait() -> None:
        vault.text, now[0] = "SG_third", now[0] + 300

    for step in (lambda: None, rotate, client.refresh_key, wait):
        step()
        client.status("r")
    assert [headers["x-api-key"] for _, headers in server.asked] == ["SG_old", "SG_old", "SG_new", "SG_third"]
    assert [client.refresh_key(refused), client.refresh_key(refused)] == [True, False]
    assert refused.headers["x-api-key"] == "SG_third"


def test_a_key_that_cannot_be_read_again_stays_in_use() -> None:
    vault = Vault("SG_old\n")
    key = ApiKey(vault, "id")
    assert key.get() == "SG_old"
    vault.broken = True
    key.refresh()
    assert key.get() == "SG_old"


def test_the_history_is_asked_for_newest_first_as_documented(server: Server) -> None:
    asking(server).history_page(2, "2027-01-01", "2027-01-03")
    path, _, query = server.asked[0][0].partition("?")
    asked = {"page": "2", "per_page": "100", "from_date": "2027-01-01", "to_date": "2027-01-03", "model_name": "modify-video"}
    assert path == "/inference-request/request-history"
    assert dict(parse_qsl(query)) == asked | {"sort_order": "desc"}
    assert server.asked[0][1]["x-api-key"] == KEY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_the_key(server: Server, other: Server, status: int) -> None:
    server.answers = [reply(status, Location=other.url), reply(status, Location=other.url)]
    assert isinstance(submit(server), Unknown)
    assert asking(server).status("r").status == status
    assert other.asked == []


@pytest.mark.parametrize("fault", [hang, reset, reply(200, b'{"request_id"', length=500), lambda request: None])
def test_a_submit_whose_answer_never_came_may_have_been_accepted(server: Server, fault: Callable[[Request], None]) -> None:
    def only_once(request: Request) -> None:
        fault(request)
        request.close_connection = True

    server.answers = [only_once]
    assert isinstance(submit(server), Unknown)
    assert len(server.asked) == 1


def test_a_submit_that_could_not_even_connect_was_not_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert isinstance(submit(Server(f"http://127.0.0.1:{closed.getsockname()[1]}")), Withheld)


def test_answers_are_read_whatever_they_are(server: Server) -> None:
    server.answers = [
        reply(200, b'{"request_id": "r-1"}'),
        reply(400, b'{"error": "no"}'),
        reply(200, b"\xff<html>"),
        reply(200, b" " * 3_000_000),
        reply(200, b"not gzip", Content_Encoding="gzip"),
    ]
    assert [type(submit(server)) for _ in range(5)] == [Accepted, Rejected, Unknown, Unknown, Unknown]


def test_a_giant_answer_is_not_held_in_memory(server: Server) -> None:
    server.answers = [reply(200, b"x" * 5_000_000)]
    assert len(asking(server).status("r").text) <= segmind.MAX_ANSWER_BYTES + 2**17


@pytest.mark.parametrize("key", ["SG_a\nb", "SG_\u200bab", "SG_é", "SG_\0"])
def test_a_key_that_cannot_be_sent_holds_the_job(server: Server, key: str) -> None:
    """What is left of it is sent, for Segmind to refuse."""
    server.answers = [reply(401, b'{"error": "invalid_api_key"}')]
    submitted = submit(server, key)
    assert isinstance(submitted, Withheld)
    assert submitted.held is Held.KEY
    assert server.asked[0][1]["x-api-key"].removeprefix("SG_") in ("ab", "")


@pytest.mark.parametrize("answer", [reply(200, FILM), chunked(FILM)])
def test_a_result_is_read_whole_without_the_key(server: Server, answer: Callable[[Request], None]) -> None:
    server.answers = [answer]
    stream = ResultFiles(server.url).open(f"{server.url}/out.mp4")
    assert fetch(stream) == FILM
    assert stream.length in (len(FILM), None)
    assert "x-api-key" not in server.asked[0][1]


@pytest.mark.parametrize("cut", [0, 5, 12, 70_000, len(FILM) - 1])
def test_a_download_that_breaks_goes_on_by_range(server: Server, cut: int) -> None:
    server.answers = [reply(200, FILM[:cut], length=len(FILM), ETag='"e"'), ranged()]
    assert fetch(ResultFiles(server.url).open(server.url)) == FILM
    assert server.asked[1][1]["if-range"] == '"e"'


def test_a_download_of_unknown_length_that_breaks_goes_on_by_range(server: Server) -> None:
    server.answers = [chunked(FILM[:100_000], end=False), ranged()]
    assert fetch(ResultFiles(server.url).open(server.url)) == FILM


@pytest.mark.parametrize(
    "second",
    [
        reply(200, FILM), reply(416), reply(404), ranged(start=0), ranged(start=11), ranged(status=200), reply(206, FILM[9:]), reset, hang,
    ],
)  # fmt: skip
def test_a_download_that_cannot_go_on_at_its_place_is_unavailable(server: Server, second: Callable[[Request], None]) -> None:
    server.answers = [reply(200, FILM[:70_000], length=len(FILM)), second]
    with pytest.raises(ResultUnavailable):
        fetch(ResultFiles(server.url).open(server.url))


def test_a_download_that_breaks_again_and_again_is_given_up(server: Server) -> None:
    def more(request: Request) -> None:
        first = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        reply(206, FILM[first : first + 10], length=len(FILM) - first, Content_Range=f"bytes {first}-/{len(FILM)}")(request)

    server.answers = [reply(200, FILM[:20], length=len(FILM)), *[more] * 50]
    with pytest.raises(ResultUnavailable, match="broke 6 times"):
        fetch(ResultFiles(server.url).open(server.url))


@pytest.mark.parametrize(
    "answer", [reply(404), reply(403), reply(500), reply(204), reply(200), reply(200, b"<html>" * 9), reply(200, b"\0\0\0\x18ft")]
)
def test_what_is_no_mp4_is_unavailable(server: Server, answer: Callable[[Request], None]) -> None:
    server.answers = [answer] * 9
    with pytest.raises(ResultUnavailable):
        ResultFiles(server.url).open(server.url)


def test_a_redirect_to_another_host_is_followed_without_the_key(server: Server, other: Server) -> None:
    server.answers, other.answers = [reply(302, Location=f"{other.url}/moved.mp4")], [reply(200, FILM)]
    assert fetch(ResultFiles(server.url).open(server.url)) == FILM
    assert "x-api-key" not in other.asked[0][1]


@pytest.mark.parametrize(
    "to", ["/round", "ftp://example.com/x", "file:///etc/passwd", "http://169.254.169.254/latest", "http://10.0.0.1/x"]
)
def test_a_redirect_to_nowhere_good_is_not_followed(server: Server, to: str) -> None:
    server.answers = [reply(302, Location=to)] * 9
    with pytest.raises(ResultUnavailable):
        ResultFiles(server.url).open(server.url)
    assert len(server.asked) <= 4


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "x@127.0.0.1", "0"])
def test_beside_a_public_origin_this_machine_is_not_asked(server: Server, host: str) -> None:
    port = server.url.rpartition(":")[2]
    for scheme in ("http", "https"):
        with pytest.raises(ResultUnavailable):
            ResultFiles("https://api.segmind.com").open(f"{scheme}://{host}:{port}/out.mp4")
    assert server.asked == []


def test_a_result_that_is_larger_than_any_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmind, "MAX_RESULT_BYTES", 100_000)
    server.answers = [reply(200, FILM)]
    with pytest.raises(ResultUnavailable, match="larger"):
        fetch(ResultFiles(server.url).open(server.url))


def test_a_file_that_changed_meanwhile_is_not_joined_to_the_old_one(server: Server) -> None:
    server.answers = [reply(200, FILM[:70_000], length=len(FILM)), ranged(total=len(FILM) + 5)]
    with pytest.raises(ResultUnavailable):
        fetch(ResultFiles(server.url).open(server.url))


@pytest.mark.parametrize("url", ["https://xn--a/", "https://é.example/\ud800"])
def test_an_odd_address_is_unavailable(url: str) -> None:
    with pytest.raises(ResultUnavailable):
        ResultFiles("https://api.segmind.com").open(url)

"""The HTTP transport: one deadline for a whole request, httpx's errors, and nothing implicit."""

import threading
import time
from math import inf

import httpcore
import httpx
import pytest

from retake.segmind.transport import DeadlineBackend, new_client
from tests.support.server import Request, Server, reply


class FailingBackend(DeadlineBackend):
    """Raises an error whenever it should connect."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def connect_tcp(self, *_: object, **__: object) -> httpcore.NetworkStream:
        raise self._error


def drip(request: Request) -> None:
    """Send a byte of an endless body ten times a second."""
    request.close_connection = True
    request.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        request.connection.sendall(b"x")
        threading.Event().wait(0.1)


def test_without_a_deadline_a_step_has_its_own_timeout() -> None:
    backend = DeadlineBackend()
    assert backend.remaining(5) == 5
    assert backend.remaining(None) == inf


def test_a_deadline_shortens_the_timeout_of_a_step_and_never_extends_it() -> None:
    backend = DeadlineBackend()
    backend.end_in(2)
    assert 1 < backend.remaining(None) <= 2
    assert 1 < backend.remaining(20) <= 2
    assert backend.remaining(0.5) == 0.5


@pytest.mark.parametrize("error", [httpcore.ReadTimeout, httpcore.ConnectTimeout])
def test_past_the_deadline_every_step_times_out(error: type[httpcore.TimeoutException]) -> None:
    backend = DeadlineBackend()
    backend.end_in(0)
    with pytest.raises(error):
        backend.remaining(20, error)


@pytest.mark.parametrize(("max_idle", "connections"), [(None, 1), (0, 3)])
def test_connections_are_kept_or_not(
    server: Server, max_idle: int | None, connections: int
) -> None:
    ports: list[int] = []

    def respond(request: Request) -> None:
        ports.append(request.client_address[1])
        reply(200)(request)

    server.responses = [respond] * 3
    client = new_client(DeadlineBackend(), max_idle=max_idle)
    for _ in range(3):
        client.get(server.url)
    assert len(set(ports)) == connections


def test_past_the_deadline_no_connection_is_opened(server: Server) -> None:
    backend = DeadlineBackend()
    backend.end_in(0)
    with pytest.raises(httpx.ConnectTimeout):
        new_client(backend).get(server.url)
    assert server.requests == []


def test_a_body_that_drips_in_ends_at_the_deadline(server: Server) -> None:
    server.responses = [drip]
    backend = DeadlineBackend()
    client = new_client(backend)
    backend.end_in(0.5)
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        client.get(server.url)
    assert time.monotonic() - began < 5


def test_a_connection_that_is_reused_has_the_deadline_of_the_new_request(server: Server) -> None:
    def respond_late(request: Request) -> None:
        threading.Event().wait(0.3)
        reply(200, b"late")(request)

    server.responses = [reply(200, b"first"), respond_late]
    backend = DeadlineBackend()
    client = new_client(backend)
    backend.end_in(0.2)
    assert client.get(server.url).text == "first"
    backend.end_in(10)
    assert client.get(server.url).text == "late"


@pytest.mark.parametrize(
    "name",
    [
        *("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"),
        *("ConnectError", "ReadError", "WriteError", "ProxyError"),
        *("UnsupportedProtocol", "LocalProtocolError", "RemoteProtocolError"),
    ],
)
def test_an_error_of_httpcore_is_raised_as_the_one_of_httpx(name: str) -> None:
    error = getattr(httpcore, name)("why")
    with pytest.raises(getattr(httpx, name), match="why") as raised:
        new_client(FailingBackend(error)).get("http://segmind.example/")
    assert raised.value.__cause__ is error


def test_an_error_of_another_kind_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        new_client(FailingBackend(ZeroDivisionError())).get("http://segmind.example/")


def test_a_body_that_ends_early_is_an_error_of_httpx(server: Server) -> None:
    server.responses = [reply(200, b"x", length=5)]
    with pytest.raises(httpx.RemoteProtocolError):
        new_client(DeadlineBackend()).get(server.url)


def test_method_path_query_headers_and_body_are_sent_as_they_are(server: Server) -> None:
    received: list[tuple[str, str]] = []

    def respond(request: Request) -> None:
        received.append((request.command, request.requestline))
        reply(200, b"fine", X_Header="kept")(request)

    server.responses = [respond]
    response = new_client(DeadlineBackend()).post(
        f"{server.url}/a%20b?c=d&e=%2F", content=b"body", headers={"x-sent": "1"}
    )
    assert received == [("POST", "POST /a%20b?c=d&e=%2F HTTP/1.1")]
    headers = server.requests[0][1]
    assert (headers["x-sent"], headers["content-length"]) == ("1", "4")
    assert (response.status_code, response.text) == (200, "fine")
    assert response.headers["x-header"] == "kept"


def test_redirects_are_not_followed(server: Server, other_server: Server) -> None:
    server.responses = [reply(302, Location=other_server.url)]
    assert new_client(DeadlineBackend()).get(server.url).status_code == 302
    assert other_server.requests == []


def test_cookies_are_not_kept(server: Server) -> None:
    server.responses = [reply(200, Set_Cookie="a=b"), reply(200)]
    client = new_client(DeadlineBackend())
    client.get(server.url)
    client.get(server.url)
    assert len(client.cookies) == 0
    assert "cookie" not in server.requests[1][1]


def test_proxies_of_the_environment_are_not_used(
    server: Server, other_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, other_server.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert new_client(DeadlineBackend()).get(server.url).status_code == 200
    assert (len(server.requests), other_server.requests) == (1, [])

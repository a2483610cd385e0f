"""Servers that lie, stall, flood and redirect: time and memory stay bounded, the key stays here."""

import gzip
import socket
import ssl
import threading
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from retake.domain.limits import MAX_RESULT_BYTES
from retake.segmind import client as segmind_client
from retake.segmind import download, transport
from retake.segmind.client import MAX_RESPONSE_BYTES
from retake.segmind.download import ResultFiles, ResultUnavailableError
from retake.segmind.responses import Accepted, Ambiguous, Deferred
from tests.support.server import (
    KEY,
    VIDEO,
    Request,
    Responder,
    Server,
    chunked,
    client_of,
    fetch,
    reply,
    serving,
    submit,
)

ACCEPTED = b'{"request_id": "r-1"}'
OK = b"HTTP/1.1 200 OK\r\n"
COMPLETE = OK + b"Content-Length: %d\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
PUBLIC_ORIGIN = "https://api.segmind.com"


def open_result(server: Server) -> download.ResultStream:
    return ResultFiles(base_url=server.url).open(server.url)


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", httpx.Timeout(2))
    monkeypatch.setattr(segmind_client, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", 0.5)


def raw(start: bytes, end: bytes = b"", drip: bytes = b"", times: int = 100) -> Responder:
    """Send bytes as they are.

    Parameters:
        start: sent first.
        end: sent last; it completes a valid response.
        drip: sent in between, ten times a second.
        times: how often.
    """

    def respond(request: Request) -> None:
        request.close_connection = True
        request.connection.sendall(start)
        for _ in range(times if drip else 0):
            request.connection.sendall(drip)
            threading.Event().wait(0.1)
        request.connection.sendall(end)

    return respond


# ─── The API ──────────────────────────────────────────────────────────────────────────────────

WITHOUT_STATUS = (COMPLETE % len(ACCEPTED)).removeprefix(b"HTTP/1.1 200 ") + ACCEPTED
WITHOUT_FIRST_LINE = (COMPLETE % len(ACCEPTED)).removeprefix(OK) + ACCEPTED
DRIPS = {
    "status line": raw(b"HTTP/1.1 200 ", WITHOUT_STATUS, drip=b"x"),
    "header": raw(OK + b"X: ", b"\r\n" + WITHOUT_FIRST_LINE, drip=b"x"),
    "body": raw(COMPLETE % (len(ACCEPTED) + 100), ACCEPTED, drip=b" "),
    "chunks": raw(CHUNKED, b"15\r\n" + ACCEPTED + b"\r\n0\r\n\r\n", drip=b"1\r\n \r\n"),
    "informational": raw(b"", COMPLETE % len(ACCEPTED) + ACCEPTED, drip=PROCESSING),
    "trailer": raw(CHUNKED + b"15\r\n" + ACCEPTED + b"\r\n0\r\n", b"\r\n", drip=b"x: y\r\n"),
}


@pytest.mark.parametrize("part", DRIPS)
def test_a_response_that_drips_in_ends_at_the_deadline(server: Server, part: str) -> None:
    """Each would be complete after ten seconds."""
    server.responses = [DRIPS[part]]
    assert isinstance(submit(server), Ambiguous)


def test_the_request_after_one_that_dripped_in_has_its_own_deadline(server: Server) -> None:
    server.responses = [DRIPS["body"], reply(200, b'{"status": "PROCESSING"}')]
    client = client_of(server)
    assert client.status("r").status == 0
    assert client.status("r").status == 200


@pytest.mark.parametrize(
    "responder",
    [
        raw(OK + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"),
        raw(OK + b"X: y\r\n" * 100_000 + b"\r\n"),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000),
        raw(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
        raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"),
        raw(CHUNKED + b"f" * 5000),
        raw(CHUNKED + b"1;" + b"x" * 500_000),
        raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        raw(b"HTTP/9.9 999 \xff\r\n\r\n"),
        raw(b"\x16\x03\x01\0\0"),
        raw(b"<html>" * 99),
        raw(b""),
        reply(200, b"<html>Just a moment...</html>", Content_Type="text/html"),
        reply(200, b"\xff\xfe" + '{"request_id": "r-1"}'.encode("utf-16-le")),
        reply(200, ACCEPTED, Content_Length="3"),
    ],
)
def test_an_invalid_response_leaves_open_whether_the_job_runs(
    server: Server, responder: Responder
) -> None:
    server.responses = [responder]
    assert isinstance(submit(server), Ambiguous)
    assert len(server.requests) == 1


def bomb(layers: int) -> bytes:
    packed = b"{" + b" " * 50_000_000
    for _ in range(layers):
        packed = gzip.compress(packed, 9)
    return packed


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", bomb(1)),
        ("gzip, gzip", bomb(2)),
        ("deflate", zlib.compress(b" " * 50_000_000)),
    ],
)
def test_a_compressed_response_is_not_unpacked_beyond_the_limit(
    server: Server, coding: str, body: bytes
) -> None:
    server.responses = [reply(200, body, Content_Encoding=coding)]
    assert len(client_of(server).status("r").text) <= MAX_RESPONSE_BYTES


def test_a_response_that_is_compressed_without_being_asked_to_is_read(server: Server) -> None:
    server.responses = [reply(200, gzip.compress(ACCEPTED), Content_Encoding="gzip")]
    assert submit(server) == Accepted("r-1")
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_an_endless_response_is_read_up_to_the_limit(server: Server) -> None:
    server.responses = [raw(OK + b"\r\n" + b"x" * 1_000_001, drip=b"x" * 1_000_000)]
    assert len(client_of(server).status("r").text) == MAX_RESPONSE_BYTES


@pytest.mark.parametrize("name", ["poll_url", "status_url", "response_url"])
def test_urls_in_a_response_are_never_requested(
    server: Server, other_server: Server, name: str
) -> None:
    url = f"{other_server.url}/v2/requests/r-1"
    server.responses = [reply(200, f'{{"request_id": "r-1", "{name}": "{url}"}}'.encode())] * 4
    client = client_of(server)
    client.send(client.new_submit({}))
    client.status("r-1")
    client.result("r-1")
    client.history("r-1")
    assert len(server.requests) == 4
    assert other_server.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "{url}/v2/modify-video",
        "//{authority}/x",
        "http://localhost.{authority}/",
        "\\\\{authority}",
    ],
)
def test_neither_key_nor_request_follows_a_redirect(
    server: Server, other_server: Server, status: int, location: str
) -> None:
    url = other_server.url
    target = location.format(url=url, authority=url.partition("//")[2])
    server.responses = [reply(status, ACCEPTED, Location=target)] * 2
    assert isinstance(submit(server), Ambiguous)
    client_of(server).status("r")
    assert other_server.requests == []


@pytest.mark.parametrize(
    "cookie",
    [
        "a=b",
        "a=b; Domain=127.0.0.1; Path=/",
        "a=b; Max-Age=" + "9" * 5000,
        "a=b; Expires=Wed, 99 Foo 99999999999",
        "=;=;",
    ],
)
def test_no_cookie_is_kept(server: Server, cookie: str) -> None:
    server.responses = [reply(200, ACCEPTED, Set_Cookie=cookie), reply(200)]
    client = client_of(server)
    client.status("r")
    client.status("r")
    assert "cookie" not in server.requests[1][1]
    server.responses = [reply(302, Location="/b", Set_Cookie=cookie), reply(200, VIDEO)]
    fetch(open_result(server))
    assert all("cookie" not in headers for _, headers in server.requests)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_response_that_repeats_the_key_is_kept_without_it(server: Server, status: int) -> None:
    body = f'{{"error": "the key {KEY} is unknown", "request_id": "{KEY}"}}'.encode()
    server.responses = [reply(status, body)] * 2
    assert KEY not in repr(submit(server))
    assert KEY not in client_of(server).status("r").text


def test_without_a_key_a_response_stays_as_it_is(server: Server) -> None:
    server.responses = [reply(401, b'{"error": "no key"}')]
    assert client_of(server, "\n").status("r").text == '{"error": "no key"}'


# ─── Results ──────────────────────────────────────────────────────────────────────────────────

FTYP = VIDEO[:24]
ENDLESS = OK + b"\r\n" + FTYP


@pytest.mark.parametrize(
    "responder",
    [
        raw(ENDLESS, drip=b"x"),
        raw(COMPLETE % 1000 + FTYP, b"x" * 876, drip=b"x"),
        raw(b"HTTP/1.1 200 ", b"OK\r\n\r\n" + FTYP, drip=b"x"),
        raw(b"", COMPLETE % 24 + FTYP, drip=PROCESSING),
    ],
    ids=["endless", "body", "header", "informational"],
)
def test_a_result_that_drips_in_ends_at_the_deadline(server: Server, responder: Responder) -> None:
    server.responses = [responder] * 9
    with pytest.raises(ResultUnavailableError):
        fetch(open_result(server))


@pytest.mark.parametrize("stated", [MAX_RESULT_BYTES + 1, 10**19])
def test_a_result_that_states_an_impossible_length_is_not_read(server: Server, stated: int) -> None:
    server.responses = [reply(200, VIDEO, length=stated)]
    with pytest.raises(ResultUnavailableError, match="larger"):
        open_result(server)


def test_a_result_that_is_longer_than_stated_ends_at_the_stated_length(server: Server) -> None:
    server.responses = [reply(200, VIDEO, length=1000)]
    stream = open_result(server)
    assert len(fetch(stream)) == stream.length == 1000


def test_an_endless_result_ends_at_the_size_limit(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_RESULT_BYTES", 5_000_000)
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", 60)
    server.responses = [raw(ENDLESS, drip=b"x" * 1_000_000)]
    with pytest.raises(ResultUnavailableError, match="larger"):
        fetch(open_result(server))


def test_a_compressed_result_is_not_unpacked(server: Server) -> None:
    packed = reply(200, gzip.compress(VIDEO), Content_Encoding="gzip")
    server.responses = [packed, chunked(VIDEO)]
    with pytest.raises(ResultUnavailableError, match="not an MP4"):
        open_result(server)
    assert server.requests[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize("etag", ['"é"', '"' + "x" * 50_000 + '"', '"\x01"', 'W/"x"'])
def test_a_hostile_etag_breaks_only_its_own_download(server: Server, etag: str) -> None:
    server.responses = [reply(200, VIDEO[:1000], length=len(VIDEO), ETag=etag), reply(404)]
    with pytest.raises(ResultUnavailableError):
        fetch(open_result(server))


def test_the_reason_why_a_hostile_result_is_unavailable_is_short(server: Server) -> None:
    server.responses = [reply(302, Location=f"http://{'x' * 60_000}/")]
    with pytest.raises(ResultUnavailableError) as raised:
        open_result(server)
    assert len(str(raised.value)) <= 500


# ─── Names and addresses ──────────────────────────────────────────────────────────────────────


class FakeDns:
    """A resolver whose responses change, and a record of the addresses that are connected to.

    Parameters:
        patch: replaces the functions of `socket`.
        names: for the first label of each name, the addresses that one lookup after another
            finds; the last ones stay.
    """

    def __init__(self, patch: pytest.MonkeyPatch, **names: list[list[str]]) -> None:
        self.names = names
        self.connected: list[str] = []
        self._resolve, self._connect = socket.getaddrinfo, socket.create_connection
        patch.setattr(socket, "getaddrinfo", self.resolve)
        patch.setattr(socket, "create_connection", self.connect)

    def resolve(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        lookups = self.names.get(str(host).partition(".")[0], [[host]])
        found = lookups.pop(0) if len(lookups) > 1 else lookups[0]
        numeric = {"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST}
        return [info for address in found for info in self._resolve(address, port, **numeric)]

    def connect(self, address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        self.connected.append(address[0])
        if not address[0].startswith("127."):
            raise ConnectionRefusedError
        return self._connect(address, *args, **options)


@pytest.mark.parametrize(
    "second", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "::1", "fd00:ec2::254"]
)
def test_a_name_that_changes_to_a_private_address_is_connected_to_at_the_checked_one(
    monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    dns = FakeDns(monkeypatch, rebind=[["8.8.8.8"], [second]])
    for _ in range(2):
        with pytest.raises(ResultUnavailableError):
            ResultFiles(base_url=PUBLIC_ORIGIN).open("https://rebind.example/out.mp4")
    assert dns.connected == ["8.8.8.8"]


def test_a_checked_address_is_used_although_the_name_has_changed_since(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns = FakeDns(monkeypatch, rebind=[["127.0.0.1"], ["10.0.0.1"]])
    server.responses = [reply(200, VIDEO)]
    port = server.url.rpartition(":")[2]
    stream = ResultFiles(base_url=server.url).open(f"http://rebind.example:{port}/out.mp4")
    assert fetch(stream) == VIDEO
    assert dns.connected == ["127.0.0.1"]


@pytest.mark.parametrize(
    "found",
    [
        ["10.0.0.1"],
        ["8.8.8.8", "169.254.169.254"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a00:1"],
        ["fd00:ec2::254"],
    ],
)
def test_a_name_with_any_private_address_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, found: list[str]
) -> None:
    dns = FakeDns(monkeypatch, inside=[found])
    with pytest.raises(ResultUnavailableError, match="not a public address"):
        ResultFiles(base_url=PUBLIC_ORIGIN).open("https://inside.example/out.mp4")
    assert dns.connected == []


def test_the_target_of_a_redirect_is_checked_like_the_first_url(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns = FakeDns(monkeypatch, inside=[["10.0.0.1"]])
    server.responses = [
        reply(302, Location="https://inside.example/"),
        reply(302, Location="http://169.254.169.254/latest/meta-data"),
    ]
    for _ in range(2):
        with pytest.raises(ResultUnavailableError, match="not a public address"):
            open_result(server)
    assert set(dns.connected) == {"127.0.0.1"}


def test_a_name_with_very_many_addresses_is_given_up_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = [f"8.8.{n // 250}.{n % 250 + 1}" for n in range(500)]
    found = [(0, 0, 0, "", (address, 443)) for address in addresses]

    def connect_slowly(*_: object, **__: object) -> None:
        threading.Event().wait(0.1)
        raise httpcore.ConnectTimeout

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_slowly)
    with pytest.raises(ResultUnavailableError, match="ConnectTimeout"):
        ResultFiles(base_url=PUBLIC_ORIGIN).open("https://many.example/out.mp4")


# ─── TLS ──────────────────────────────────────────────────────────────────────────────────────


def certificate(folder: Path, host: str) -> Path:
    """Create a self-signed certificate and its key in one file."""
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    serial, tomorrow = x509.random_serial_number(), now + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, now, tomorrow)
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    signed = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return file


@pytest.mark.parametrize(
    ("host", "trusted"), [("localhost", True), ("segmind.example", True), ("localhost", False)]
)
def test_only_a_server_that_proves_its_name_gets_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool
) -> None:
    file = certificate(tmp_path, host)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(file)
    ours = ssl.create_default_context(cafile=file if trusted else None)
    monkeypatch.setattr(transport, "TLS", ours)
    with serving(theirs) as server:
        server.responses = [reply(200, ACCEPTED), DRIPS["body"], reply(200, VIDEO)]
        if not (trusted and host == "localhost"):
            assert isinstance(submit(server), Deferred)
            assert server.requests == []
            return
        assert submit(server) == Accepted("r-1")
        assert isinstance(submit(server), Ambiguous)
        stream = ResultFiles(base_url=server.url).open(f"{server.url}/out.mp4")
        assert fetch(stream) == VIDEO


def test_nothing_is_sent_to_a_server_that_does_not_complete_the_handshake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", httpx.Timeout(0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert isinstance(submit(Server(f"https://127.0.0.1:{port}")), Deferred)

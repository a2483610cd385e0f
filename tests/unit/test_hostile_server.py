"""An API and result servers that lie, stall, flood and redirect: bounded time and memory, no key anywhere else, nothing from inside."""

import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Callable
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

from retake.adapters import segmind
from retake.adapters.segmind import ResultFiles, ResultUnavailable
from retake.rules.contract import Accepted, Unknown, Withheld

from .server import FILM, KEY, Request, Server, asking, chunked, fetch, reply, serving, submit

ACCEPTED = b'{"request_id": "r-1"}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmind, "_TIMEOUT", httpx.Timeout(2))
    monkeypatch.setattr(segmind, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(segmind, "DOWNLOAD_SECONDS", 0.5)


def raw(*parts: bytes, drip: bytes = b"", times: int = 100) -> Callable[[Request], None]:
    """Send bytes as they are, then others again and again, ten times a second, then the end of an answer that is fine."""

    def answer(request: Request) -> None:
        request.close_connection = True
        request.connection.sendall(b"".join(parts[:1]))
        for _ in range(times if drip else 0):
            request.connection.sendall(drip)
            threading.Event().wait(0.1)
        request.connection.sendall(b"".join(parts[1:]))

    return answer


DRIPS = {
    "status line": raw(b"HTTP/1.1 200 ", (WHOLE % len(ACCEPTED)).removeprefix(b"HTTP/1.1 200 ") + ACCEPTED, drip=b"x"),
    "header": raw(b"HTTP/1.1 200 OK\r\nX: ", b"\r\n" + (WHOLE % len(ACCEPTED)).partition(b"\r\n")[2] + ACCEPTED, drip=b"x"),
    "body": raw(WHOLE % (len(ACCEPTED) + 100), ACCEPTED, drip=b" "),
    "chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"15\r\n" + ACCEPTED + b"\r\n0\r\n\r\n", drip=b"1\r\n \r\n"),
    "informational": raw(b"", WHOLE % len(ACCEPTED) + ACCEPTED, drip=b"HTTP/1.1 102 Processing\r\n\r\n"),
    "trailer": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n" + ACCEPTED + b"\r\n0\r\n", b"\r\n", drip=b"x: y\r\n"),
}


@pytest.mark.parametrize("part", DRIPS)
def test_an_answer_that_drips_in_is_not_waited_for(server: Server, part: str) -> None:
    """After ten seconds each would be fine."""
    server.answers = [DRIPS[part]]
    assert isinstance(submit(server), Unknown)


def test_after_an_answer_that_dripped_in_the_next_has_its_own_time(server: Server) -> None:
    server.answers = [DRIPS["body"], reply(200, b'{"status": "PROCESSING"}')]
    client = asking(server)
    assert client.status("r").status == 0
    assert client.status("r").status == 200


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n"),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 5000),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 500_000),
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
def test_an_answer_that_is_no_answer_leaves_open_whether_the_job_runs(server: Server, answer: Callable[[Request], None]) -> None:
    server.answers = [answer]
    assert isinstance(submit(server), Unknown)
    assert len(server.asked) == 1


def bomb(layers: int) -> bytes:
    packed = b"{" + b" " * 50_000_000
    for _ in range(layers):
        packed = gzip.compress(packed, 9)
    return packed


@pytest.mark.parametrize(("coding", "body"), [("gzip", bomb(1)), ("gzip, gzip", bomb(2)), ("deflate", zlib.compress(b" " * 50_000_000))])
def test_an_answer_is_not_unpacked_beyond_its_bound(server: Server, coding: str, body: bytes) -> None:
    server.answers = [reply(200, body, Content_Encoding=coding)]
    assert len(asking(server).status("r").text) <= segmind.MAX_ANSWER_BYTES


def test_an_answer_that_is_packed_although_nobody_asked_for_it_is_read(server: Server) -> None:
    server.answers = [reply(200, gzip.compress(ACCEPTED), Content_Encoding="gzip")]
    assert submit(server) == Accepted("r-1")
    assert server.asked[0][1]["accept-encoding"] == "identity"


def test_an_endless_answer_is_read_as_far_as_its_bound(server: Server) -> None:
    server.answers = [raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_001, drip=b"x" * 1_000_000)]
    assert len(asking(server).status("r").text) == segmind.MAX_ANSWER_BYTES


@pytest.mark.parametrize("name", ["poll_url", "status_url", "response_url"])
def test_addresses_in_an_answer_are_never_asked(server: Server, other: Server, name: str) -> None:
    server.answers = [reply(200, f'{{"request_id": "r-1", "{name}": "{other.url}/v2/requests/r-1"}}'.encode())] * 4
    client = asking(server)
    client.send(client.new_submit({}))
    client.status("r-1"), client.result("r-1"), client.history("r-1")
    assert len(server.asked) == 4
    assert other.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["{other}/v2/modify-video", "//{authority}/x", "http://localhost.{authority}/", "\\\\{authority}"])
def test_neither_key_nor_request_follows_a_redirect(server: Server, other: Server, status: int, to: str) -> None:
    location = to.format(other=other.url, authority=other.url.partition("//")[2])
    server.answers = [reply(status, ACCEPTED, Location=location)] * 2
    assert isinstance(submit(server), Unknown)
    asking(server).status("r")
    assert other.asked == []


@pytest.mark.parametrize(
    "cookie", ["a=b", "a=b; Domain=127.0.0.1; Path=/", "a=b; Max-Age=" + "9" * 5000, "a=b; Expires=Wed, 99 Foo 99999999999", "=;=;"]
)
def test_no_cookie_is_kept(server: Server, cookie: str) -> None:
    server.answers = [reply(200, ACCEPTED, Set_Cookie=cookie), reply(200)]
    client = asking(server)
    client.status("r"), client.status("r")
    assert "cookie" not in server.asked[1][1]
    files = ResultFiles(server.url)
    server.answers = [reply(302, Location="/b", Set_Cookie=cookie), reply(200, FILM)]
    fetch(files.open(server.url))
    assert all("cookie" not in headers for _, headers in server.asked)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_an_answer_that_repeats_the_key_is_kept_without_it(server: Server, status: int) -> None:
    server.answers = [reply(status, f'{{"error": "the key {KEY} is unknown", "request_id": "{KEY}"}}'.encode())] * 2
    assert KEY not in repr(submit(server))
    assert KEY not in asking(server).status("r").text


def test_without_a_key_an_answer_stays_as_it_is(server: Server) -> None:
    server.answers = [reply(401, b'{"error": "no key"}')]
    assert asking(server, "\n").status("r").text == '{"error": "no key"}'


FTYP = FILM[:24]
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n" + FTYP


@pytest.mark.parametrize(
    "answer",
    [
        raw(ENDLESS, drip=b"x"),
        raw(WHOLE % 1000 + FTYP, b"x" * 876, drip=b"x"),
        raw(b"HTTP/1.1 200 ", b"OK\r\n\r\n" + FTYP, drip=b"x"),
        raw(b"", WHOLE % 24 + FTYP, drip=b"HTTP/1.1 102 Processing\r\n\r\n"),
    ],
    ids=["endless", "body", "header", "informational"],
)
def test_a_result_that_drips_in_is_not_waited_for(server: Server, answer: Callable[[Request], None]) -> None:
    server.answers = [answer] * 9
    with pytest.raises(ResultUnavailable):
        fetch(ResultFiles(server.url).open(server.url))


@pytest.mark.parametrize("told", [segmind.MAX_RESULT_BYTES + 1, 10**19])
def test_a_result_that_claims_to_be_larger_than_any_is_not_begun(server: Server, told: int) -> None:
    server.answers = [reply(200, FILM, length=told)]
    with pytest.raises(ResultUnavailable, match="larger"):
        ResultFiles(server.url).open(server.url)


def test_a_result_that_is_longer_than_it_said_ends_where_it_said(server: Server) -> None:
    server.answers = [reply(200, FILM, length=1000)]
    stream = ResultFiles(server.url).open(server.url)
    assert len(fetch(stream)) == stream.length == 1000


def test_a_result_that_never_ends_ends_at_the_bound(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmind, "MAX_RESULT_BYTES", 5_000_000)
    monkeypatch.setattr(segmind, "DOWNLOAD_SECONDS", 60)
    server.answers = [raw(ENDLESS, drip=b"x" * 1_000_000)]
    with pytest.raises(ResultUnavailable, match="larger"):
        fetch(ResultFiles(server.url).open(server.url))


def test_a_packed_result_is_not_unpacked(server: Server) -> None:
    server.answers = [reply(200, gzip.compress(FILM), Content_Encoding="gzip"), chunked(FILM)]
    with pytest.raises(ResultUnavailable, match="no"):
        ResultFiles(server.url).open(server.url)
    assert server.asked[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize("etag", ['"é"', '"' + "x" * 50_000 + '"', '"\x01"', 'W/"x"'])
def test_a_hostile_etag_breaks_at_most_its_own_download(server: Server, etag: str) -> None:
    server.answers = [reply(200, FILM[:1000], length=len(FILM), ETag=etag), reply(404)]
    with pytest.raises(ResultUnavailable):
        fetch(ResultFiles(server.url).open(server.url))


def test_what_is_said_of_a_hostile_result_is_short(server: Server) -> None:
    server.answers = [reply(302, Location=f"http://{'x' * 60_000}/")]
    with pytest.raises(ResultUnavailable) as told:
        ResultFiles(server.url).open(server.url)
    assert len(str(told.value)) <= 500


class Names:
    """A resolver whose answers change: each name has a list of them, the last of which stays."""

    def __init__(self, patch: pytest.MonkeyPatch, **names: list[list[str]]) -> None:
        self.names, self.connected, self._resolve, self._connect = names, [], socket.getaddrinfo, socket.create_connection
        self.connected: list[str] = []
        patch.setattr(socket, "getaddrinfo", self.look_up)
        patch.setattr(socket, "create_connection", self.connect)

    def look_up(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        lookups = self.names.get(str(host).partition(".")[0])
        found = [host] if lookups is None else lookups.pop(0) if len(lookups) > 1 else lookups[0]
        return [info for address in found for info in self._resolve(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]

    def connect(self, address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        self.connected.append(address[0])
        if not address[0].startswith("127."):
            raise ConnectionRefusedError
        return self._connect(address, *args, **options)


PUBLIC = "https://api.segmind.com"


@pytest.mark.parametrize("second", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "::1", "fd00:ec2::254"])
def test_a_name_that_changes_to_a_private_address_is_connected_to_where_it_was_checked(
    monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    names = Names(monkeypatch, rebind=[["8.8.8.8"], [second]])
    for _ in range(2):
        with pytest.raises(ResultUnavailable):
            ResultFiles(PUBLIC).open("https://rebind.example/out.mp4")
    assert names.connected == ["8.8.8.8"]


def test_a_checked_address_is_used_although_the_name_has_changed_meanwhile(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, rebind=[["127.0.0.1"], ["10.0.0.1"]])
    server.answers = [reply(200, FILM)]
    port = server.url.rpartition(":")[2]
    assert fetch(ResultFiles(server.url).open(f"http://rebind.example:{port}/out.mp4")) == FILM
    assert names.connected == ["127.0.0.1"]


@pytest.mark.parametrize(
    "found", [["10.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["::ffff:10.0.0.1"], ["64:ff9b::a00:1"], ["fd00:ec2::254"]]
)
def test_a_name_of_which_any_address_is_private_is_not_connected_to(monkeypatch: pytest.MonkeyPatch, found: list[str]) -> None:
    names = Names(monkeypatch, inside=[found])
    with pytest.raises(ResultUnavailable, match="not a public address"):
        ResultFiles(PUBLIC).open("https://inside.example/out.mp4")
    assert names.connected == []


def test_a_redirect_is_checked_like_the_first_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, inside=[["10.0.0.1"]])
    server.answers = [reply(302, Location="https://inside.example/"), reply(302, Location="http://169.254.169.254/latest/meta-data")]
    for _ in range(2):
        with pytest.raises(ResultUnavailable, match="not a public address"):
            ResultFiles(server.url).open(server.url)
    assert set(names.connected) == {"127.0.0.1"}


def test_a_name_with_very_many_addresses_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        threading.Event().wait(0.1)
        raise httpcore.ConnectTimeout

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (f"8.8.{n // 250}.{n % 250 + 1}", 443)) for n in range(500)])
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", late)
    with pytest.raises(ResultUnavailable, match="ConnectTimeout"):
        ResultFiles(PUBLIC).open("https://many.example/out.mp4")


def certificate(folder: Path, host: str) -> Path:
    """Make a certificate that signs itself, with its key, in one file."""
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    signed = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return file


@pytest.mark.parametrize(("host", "trusted"), [("localhost", True), ("segmind.example", True), ("localhost", False)])
def test_only_a_server_that_proves_its_name_gets_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool
) -> None:
    file = certificate(tmp_path, host)
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=file if trusted else None)
    theirs.load_cert_chain(file)
    monkeypatch.setattr(segmind, "TLS", ours)
    with serving(theirs) as server:
        server.answers = [reply(200, ACCEPTED), DRIPS["body"], reply(200, FILM)]
        if not (trusted and host == "localhost"):
            assert isinstance(submit(server), Withheld)
            assert server.asked == []
            return
        assert submit(server) == Accepted("r-1")
        assert isinstance(submit(server), Unknown)
        assert fetch(ResultFiles(server.url).open(f"{server.url}/out.mp4")) == FILM


def test_a_server_that_says_nothing_when_greeted_was_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmind, "_TIMEOUT", httpx.Timeout(0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert isinstance(submit(Server(f"https://127.0.0.1:{silent.getsockname()[1]}")), Withheld)

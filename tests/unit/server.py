"""A server that does as it is told, and a client of Segmind that talks to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext

from botocore.exceptions import ClientError

from retake.adapters.secret import ApiKey
from retake.adapters.segmind import ResultStream, Segmind
from retake.rules.contract import read_submit

KEY = "SG_secret"
FILM = b"\0\0\0\x0cftypisom" + (512_000 + 8).to_bytes(4) + b"mdat" + bytes(range(256)) * 2000
Request = BaseHTTPRequestHandler


@dataclass
class Server:
    """An HTTP server that does as it is told, and remembers what it was asked."""

    url: str
    answers: list[Callable[[Request], None]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def serving(tls: SSLContext | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            (server.answers.pop(0) if server.answers else reply(200, b"{}"))(self)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.handle_error = lambda *_: None  # type: ignore[method-assign] # clients hang up
        http.socket = tls.wrap_socket(http.socket, server_side=True) if tls else http.socket
        server = Server(f"{'https://localhost' if tls else 'http://127.0.0.1'}:{http.server_port}")
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        http.shutdown()


def reply(status: int, body: bytes = b"", length: int | None = None, **headers: str) -> Callable[[Request], None]:
    """Answer; with a `length` that the body does not have, the connection ends early."""

    def answer(request: Request) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = length is not None

    return answer


def ranged(total: int = len(FILM), start: int | None = None, status: int = 206) -> Callable[[Request], None]:
    """Answer a ranged request as it wants, or from the wrong byte on."""

    def answer(request: Request) -> None:
        first = int(request.headers["range"].removeprefix("bytes=").rstrip("-")) if start is None else start
        reply(status, FILM[first:], Content_Range=f"bytes {first}-{len(FILM) - 1}/{total}")(request)

    return answer


def chunked(body: bytes, end: bool = True) -> Callable[[Request], None]:
    """Answer without telling the length."""

    def answer(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if end else b""))
        request.close_connection = True

    return answer


class Vault:
    """Keeps the secret; `broken` once, it does not answer."""

    def __init__(self, text: str) -> None:
        self.text, self.broken = text, False

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        if self.broken:
            raise ClientError({"Error": {"Code": "InternalServiceError"}}, "GetSecretValue")
        return {"SecretString": self.text}


def asking(server: Server, key: str = KEY) -> Segmind:
    return Segmind(f"{server.url}/", f"{server.url}/inference-request/", ApiKey(Vault(key), "id"))


def submit(server: Server, key: str = KEY) -> object:
    client = asking(server, key)
    return read_submit(client.send(client.new_submit({"video_url": "https://x/clip.mp4"})))


def fetch(stream: ResultStream) -> bytes:
    return b"".join(iter(lambda: stream.read(50_000), b""))

"""An HTTP server that responds as scripted, and a Segmind client that talks to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext

from botocore.exceptions import ClientError

from retake.aws.secrets import ApiKey
from retake.segmind.client import SegmindClient
from retake.segmind.download import ResultStream
from retake.segmind.responses import SubmitOutcome, read_submit

KEY = "SG_secret"
KEY_ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:segmind"
VIDEO = b"\0\0\0\x0cftypisom" + (512_000 + 8).to_bytes(4) + b"mdat" + bytes(range(256)) * 2000
Request = BaseHTTPRequestHandler
Responder = Callable[[Request], None]


@dataclass
class Server:
    """An HTTP server with scripted responses.

    Attributes:
        url: its origin.
        responses: the next responses; without any, it responds with an empty object.
        requests: path and headers of what was requested.
    """

    url: str
    responses: list[Responder] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def serving(tls: SSLContext | None = None) -> Iterator[Server]:
    """Run a server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append((self.path, headers))
            responder = server.responses.pop(0) if server.responses else reply(200, b"{}")
            responder(self)

        do_GET = do_POST = respond  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.handle_error = lambda *_: None  # type: ignore[method-assign] # clients hang up
        http.socket = tls.wrap_socket(http.socket, server_side=True) if tls else http.socket
        origin = "https://localhost" if tls else "http://127.0.0.1"
        server = Server(f"{origin}:{http.server_port}")
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        http.shutdown()


def reply(status: int, body: bytes = b"", length: int | None = None, **headers: str) -> Responder:
    """Respond; with a `length` that the body does not have, the connection ends early."""

    def respond(request: Request) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = length is not None

    return respond


def ranged(total: int = len(VIDEO), start: int | None = None, status: int = 206) -> Responder:
    """Respond to a range request as requested, or from the wrong byte on."""

    def respond(request: Request) -> None:
        first = start
        if first is None:
            first = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        stated = f"bytes {first}-{len(VIDEO) - 1}/{total}"
        reply(status, VIDEO[first:], Content_Range=stated)(request)

    return respond


def chunked(body: bytes, end: bool = True) -> Responder:
    """Respond without stating the length."""

    def respond(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if end else b""))
        request.close_connection = True

    return respond


class FakeSecretsManager:
    """Keeps one secret; while `broken`, it fails."""

    def __init__(self, text: str) -> None:
        self.text, self.broken = text, False

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        if self.broken:
            raise ClientError({"Error": {"Code": "InternalServiceError"}}, "GetSecretValue")
        return {"SecretString": self.text}


def client_of(server: Server, key: str = KEY) -> SegmindClient:
    """Create a client that talks to a server."""
    return SegmindClient(
        base_url=f"{server.url}/",
        history_url=f"{server.url}/inference-request/",
        key=ApiKey(client=FakeSecretsManager(key), secret_arn=KEY_ARN),
    )


def submit(server: Server, key: str = KEY) -> SubmitOutcome:
    """Submit a clip to a server."""
    client = client_of(server, key)
    return read_submit(client.send(client.new_submit({"video_url": "https://x/clip.mp4"})))


def fetch(stream: ResultStream) -> bytes:
    """Read a download to its end."""
    return b"".join(iter(lambda: stream.read(50_000), b""))

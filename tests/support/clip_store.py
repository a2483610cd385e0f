"""A store of clips that serves them over HTTP, as a bucket does with presigned URLs."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY = "SG_test"


@dataclass
class ClipStore:
    """A folder of files, served over HTTP with support for ranges.

    Attributes:
        folder: where the files are.
        url: its origin.
        requests: path and range header of each request.
    """

    folder: Path
    url: str
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[ClipStore]:
    """Serve a folder on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, requested_range = self.path.split("?")[0], self.headers.get("range")
            store.requests.append((path, requested_range))
            file = folder / Path(path).name
            if not file.exists():
                self.respond(404, b"")
            elif requested_range:
                self.respond(206, part_of(file.read_bytes(), requested_range))
            else:
                self.respond(200, file.read_bytes())

        def respond(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a stopped simulator hangs up
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        store = ClipStore(folder, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield store
        server.shutdown()


def part_of(body: bytes, requested_range: str) -> bytes:
    """Return the part of a body that a range header asks for."""
    first, _, last = requested_range.removeprefix("bytes=").partition("-")
    return body[int(first) : int(last) + 1 if last else None]

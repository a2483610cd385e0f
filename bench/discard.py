"""A server on this machine that serves files of any size and takes uploads as S3 does, keeping only how many bytes came.

`GET /file/<bytes>` takes the query `break=<bytes>` (the connection closes after so many) with `breaks=<times>` (how often), and answers
ranges. `GET /stored/<key>` tells the bytes of a finished upload. The pace, in bytes a second, holds for each direction: of all connections
together (`shared`), or of each.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BLOCK = 256 * 1024
HEAD = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0\0\0\0mdat"


class Pace:
    """Lets so many bytes a second through; 0: as many as come."""

    def __init__(self, rate: float) -> None:
        self._rate, self._next, self._lock = rate, 0.0, threading.Lock()

    def take(self, size: int) -> None:
        """Wait until `size` bytes may pass."""
        if self._rate:
            with self._lock:
                now = time.monotonic()
                wait = max(0.0, self._next - now)
                self._next = max(now, self._next) + size / self._rate
            time.sleep(wait)


class Server(ThreadingHTTPServer):
    """Keeps what was stored, and how often a download was broken."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, rate: float, shared: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rate, self.common = rate, (Pace(rate), Pace(rate)) if shared else None
        self.stored: Counter[str] = Counter()
        self.parts: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Serve a file, or tell what is stored."""
        where = urlsplit(self.path)
        if where.path.startswith("/stored/"):
            self._answer(str(self.server.stored[where.path.removeprefix("/stored/")]).encode())
            return
        asked = {name: int(values[0]) for name, values in parse_qs(where.query).items()}
        size = int(where.path.rpartition("/")[2])
        asked_from, _, asked_to = self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        first, end = int(asked_from), int(asked_to) + 1 if asked_to else size
        self.send_response(206 if end - first < size else 200)
        self.send_header("Content-Length", str(end - first))
        self.send_header("Content-Type", "video/mp4")
        self.send_header("ETag", '"one"')
        if end - first < size:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.end_headers()
        if self.server.broken[self.path] < asked.get("breaks", 0):
            self.server.broken[self.path] += 1
            end, self.close_connection = min(end, first + asked["break"]), True
        pace = self.server.common[0] if self.server.common else Pace(self.server.rate)
        self.wfile.write(HEAD[first:end])
        at, zeros = max(first, len(HEAD)), memoryview(bytes(BLOCK))
        while at < end:
            block = zeros[: min(BLOCK, end - at)]
            pace.take(len(block))
            self.wfile.write(block)
            at += len(block)

    def do_PUT(self) -> None:
        """Take an object or a part of one."""
        where, left, buffer = urlsplit(self.path), int(self.headers["content-length"]), memoryview(bytearray(BLOCK))
        pace, came = self.server.common[1] if self.server.common else Pace(self.server.rate), 0
        while came < left and (count := self.rfile.readinto1(buffer[: min(BLOCK, left - came)])):  # type: ignore[attr-defined]
            pace.take(count)
            came += count
        self.close_connection = came < left
        if came == left:
            key = where.path.rpartition("/")[2]
            if "partNumber" in where.query:
                self.server.parts[key] += came
            else:
                self.server.stored[key] = came
            self._answer(b"")

    def do_POST(self) -> None:
        """Begin or complete an upload in parts."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        where = urlsplit(self.path)
        key = where.path.rpartition("/")[2]
        if "uploads" in where.query:
            self._answer(b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>")
        else:
            self.server.stored[key] = self.server.parts.pop(key)
            self._answer(b"<CompleteMultipartUploadResult><ETag>one</ETag></CompleteMultipartUploadResult>")

    def do_DELETE(self) -> None:
        """End an upload in parts."""
        self.server.parts.pop(urlsplit(self.path).path.rpartition("/")[2], None)
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until the end; the first line of the output is the port."""
    options = argparse.ArgumentParser(description="Files of any size, and a bucket that forgets.")
    options.add_argument("--rate", type=float, default=0, help="bytes a second in each direction; 0: no limit")
    options.add_argument("--shared", action="store_true", help="the rate is that of all connections together")
    given = options.parse_args()
    server = Server(given.rate, given.shared)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()

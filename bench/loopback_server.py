"""A server on this machine that serves files of any size, and accepts uploads as S3 does.

It only keeps how many bytes were uploaded. `GET /file/<bytes>` supports ranges and has two query
parameters: with `break=<bytes>`, the connection closes after so many bytes, for the first
`breaks=<times>` requests. `GET /stored/<key>` returns the bytes of a finished upload. The rate, in
bytes per second, holds for each direction: of each connection, or of all of them together.
"""

import argparse
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BLOCK_BYTES = 256 * 1024
MP4_START = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0\0\0\0mdat"
UPLOAD_CREATED = (
    b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>"
)
UPLOAD_COMPLETED = (
    b"<CompleteMultipartUploadResult><ETag>one</ETag></CompleteMultipartUploadResult>"
)


class Throttle:
    """Limits the rate of transfers.

    Parameters:
        rate: bytes per second; 0 for no limit.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = 0.0
        self._lock = threading.Lock()

    def acquire(self, size: int) -> None:
        """Wait until a number of bytes may pass."""
        if self._rate:
            with self._lock:
                now = time.monotonic()
                wait = max(0.0, self._next - now)
                self._next = max(now, self._next) + size / self._rate
            time.sleep(wait)


class Server(ThreadingHTTPServer):
    """Counts the bytes that were stored, and the downloads that were broken.

    Parameters:
        rate: bytes per second in each direction; 0 for no limit.
        is_shared: whether all connections share the rate.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, rate: float, is_shared: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._rate = rate
        self._shared = (Throttle(rate), Throttle(rate)) if is_shared else None
        self.stored: Counter[str] = Counter()
        self.parts: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()

    def download_throttle(self) -> Throttle:
        """Return the throttle of a download."""
        return self._shared[0] if self._shared else Throttle(self._rate)

    def upload_throttle(self) -> Throttle:
        """Return the throttle of an upload."""
        return self._shared[1] if self._shared else Throttle(self._rate)


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Serve a file, or the size of what is stored."""
        url = urlsplit(self.path)
        if url.path.startswith("/stored/"):
            size = self.server.stored[url.path.removeprefix("/stored/")]
            self._respond(str(size).encode())
            return
        first, end = self._send_file_headers(int(_name(url.path)))
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        if self.server.broken[self.path] < query.get("breaks", 0):
            self.server.broken[self.path] += 1
            self.close_connection = True
            end = min(end, first + query["break"])
        self._send_content(first, end)

    def _send_file_headers(self, size: int) -> tuple[int, int]:
        """Send the headers of a file; return the first byte to send and the byte after the last."""
        range_header = self.headers.get("range", "bytes=0-").removeprefix("bytes=")
        start, _, last = range_header.partition("-")
        first = int(start)
        end = int(last) + 1 if last else size
        is_partial = end - first < size
        self.send_response(206 if is_partial else 200)
        self.send_header("Content-Length", str(end - first))
        self.send_header("Content-Type", "video/mp4")
        self.send_header("ETag", '"one"')
        if is_partial:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.end_headers()
        return first, end

    def _send_content(self, first: int, end: int) -> None:
        """Send bytes of a file that begins like an MP4 and holds zeros."""
        throttle = self.server.download_throttle()
        self.wfile.write(MP4_START[first:end])
        position = max(first, len(MP4_START))
        zeros = memoryview(bytes(BLOCK_BYTES))
        while position < end:
            block = zeros[: min(BLOCK_BYTES, end - position)]
            throttle.acquire(len(block))
            self.wfile.write(block)
            position += len(block)

    def do_PUT(self) -> None:
        """Accept an object or a part of one."""
        url = urlsplit(self.path)
        size = int(self.headers["content-length"])
        received = self._receive(size)
        self.close_connection = received < size
        if received < size:
            return
        if "partNumber" in url.query:
            self.server.parts[_name(url.path)] += received
        else:
            self.server.stored[_name(url.path)] = received
        self._respond(b"")

    def _receive(self, size: int) -> int:
        """Receive and forget a body; return how many bytes arrived."""
        throttle = self.server.upload_throttle()
        buffer = memoryview(bytearray(BLOCK_BYTES))
        received = 0
        while received < size:
            block = buffer[: min(BLOCK_BYTES, size - received)]
            count = self.rfile.readinto1(block)
            if not count:
                break
            throttle.acquire(count)
            received += count
        return received

    def do_POST(self) -> None:
        """Create or complete a multipart upload."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urlsplit(self.path)
        if "uploads" in url.query:
            self._respond(UPLOAD_CREATED)
        else:
            self.server.stored[_name(url.path)] = self.server.parts.pop(_name(url.path))
            self._respond(UPLOAD_COMPLETED)

    def do_DELETE(self) -> None:
        """Abort a multipart upload."""
        self.server.parts.pop(_name(urlsplit(self.path).path), None)
        self._respond(b"")

    def _respond(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _name(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def main() -> None:
    """Serve until the process ends; print the port first."""
    parser = argparse.ArgumentParser(description="Serve files of any size and accept uploads.")
    parser.add_argument(
        "--rate", type=float, default=0, help="bytes per second in each direction; 0: no limit"
    )
    parser.add_argument("--shared", action="store_true", help="all connections share the rate")
    options = parser.parse_args()
    server = Server(options.rate, options.shared)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

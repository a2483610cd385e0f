"""Segmind over HTTP: the model's requests with the key, the result files without it."""

import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import inf
from typing import Any
from urllib.parse import urlencode, urljoin

import httpcore
import httpx

from ..rules.addresses import may_connect, may_fetch
from ..rules.clip import Boxes
from ..rules.contract import Answer
from .secret import ApiKey

MODEL = "modify-video"
PAGE_ROWS = 100
MAX_ANSWER_BYTES = 1_000_000
MAX_RESULT_BYTES = 2_000_000_000
ANSWER_SECONDS = 25  # that a request and its answer may take; a function of 60 s sends two at most
DOWNLOAD_SECONDS = 840  # that a result may take; deliver has 900 s
_TIMEOUT = httpx.Timeout(20, connect=5)  # of one read; the bounds above hold for all of them
_MOST_REASON = 500
_RESUMES = 5
_REDIRECTS = 3

Request = httpx.Request
TLS = ssl.create_default_context()


class Segmind:
    """Segmind's asynchronous API; every request is sent once and always gives an `Answer`, never an exception.

    Parameters: `base_url` and `history_url`, the only origins that the key is sent to; `key`, where the key comes from.
    """

    def __init__(self, base_url: str, history_url: str, key: ApiKey) -> None:
        self._base, self._history, self._key = base_url.rstrip("/"), history_url.rstrip("/"), key
        self._connections = _Connections()
        self._http = _client(self._connections)

    def new_submit(self, body: dict[str, Any]) -> Request:
        """Make the request for a video, ready to be sent: from here on nothing but the network can fail."""
        return self._request("POST", f"{self._base}/v2/{MODEL}", json=body)

    def status(self, request_id: str) -> Answer:
        """Ask where a request stands."""
        return self._get(f"{self._base}/v2/requests/{request_id}/status")

    def result(self, request_id: str) -> Answer:
        """Ask for the result of a completed request."""
        return self._get(f"{self._base}/v2/requests/{request_id}")

    def history_page(self, page: int, from_date: str, to_date: str) -> Answer:
        """List the account's requests of some days (YYYY-MM-DD), newest first, 100 a page; `page` from 1."""
        asked = {"page": page, "per_page": PAGE_ROWS, "from_date": from_date, "to_date": to_date, "model_name": MODEL}
        return self._get(f"{self._history}/request-history?{urlencode(asked | {'sort_order': 'desc'})}")

    def history(self, request_id: str) -> Answer:
        """Ask the account's history for one request; it answers at any age."""
        return self._get(f"{self._history}/request-history/{request_id}")

    def refresh_key(self, request: Request | None = None) -> bool:
        """Read the key again: it was not accepted, and may have been rotated; puts it into `request`, and tells whether it is another."""
        self._key.refresh()
        if request is None or request.headers["x-api-key"] == self._key.get():
            return False
        request.headers["x-api-key"] = self._key.get()
        return True

    def send(self, request: Request) -> Answer:
        """Send a request, once; a submit is paid for when it is accepted. An answer that repeats the key is kept without it."""
        self._connections.end_in(ANSWER_SECONDS)
        try:
            response = self._http.send(request, stream=True)
            try:
                text = _text(response)
            finally:
                response.close()
            key = request.headers["x-api-key"]
            return Answer(response.status_code, text.replace(key, "(key)") if key else text, dict(response.headers))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            return Answer(0, f"{type(error).__name__} at {request.url.host}", sent=False)
        except httpx.HTTPError as error:
            return Answer(0, f"{type(error).__name__} while waiting for {request.url.host}")

    def _get(self, url: str) -> Answer:
        return self.send(self._request("GET", url))

    def _request(self, method: str, url: str, json: dict[str, Any] | None = None) -> Request:
        return self._http.build_request(method, url, json=json, headers={"x-api-key": self._key.get(), "accept-encoding": "identity"})


def _text(response: httpx.Response) -> str:
    """Read what an answer may have of bytes, and no more; if it is packed although nobody asked for that, unpack no more either."""
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            break
    if body.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            body = bytearray(zlib.decompressobj(wbits=31).decompress(body, MAX_ANSWER_BYTES))
    return body[:MAX_ANSWER_BYTES].decode("utf-8", "replace")


def _client(connections: "_Connections") -> httpx.Client:
    """Make a client that uses no proxy, follows nothing and keeps no cookies."""
    transport = httpx.HTTPTransport(verify=TLS, trust_env=False)
    transport._pool = httpcore.ConnectionPool(ssl_context=TLS, keepalive_expiry=5, network_backend=connections)
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.Client(transport=transport, timeout=_TIMEOUT, follow_redirects=False, trust_env=False, cookies=no_cookies)


class ResultUnavailable(Exception):
    """The result cannot be had (now); the text says why. `status` is the HTTP status, 0 when there was none."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason[:_MOST_REASON])
        self.status = status


class ResultFiles:
    """Result files: fetched without the key, over https, from public addresses only.

    Parameters: `base_url`, the configured origin; when it is on this machine, results may be, too.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._connections = _CheckedConnections(base_url)
        self._http = _client(self._connections)

    def open(self, url: str) -> "ResultStream":
        """Begin to download; raises `ResultUnavailable` when there is no such file or it may not be fetched."""
        self._connections.end_in(DOWNLOAD_SECONDS)
        stream = ResultStream(self.get, url)
        stream.begin()
        return stream

    def get(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """Ask for a file, following redirects to where results may lie; gives the answer with its body unread, to be closed."""
        for _ in range(_REDIRECTS + 1):
            if not may_fetch(url, self._base_url):
                raise ResultUnavailable(f"the result's address is none that may be fetched: {url[:200]!r}")
            try:
                response = self._http.send(self._http.build_request("GET", url, headers=headers), stream=True)
                if not response.has_redirect_location:
                    return response
                response.close()
                url = urljoin(url, response.headers["location"])
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise ResultUnavailable(f"{type(error).__name__} at {url[:200]!r}: {error}") from error
        raise ResultUnavailable(f"more than {_REDIRECTS} redirects")


class ResultStream:
    """A download that reads like a file and goes on by range when the connection breaks.

    `length` in bytes, `None` when the server does not tell; `at`, the bytes that have come; `failure`, why no more will.
    """

    def __init__(self, get: Callable[[str, dict[str, str]], httpx.Response], url: str) -> None:
        self._get, self._url = get, url
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._rest = b""
        self._resumes = 0
        self._etag = ""
        self._boxes = Boxes()
        self.length: int | None = None
        self.at = 0
        self.failure: ResultUnavailable | None = None

    def begin(self) -> None:
        """Send the first request and look at the first bytes."""
        response = self._open({})
        if response.status_code != 200:
            response.close()
            raise ResultUnavailable(f"HTTP {response.status_code} for the result file", response.status_code)
        told = response.headers.get("content-length", "")
        self.length = int(told) if told.isdecimal() and "transfer-encoding" not in response.headers else None
        self._etag = response.headers.get("etag", "")
        if self.length is not None and self.length > MAX_RESULT_BYTES:
            self.close()
            raise _too_large()
        while len(self._rest) < 12 and (chunk := self._next()):
            self._rest += chunk
        if self._rest[4:8] != b"ftyp":
            self.close()
            raise ResultUnavailable("the result file is not an MP4")

    def read(self, size: int = -1) -> bytes:
        """Give up to `size` bytes, nothing at the end; raises `ResultUnavailable` when the rest cannot be had."""
        if not self._rest:
            try:
                self._rest = self._next()
            except ResultUnavailable as failure:
                self.failure = failure
                raise
        size = len(self._rest) if size < 0 else size
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk

    def close(self) -> None:
        """End the download."""
        if self._response:
            self._response.close()

    def _next(self) -> bytes:
        while True:
            try:
                chunk = next(self._chunks, b"")
                early = self._boxes.broken if self.length is None else self.at < self.length
                if not chunk and early:
                    raise httpx.ReadError(f"the connection ended at byte {self.at} of {self.length or 'more'}")
                break
            except httpx.HTTPError as error:
                self._resume(error)
        self.at += len(chunk)
        self._boxes.feed(chunk)
        if self.at > MAX_RESULT_BYTES:
            raise _too_large()
        return chunk

    def _resume(self, error: httpx.HTTPError) -> None:
        self._resumes += 1
        self.close()
        if self._resumes > _RESUMES:
            raise ResultUnavailable(f"the download broke {self._resumes} times, at byte {self.at}: {error}") from error
        response = self._open({"Range": f"bytes={self.at}-"} | ({"If-Range": self._etag} if self._etag.startswith('"') else {}))
        told = response.headers.get("content-range", "")
        whole = self.length is None or told.endswith((f"/{self.length}", "/*"))
        if response.status_code != 206 or not told.startswith(f"bytes {self.at}-") or not whole:
            response.close()
            raise ResultUnavailable(f"the download broke at byte {self.at} and cannot go on by range") from error

    def _open(self, headers: dict[str, str]) -> httpx.Response:
        self._response = self._get(self._url, {"Accept-Encoding": "identity"} | headers)
        self._chunks = self._response.iter_raw()
        return self._response


def _too_large() -> ResultUnavailable:
    return ResultUnavailable(f"the result is larger than {MAX_RESULT_BYTES / 1e9:g} GB")


class _Connections(httpcore.SyncBackend):
    """Connections that end all at one time: bytes that drip in keep a read alive, but nothing longer than that."""

    def __init__(self) -> None:
        self._end = inf

    def end_in(self, seconds: float) -> None:
        """Set the time."""
        self._end = time.monotonic() + seconds

    def left(self, timeout: float | None, late: type[httpcore.TimeoutException] = httpcore.ReadTimeout) -> float:
        """Shorten the time-out of one step to what is left; raises `late` when nothing is."""
        left = min(self._end - time.monotonic(), inf if timeout is None else timeout)
        if left <= 0:
            raise late("it took too long altogether")
        return left

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Connection(super().connect_tcp(host, port, self.left(timeout, httpcore.ConnectTimeout), *args, **options), self)


class _Connection(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, all_of_them: _Connections) -> None:
        self._stream, self._all = stream, all_of_them

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._all.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._all.left(timeout))

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> "_Connection":
        left = self._all.left(timeout, httpcore.ConnectTimeout)
        return _Connection(self._stream.start_tls(ssl_context, server_hostname, left), self._all)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _CheckedConnections(_Connections):
    """Connects to the very addresses that were checked, so a name cannot be resolved to another one meanwhile."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        addresses = [str(info[4][0]) for info in found]
        if not addresses or not all(may_connect(address, self._base_url) for address in addresses):
            raise httpcore.ConnectError(f"{host} is not a public address")
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return super().connect_tcp(address, port, *args, **options)
        return super().connect_tcp(addresses[-1], port, *args, **options)

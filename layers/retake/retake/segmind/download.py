"""The download of result files: without the API key, over https, from public addresses only."""

from collections.abc import Callable, Iterator
from urllib.parse import urljoin

import httpx

from ..domain.limits import MAX_RESULT_BYTES
from ..domain.media import BoxTracker
from .transport import PublicBackend, new_client
from .url_rules import may_fetch

DOWNLOAD_SECONDS = 840  # for a whole result; deliver has 900 s
_MAX_REASON = 500  # characters
_MAX_RESUMES = 5
_MAX_REDIRECTS = 3


class ResultUnavailableError(Exception):
    """The result cannot be fetched (now).

    Attributes:
        status: the HTTP status; 0 when there was none.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason[:_MAX_REASON])
        self.status = status


class ResultFiles:
    """Opens result files.

    Parameters:
        base_url: the configured Segmind origin; if it is loopback, results may be, too.
    """

    def __init__(self, *, base_url: str) -> None:
        self._base_url = base_url
        self._backend = PublicBackend(base_url)
        self._http = new_client(self._backend)

    def open(self, url: str) -> "ResultStream":
        """Begin a download; raise `ResultUnavailableError` when it is not possible."""
        self._backend.end_in(DOWNLOAD_SECONDS)
        stream = ResultStream(self.get, url)
        stream.begin()
        return stream

    def get(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """Request a file, following redirects to allowed places; its body is still unread."""
        for _ in range(_MAX_REDIRECTS + 1):
            if not may_fetch(url, self._base_url):
                reason = f"the result's URL is not allowed: {url[:200]!r}"
                raise ResultUnavailableError(reason)
            try:
                request = self._http.build_request("GET", url, headers=headers)
                response = self._http.send(request, stream=True)
                if not response.has_redirect_location:
                    return response
                response.close()
                url = urljoin(url, response.headers["location"])
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                reason = f"{type(error).__name__} at {url[:200]!r}: {error}"
                raise ResultUnavailableError(reason) from error
        raise ResultUnavailableError(f"more than {_MAX_REDIRECTS} redirects")


class ResultStream:
    """A download that reads like a file and resumes by range when the connection breaks.

    Attributes:
        length: bytes; `None` when the server does not state it.
        received: bytes received so far.
        failure: why the rest cannot be fetched; `None` while it can.
    """

    def __init__(self, get: Callable[[str, dict[str, str]], httpx.Response], url: str) -> None:
        self._get, self._url = get, url
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._buffer = b""
        self._resumes = 0
        self._etag = ""
        self._boxes = BoxTracker()
        self.length: int | None = None
        self.received = 0
        self.failure: ResultUnavailableError | None = None

    def begin(self) -> None:
        """Send the first request and check the first bytes."""
        response = self._open({})
        if response.status_code != 200:
            response.close()
            reason = f"HTTP {response.status_code} for the result file"
            raise ResultUnavailableError(reason, response.status_code)
        stated = response.headers.get("content-length", "")
        if stated.isdecimal() and "transfer-encoding" not in response.headers:
            self.length = int(stated)
        self._etag = response.headers.get("etag", "")
        if self.length is not None and self.length > MAX_RESULT_BYTES:
            self.close()
            raise _too_large()
        while len(self._buffer) < 12:
            chunk = self._next()
            if not chunk:
                break
            self._buffer += chunk
        if self._buffer[4:8] != b"ftyp":
            self.close()
            raise ResultUnavailableError("the result file is not an MP4")

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            ResultUnavailableError: the rest cannot be fetched.
        """
        if not self._buffer:
            try:
                self._buffer = self._next()
            except ResultUnavailableError as failure:
                self.failure = failure
                raise
        size = len(self._buffer) if size < 0 else size
        chunk, self._buffer = self._buffer[:size], self._buffer[size:]
        return chunk

    def close(self) -> None:
        """End the download."""
        if self._response:
            self._response.close()

    def _next(self) -> bytes:
        while True:
            try:
                chunk = next(self._chunks, b"")
                if not chunk and self._is_incomplete():
                    at = f"byte {self.received} of {self.length or 'more'}"
                    raise httpx.ReadError(f"the connection ended at {at}")
                break
            except httpx.HTTPError as error:
                self._resume(error)
        self.received += len(chunk)
        self._boxes.feed(chunk)
        if self.received > MAX_RESULT_BYTES:
            raise _too_large()
        return chunk

    def _is_incomplete(self) -> bool:
        if self.length is None:
            return self._boxes.is_incomplete
        return self.received < self.length

    def _resume(self, error: httpx.HTTPError) -> None:
        self._resumes += 1
        self.close()
        if self._resumes > _MAX_RESUMES:
            reason = f"the download broke {self._resumes} times, at byte {self.received}: {error}"
            raise ResultUnavailableError(reason) from error
        headers = {"Range": f"bytes={self.received}-"}
        if self._etag.startswith('"'):
            headers["If-Range"] = self._etag
        response = self._open(headers)
        stated = response.headers.get("content-range", "")
        starts_here = stated.startswith(f"bytes {self.received}-")
        same_length = self.length is None or stated.endswith((f"/{self.length}", "/*"))
        if response.status_code != 206 or not starts_here or not same_length:
            response.close()
            reason = f"the download broke at byte {self.received} and cannot be resumed"
            raise ResultUnavailableError(reason) from error

    def _open(self, headers: dict[str, str]) -> httpx.Response:
        self._response = self._get(self._url, {"Accept-Encoding": "identity"} | headers)
        self._chunks = self._response.iter_raw()
        return self._response


def _too_large() -> ResultUnavailableError:
    return ResultUnavailableError(f"the result is larger than {MAX_RESULT_BYTES / 1e9:g} GB")

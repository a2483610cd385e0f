"""Segmind's asynchronous API over HTTP, with the API key."""

import zlib
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx

from .responses import Response
from .transport import DeadlineBackend, new_client

MODEL = "modify-video"
PAGE_ROWS = 100
MAX_RESPONSE_BYTES = 1_000_000
REQUEST_SECONDS = 25  # for a request and its response; a function of 60 s sends two at most
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)

Request = httpx.Request


class KeySource(Protocol):
    """Where the API key comes from."""

    def get(self) -> str:
        """Return the key."""
        ...

    def refresh(self) -> None:
        """Read the key again."""
        ...


class SegmindClient:
    """Sends every request once, and always returns a `Response`, never raises.

    Parameters:
        base_url: the origin of the API.
        history_url: the origin of the history; the key is sent to these two origins only.
        key: where the key comes from.
    """

    def __init__(self, *, base_url: str, history_url: str, key: KeySource) -> None:
        self._base, self._history = base_url.rstrip("/"), history_url.rstrip("/")
        self._key = key
        self._backend = DeadlineBackend()
        self._http = new_client(self._backend)
        # A submit gets a new connection. Lambda freezes a function between two invocations, and a
        # kept connection can die in the meantime: a paid request would disappear in it.
        self._submit_http = new_client(self._backend, max_idle=0)

    def new_submit(self, body: dict[str, Any]) -> Request:
        """Create a submit that is ready to be sent: only the network can fail from here on."""
        return self._request("POST", f"{self._base}/v2/{MODEL}", json=body)

    def status(self, request_id: str) -> Response:
        """Ask for the status of a request."""
        return self._get(f"{self._base}/v2/requests/{request_id}/status")

    def result(self, request_id: str) -> Response:
        """Ask for the result of a completed request."""
        return self._get(f"{self._base}/v2/requests/{request_id}")

    def history(self, request_id: str) -> Response:
        """Ask the account's history for one request; it responds at any age."""
        return self._get(f"{self._history}/request-history/{request_id}")

    def history_page(self, page: int, from_date: str, to_date: str) -> Response:
        """List the account's requests of some days, newest first.

        Parameters:
            page: from 1; a page has 100 rows.
            from_date: the first day, YYYY-MM-DD.
            to_date: the last day, YYYY-MM-DD.
        """
        query = {
            "page": page,
            "per_page": PAGE_ROWS,
            "from_date": from_date,
            "to_date": to_date,
            "model_name": MODEL,
            "sort_order": "desc",
        }
        return self._get(f"{self._history}/request-history?{urlencode(query)}")

    def refresh_key(self, request: Request | None = None) -> bool:
        """Read the key again, because it was rejected and may have been rotated.

        Returns:
            Whether `request` was given and now carries another key than before.
        """
        self._key.refresh()
        if request is None or request.headers["x-api-key"] == self._key.get():
            return False
        request.headers["x-api-key"] = self._key.get()
        return True

    def send(self, request: Request) -> Response:
        """Send a request once; an accepted submit is paid. The response never has the key."""
        self._backend.end_in(REQUEST_SECONDS)
        host = request.url.host
        http = self._submit_http if request.method == "POST" else self._http
        try:
            received = http.send(request, stream=True)
            try:
                text = _text(received)
            finally:
                received.close()
        except _NEVER_SENT as error:
            return Response(0, f"{type(error).__name__} at {host}", sent=False)
        except httpx.HTTPError as error:
            return Response(0, f"{type(error).__name__} while waiting for {host}")
        key = request.headers["x-api-key"]
        text = text.replace(key, "(key)") if key else text
        return Response(received.status_code, text, dict(received.headers))

    def _get(self, url: str) -> Response:
        return self.send(self._request("GET", url))

    def _request(self, method: str, url: str, json: dict[str, Any] | None = None) -> Request:
        headers = {"x-api-key": self._key.get(), "accept-encoding": "identity"}
        return self._http.build_request(method, url, json=json, headers=headers)


def _text(response: httpx.Response) -> str:
    """Read a bounded body; unpack no more than that if it is compressed against our wish."""
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            break
    if body.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            body = bytearray(zlib.decompressobj(wbits=31).decompress(body, MAX_RESPONSE_BYTES))
    return body[:MAX_RESPONSE_BYTES].decode("utf-8", "replace")

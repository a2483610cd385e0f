"""Requests to Segmind within the stack's own request rate."""

import time
from collections.abc import Callable

from retake.segmind.client import SegmindClient
from retake.segmind.responses import Response, retry_after
from retake.services.admission_control import AdmissionControl

_LIMIT_WORDS = ("rate", "limit", "retry", "quota")


class PoliteSegmind:
    """Reads from Segmind when admission control admits a request.

    Attributes:
        requests: how many requests were made.
        limit_headers: what headers of the responses say about limits.

    Parameters:
        client: sends the requests.
        admission: the stack's admission control.
    """

    def __init__(self, *, client: SegmindClient, admission: AdmissionControl) -> None:
        self._client, self._admission = client, admission
        self.requests = 0
        self.limit_headers: dict[str, str] = {}

    def status(self, request_id: str) -> Response:
        """Ask for the status of a request."""
        return self._send(lambda: self._client.status(request_id))

    def result(self, request_id: str) -> Response:
        """Ask for the result of a request."""
        return self._send(lambda: self._client.result(request_id))

    def history(self, request_id: str) -> Response:
        """Ask the history for one request."""
        return self._send(lambda: self._client.history(request_id))

    def history_page(self, page: int, from_date: str, to_date: str) -> Response:
        """List the requests of some days."""
        return self._send(lambda: self._client.history_page(page, from_date, to_date))

    def _send(self, request: Callable[[], Response]) -> Response:
        while denial := self._admission.request():
            time.sleep(denial.retry_seconds)
        self.requests += 1
        response = request()
        if response.status == 429:
            self._admission.pause(retry_after(response))
        self.limit_headers |= {
            name: text
            for name, text in response.headers.items()
            if any(word in name.lower() for word in _LIMIT_WORDS)
        }
        return response

"""Responses that break on purpose.

A reset is a real one: `server.Protocol` puts the connection's asyncio transport into the ASGI
scope, and SO_LINGER 0 makes the kernel send RST when it is aborted, so the client sees ECONNRESET.
A body that breaks off is flushed, and the connection is then closed (FIN) before the announced
length is reached, as when a proxy dies.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from .responses import html_error, json_error, reason_phrase
from .rules import BODY_FAULTS, Rule

SLOW_STEPS = 20  # pieces in which a slow body is sent
GATEWAY_STATUSES = (500, 502, 503, 504)


class Reset(Response):
    """Ends the connection with a TCP reset instead of a response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = scope["state"]["transport"]
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await wait_for_disconnect(receive)


class Tampered(Response):
    """Sends another response slowly, cut short, or with a wrong content-length or none."""

    def __init__(self, inner: Response, rule: Rule) -> None:
        super().__init__(status_code=inner.status_code)
        self._inner = inner
        self._rule = rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inner(scope, receive, _TamperedSend(self._rule, scope, receive, send))


class _TamperedSend:
    """An ASGI `send` that tampers with the response that passes through it."""

    def __init__(self, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        self._rule = rule
        self._scope = scope
        self._receive = receive
        self._send = send
        self._missing = 0  # bytes until the announced length is reached
        self._allowed = 0  # bytes that may still be sent
        self._step = 1  # bytes in a piece of a slow body
        self._is_done = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            self._announce(headers)
            await self._send({**message, "headers": headers.raw})
        elif not self._is_done:
            await self._send_body(message.get("body", b""), message.get("more_body", False))

    def _announce(self, headers: MutableHeaders) -> None:
        """Decide from the real content-length what is announced and what is sent."""
        fault, size = self._rule.fault, self._rule.bytes
        length = int(headers["content-length"])
        self._missing = max(length + size, 0) if fault == "length" else length
        breaks = fault == "break" or (fault == "chunked" and size > 0)
        self._allowed = min(self._missing, max(size, 0)) if breaks else self._missing
        self._step = max(length // SLOW_STEPS, 1)
        headers["content-length"] = str(self._missing)
        if fault == "chunked":
            del headers["content-length"]

    async def _send_body(self, body: bytes, has_more: bool) -> None:
        body = body[: self._allowed]
        self._allowed -= len(body)
        self._missing -= len(body)
        self._is_done = self._allowed == 0 or not has_more
        if self._rule.fault == "slow":
            await self._send_slowly(body)
            body = b""
        breaks_off = self._is_done and self._missing > 0 and self._scope["method"] != "HEAD"
        await self._send_piece(body, breaks_off or not self._is_done)
        if breaks_off:
            self._scope["state"]["transport"].close()
            await wait_for_disconnect(self._receive)

    async def _send_slowly(self, body: bytes) -> None:
        for start in range(0, len(body), self._step):
            await self._send_piece(body[start : start + self._step], True)
            await wait_for_disconnect(self._receive, self._rule.seconds / SLOW_STEPS)

    async def _send_piece(self, body: bytes, more_body: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more_body})


async def wait_for_disconnect(receive: Receive, seconds: float | None = None) -> None:
    """Wait until the client has closed the connection.

    Parameters:
        receive: the call's ASGI `receive`.
        seconds: the longest wait; `None` for any.
    """
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


def replacement(rule: Rule, elsewhere: str) -> Response:
    """Return the response that one of REPLACING_FAULTS puts in place of the real one.

    Parameters:
        rule: the rule with the fault.
        elsewhere: the default target of a redirect.
    """
    if rule.fault == "reset":
        return Reset()
    if rule.fault == "redirect":
        location = rule.location or elsewhere
        return Response(status_code=rule.status or 307, headers={"location": location})
    if rule.fault == "content":
        content = str(rule.body or "not a video")
        return Response(content, rule.status or 200, rule.headers, "video/mp4")
    if rule.fault == "empty":
        return Response(status_code=rule.status or 200, headers=rule.headers)
    status = rule.status or 500
    if rule.html:
        return HTMLResponse(rule.html, status, rule.headers)
    if rule.body is not None:
        return JSONResponse(rule.body, status, rule.headers)
    if status in GATEWAY_STATUSES:
        return html_error(status)
    return json_error(status, reason_phrase(status), rule.headers)


def altered(response: Response, rule: Rule) -> Response:
    """Return a real response with a rule's fault applied to it."""
    status = response.status_code
    if rule.fault == "truncate":
        body = bytes(response.body)
        return Response(body[: len(body) // 2], status, media_type="application/json")
    if rule.fault == "no_id":
        return JSONResponse(_without_id(json.loads(bytes(response.body))), status)
    if rule.fault == "word":
        return JSONResponse({**json.loads(bytes(response.body)), "status": rule.word}, status)
    if rule.fault in BODY_FAULTS:
        return Tampered(response, rule)
    return response


def _without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in body.items()
        if name != "request_id" and not name.endswith("_url")
    }

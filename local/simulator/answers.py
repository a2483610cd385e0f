"""Answers and their faults: bodies as the contract has them, and responses that break on purpose.

A reset is a real one: the connection's asyncio transport (put into the ASGI scope's state by `server.Protocol`)
gets SO_LINGER 0 and is aborted, so that the kernel sends RST and the client sees ECONNRESET. A body that breaks off
is flushed and then closed (FIN) before the length it announced, as a proxy that dies does.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from .settings import Rule


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error answer in the API's own form."""
    return JSONResponse({"error": text}, status, headers)


def phrase(status: int) -> str:
    """Return the usual words for an HTTP status."""
    return http.client.responses.get(status, "Error")


def page(status: int) -> HTMLResponse:
    """Return an error answer as gateways give it: HTML."""
    title = f"{status} {phrase(status)}"
    return HTMLResponse(f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>", status)


def shaped(shape: str, url: str, size: int) -> dict[str, Any]:
    """Return the part of a result that names the file, in one of SHAPES or JSON_SHAPES; `size` in bytes."""
    if shape.startswith("json:"):
        return {"output": json.dumps(shaped(shape.removeprefix("json:"), url, size)["output"])}
    video = {"url": url, "content_type": "video/mp4", "file_name": url.rsplit("/", 1)[-1], "file_size": size}
    shapes: dict[str, dict[str, Any]] = {
        "output": {"output": url},
        "video": {"output": url, "video": video},
        "video_only": {"video": video},
        "output_list": {"output": [url]},
        "output_url": {"output": {"url": url}},
        "output_video_url": {"output": {"video_url": url}},
        "output_videos": {"output": {"videos": [{"url": url}]}},
        "video_url": {"video_url": url},
        "url": {"url": url},
        "unknown": {"artifacts": {"primary": url}},
    }
    return shapes[shape]


def failure(form: str, text: str) -> dict[str, Any]:
    """Return the part of a FAILED body that says why, in one of FAILURE_FORMS."""
    if form == "detail_list":
        return {"detail": [{"loc": ["body"], "msg": text, "type": "value_error"}]}
    return {form: text}


class Reset(Response):
    """Ends the connection with a TCP reset instead of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = scope["state"]["transport"]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await gone(receive)


class Tampered(Response):
    """Sends another response with its body slowed, cut short, or announced with a wrong length or none."""

    def __init__(self, inner: Response, rule: Rule) -> None:
        super().__init__(status_code=inner.status_code)
        self.inner, self.rule = inner, rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule, announced, room, step, done = self.rule, 0, 0, 0, False

        async def tampered(message: Message) -> None:
            nonlocal announced, room, step, done
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                length = int(headers["content-length"])
                announced = max(length + rule.bytes, 0) if rule.fault == "length" else length
                breaks = rule.fault == "break" or (rule.fault == "chunked" and rule.bytes > 0)
                room = min(announced, max(rule.bytes, 0)) if breaks else announced
                step = max(length // 20, 1)
                headers["content-length"] = str(announced)
                if rule.fault == "chunked":
                    del headers["content-length"]
                await send({**message, "headers": headers.raw})
            elif not done:
                body = message.get("body", b"")[:room]
                room, announced = room - len(body), announced - len(body)
                done = room == 0 or not message.get("more_body", False)
                for start in range(0, len(body) if rule.fault == "slow" else 0, step):
                    await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
                    await gone(receive, rule.seconds / 20)
                rest = b"" if rule.fault == "slow" else body
                broken = done and announced > 0 and scope["method"] != "HEAD"
                await send({"type": "http.response.body", "body": rest, "more_body": broken or not done})
                if broken:
                    scope["state"]["transport"].close()
                    await gone(receive)

        await self.inner(scope, receive, tampered)


async def gone(receive: Receive, seconds: float | None = None) -> None:
    """Wait until the client's connection has ended, at most so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


def replacement(rule: Rule, elsewhere: str) -> Response:
    """Return what a rule's fault puts in the place of the answer; `elsewhere` is where a redirect leads by default."""
    if rule.fault == "reset":
        return Reset()
    if rule.fault == "redirect":
        return Response(status_code=rule.status or 307, headers={"location": rule.location or elsewhere})
    if rule.fault == "content":
        return Response(str(rule.body or "not a video"), rule.status or 200, rule.headers, "video/mp4")
    if rule.fault == "empty":
        return Response(status_code=rule.status or 200, headers=rule.headers)
    status = rule.status or 500
    if rule.html:
        return HTMLResponse(rule.html, status, rule.headers)
    if rule.body is not None:
        return JSONResponse(rule.body, status, rule.headers)
    if status in (500, 502, 503, 504):
        return page(status)
    return refusal(status, phrase(status), rule.headers)


def altered(response: Response, rule: Rule) -> Response:
    """Return a real answer with a rule's fault worked into it."""
    if rule.fault == "truncate":
        body = bytes(response.body)
        return Response(body[: len(body) // 2], response.status_code, media_type="application/json")
    if rule.fault == "no_id":
        body = json.loads(bytes(response.body))
        kept = {name: value for name, value in body.items() if name != "request_id" and not name.endswith("_url")}
        return JSONResponse(kept, response.status_code)
    if rule.fault == "word":
        return JSONResponse({**json.loads(bytes(response.body)), "status": rule.word}, response.status_code)
    if rule.fault in ("slow", "break", "chunked", "length"):
        return Tampered(response, rule)
    return response

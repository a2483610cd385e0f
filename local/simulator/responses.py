"""Error responses, and the parts of a body that Segmind's API writes in several ways."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse


def json_error(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as the API writes it."""
    return JSONResponse({"error": text}, status, headers)


def html_error(status: int) -> HTMLResponse:
    """Return an error as gateways write it."""
    title = f"{status} {reason_phrase(status)}"
    head, body = f"<head><title>{title}</title></head>", f"<body><h1>{title}</h1></body>"
    return HTMLResponse(f"<html>{head}{body}</html>", status)


def reason_phrase(status: int) -> str:
    """Return the standard text for an HTTP status."""
    return http.client.responses.get(status, "Error")


def result_fields(shape: str, url: str, size: int) -> dict[str, Any]:
    """Return the part of a result that says where the file is.

    Parameters:
        shape: one of SHAPES or JSON_SHAPES.
        url: the file's URL.
        size: its size in bytes.
    """
    if shape.startswith("json:"):
        plain = result_fields(shape.removeprefix("json:"), url, size)
        return {"output": json.dumps(plain["output"])}
    video = {
        "url": url,
        "content_type": "video/mp4",
        "file_name": url.rsplit("/", 1)[-1],
        "file_size": size,
    }
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


def failure_fields(form: str, text: str) -> dict[str, Any]:
    """Return the part of a FAILED body that says why, in one of FAILURE_FORMS."""
    if form == "detail_list":
        return {"detail": [{"loc": ["body"], "msg": text, "type": "value_error"}]}
    return {form: text}

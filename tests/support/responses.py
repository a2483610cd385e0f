"""Segmind's responses, and JSON of any shape."""

import json
from typing import Any

from hypothesis import strategies as st

from retake.domain.input_files import sent_key
from retake.segmind.responses import Response

from .stand_ins import REGION

REQUEST_ID = "7f2c2f0e-5a3c-4a52-9a54-6a1f5f0a3f11"
HTML = "<html><head><title>Bad gateway</title></head></html>"


def sent_url(job: str, run: int = 0) -> str:
    """Return the URL of what a job sends, without its signature."""
    return f"https://staging.s3.{REGION}.amazonaws.com/{sent_key(job, run, '.mp4')}"


CLIP_URL, OTHER_CLIP_URL = sent_url("j1"), sent_url("other")
RESULT_URL = "https://images.segmind.com/out.mp4"
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def response(status: int, body: Any = "", **headers: str) -> Response:
    """Create a response; a body that is not text becomes JSON."""
    return Response(status, body if isinstance(body, str) else json.dumps(body), headers)


def accepted(request_id: str) -> Response:
    """Create the response to a submit that Segmind accepts."""
    return response(200, {"request_id": request_id, "status": "QUEUED"})


def completed(**metrics: Any) -> Response:
    """Create the status of a request that is completed."""
    return response(200, {"status": "COMPLETED", "metrics": metrics})


def result(url: str = RESULT_URL) -> Response:
    """Create the result of a completed request."""
    return response(200, {"status": "COMPLETED", "output": url})


def history_row(
    request_id: str | None = "r-9", model_status: str = "PENDING", **inputs: Any
) -> dict[str, Any]:
    """Create a row of the history about `clip.mp4`, signed another time; `None` omits an input."""
    sent = {"video_url": f"{CLIP_URL}?signature=another", "mode": "adhere_1"} | inputs
    body = {name: value for name, value in sent.items() if value is not None}
    return {"request_id": request_id, "model_status": model_status, "request_body": body}


def history_page(*rows: Any, **more: Any) -> Response:
    """Create a page of the history."""
    return response(200, {"history": rows} | more)

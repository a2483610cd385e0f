"""Segmind's history: whether a request is among its rows, certainly is not, or may be.

How soon a row appears, the envelope of a page and how faithfully the inputs are kept are not documented, so nothing but a page that can
be read whole proves an absence: the price of a wrong "absent" is a video paid twice.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .contract import Answer, is_id, path_of

_DEPTH = 4
_COUNTS = ("total", "totalcount", "totalitems", "totalrows", "totalrecords", "totalresults", "count")  # without "_", in lower case
Rows = list[Mapping[str, Any]]


def read_page(answer: Answer, page: int) -> Rows | None:
    """Give the rows of a page of the history, whatever its envelope; `None` when it cannot be read.

    An empty list is an empty page only if nothing beside it could be a row, an error, or a number of rows.
    """
    try:
        body = json.loads(answer.text) if answer.status == 200 else None
    except (ValueError, RecursionError):
        return None
    lists = list(_lists(body))
    for found in lists:
        if any(isinstance(row, dict) and "request_id" in row for row in found):
            return [row for row in found if isinstance(row, dict)]
    says_more = page == 1 and any(str(count).strip("0").isdecimal() for count in _counts(body))
    holds_more = any(isinstance(item, dict) for found in lists for item in found)
    return [] if [] in lists and not (says_more or holds_more or _says_error(body)) else None


def is_ours(row: Mapping[str, Any], sent: Mapping[str, Any], mark: str) -> bool | None:
    """Tell whether a row is the request whose body was `sent`; `None` when it does not say enough.

    Parameters: `mark`, what the address of the clip carries beside its signature (see `mark_of`). Where no mark is left, all fields decide,
    and a field that the row leaves out, or another host, leaves it open.
    """
    if not isinstance(row.get("request_id"), str) or not is_id(row["request_id"]):
        return None
    body = _inputs(row.get("request_body"))
    if not path_of(body.get("video_url")):
        return None
    if there := mark_of(body["video_url"]):
        return there == mark
    verdicts = (
        _same_object(body["video_url"], sent["video_url"]),
        _same_object(body.get("first_frame_url"), sent.get("first_frame_url")),
        _same(_words(body.get("prompt")), _words(sent.get("prompt"))),
        _same(body.get("mode") or sent["mode"], sent["mode"]),
    )
    return False if False in verdicts else None if None in verdicts else True


def mark_of(url: Any) -> str:
    """Read the mark of an address: the file name that its answer is told to have; empty when there is none."""
    try:
        disposition = parse_qs(urlsplit(url).query).get("response-content-disposition", [""])[0] if isinstance(url, str) else ""
    except ValueError:
        return ""
    return disposition.partition('filename="')[2].rstrip('"')


def _lists(value: Any, depth: int = 0) -> Iterator[list[Any]]:
    """Give the lists in a value, in reading order, not those within lists."""
    if isinstance(value, list):
        yield value
    elif isinstance(value, dict) and depth < _DEPTH:
        for item in value.values():
            yield from _lists(item, depth + 1)


def _counts(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, dict) and depth < _DEPTH:
        yield from (item for name, item in value.items() if name.lower().replace("_", "") in _COUNTS)
        for item in value.values():
            yield from _counts(item, depth + 1)


def _says_error(body: Any) -> bool:
    return isinstance(body, dict) and (body.get("success") is False or any(body.get(name) for name in ("error", "errors", "detail")))


def _inputs(value: Any, depth: int = 0) -> dict[str, Any]:
    """Find the object with `video_url`, however it is wrapped or given as text."""
    if isinstance(value, str) and depth < _DEPTH:
        try:
            return _inputs(json.loads(value), depth + 1)
        except (ValueError, RecursionError):
            return {}
    if not isinstance(value, dict) or "video_url" in value:
        return value if isinstance(value, dict) else {}
    within = (_inputs(item, depth + 1) for item in value.values() if depth < _DEPTH)
    return next((found for found in within if found), {})


def _same(there: Any, sent: Any) -> bool | None:
    return True if there == sent else False if there else None


def _same_object(there: Any, sent: Any) -> bool | None:
    same = _same(_object(there), _object(sent))
    return None if same is False and path_of(there) == path_of(sent) else same


def _object(url: Any) -> str:
    """Name an object; S3 may have the bucket in the host or in the path."""
    path = path_of(url)
    host = (urlsplit(url).hostname or "") if path else ""
    bucket, virtual, _ = host.partition(".s3")
    return f"/{bucket}{path}" if virtual else path if host.startswith("s3.") else host + path


def _words(text: Any) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""

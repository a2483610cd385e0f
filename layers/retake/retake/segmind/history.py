"""Segmind's history: whether a request is in it, certainly is not, or may be.

How soon a row appears, the envelope of a page and how faithfully inputs are kept are not
documented. So only a page that can be read completely proves that a request is absent: the price
of a wrong "absent" is a video that is paid twice.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .json_values import parse_json, walk
from .responses import Response, is_request_id, url_path

Row = Mapping[str, Any]

# Names of a number of rows, without "_" and in lower case.
_COUNTS = frozenset(
    {"total", "totalcount", "totalitems", "totalrows", "totalrecords", "totalresults", "count"}
)


def read_page(response: Response, page: int) -> list[Row] | None:
    """Return the rows of a page, whatever its envelope; `None` when it cannot be read.

    An empty list is an empty page only if nothing beside it could be a row, an error, or a number
    of rows.
    """
    body = parse_json(response.text) if response.status == 200 else None
    values = list(walk(body))
    lists = [value for value in values if isinstance(value, list)]
    for found in lists:
        if any(isinstance(row, dict) and "request_id" in row for row in found):
            return [row for row in found if isinstance(row, dict)]
    states_rows = page == 1 and any(map(_states_rows, values))
    has_objects = any(isinstance(item, dict) for found in lists for item in found)
    if [] in lists and not (states_rows or has_objects or _is_error(body)):
        return []
    return None


def is_ours(row: Row, sent: Mapping[str, str], correlation_id: str) -> bool | None:
    """Tell whether a row is the request whose body was `sent`; `None` when it does not say.

    Where the correlation ID is no longer in the row, all fields decide, and a field that the row
    leaves out, or another host, leaves it open.
    """
    if not isinstance(row.get("request_id"), str) or not is_request_id(row["request_id"]):
        return None
    body = _inputs(row.get("request_body"))
    if not url_path(body.get("video_url")):
        return None
    if found := correlation_id_of(body["video_url"]):
        return found == correlation_id
    verdicts = (
        _same_object(body["video_url"], sent["video_url"]),
        _same_object(body.get("first_frame_url"), sent.get("first_frame_url")),
        _same(_words(body.get("prompt")), _words(sent.get("prompt"))),
        _same(body.get("mode") or sent["mode"], sent["mode"]),
    )
    if False in verdicts:
        return False
    return None if None in verdicts else True


def correlation_id_of(url: Any) -> str:
    """Return the correlation ID in a signed URL; empty when there is none."""
    try:
        query = parse_qs(urlsplit(url).query) if isinstance(url, str) else {}
    except ValueError:
        return ""
    disposition = query.get("response-content-disposition", [""])[0]
    return disposition.partition('filename="')[2].rstrip('"')


def _states_rows(value: Any) -> bool:
    """Tell whether an object states a number of rows other than zero."""
    fields = value.items() if isinstance(value, dict) else ()
    counts = (item for name, item in fields if name.lower().replace("_", "") in _COUNTS)
    return any(str(count).strip("0").isdecimal() for count in counts)


def _is_error(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    stated = any(body.get(name) for name in ("error", "errors", "detail"))
    return body.get("success") is False or stated


def _inputs(request_body: Any) -> dict[str, Any]:
    """Return the object with `video_url`, however it is wrapped or given as text."""
    for value in walk(request_body, text=True):
        if isinstance(value, dict) and "video_url" in value:
            return value
    return {}


def _same(there: Any, sent: Any) -> bool | None:
    if there == sent:
        return True
    return False if there else None


def _same_object(there: Any, sent: Any) -> bool | None:
    same = _same(_object_name(there), _object_name(sent))
    return None if same is False and url_path(there) == url_path(sent) else same


def _object_name(url: Any) -> str:
    """Name an object; S3 has the bucket in the host or in the path."""
    path = url_path(url)
    host = (urlsplit(url).hostname or "") if path else ""
    bucket, virtual_hosted, _ = host.partition(".s3")
    if virtual_hosted:
        return f"/{bucket}{path}"
    return path if host.startswith("s3.") else host + path


def _words(text: Any) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""

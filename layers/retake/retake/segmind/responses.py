"""What Segmind's responses mean: HTTP status and body in, one value out.

Every variant that was seen or is documented ends in one of the values below.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from re import sub
from typing import Any
from urllib.parse import unquote, urlsplit

from ..domain.job import HoldReason
from .json_values import MAX_DEPTH, parse_json

_MONEY_WORDS = (
    *("credit", "balance", "spend", "insufficient", "quota", "billing", "budget"),
    *("payment", "fund", "top up", "recharge"),
)
_VALUE_WORDS = (
    *("invalid", "must", "value", "unsupported", "not allowed", "not acceptable"),
    *("content-type", "field", "required", "format"),
)
_MAX_TEXT = 500  # characters
_MAX_URL = 4096  # characters; a signed one has about 2,000
_MAX_RETRY_SECONDS = 120
_DEFAULT_RETRY_SECONDS = 20
_UNUSABLE_RETRY_SECONDS = 15


@dataclass(frozen=True)
class Response:
    """An HTTP response as it came.

    Attributes:
        status: the HTTP status; 0 when no response came, and `text` then says why.
        text: the body.
        headers: the headers, with lower-case names.
        sent: false when the request never left.
    """

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: bool = True

    @property
    def body(self) -> dict[str, Any]:
        """Return the body when it is a JSON object, else an empty one."""
        body = parse_json(self.text)
        return body if isinstance(body, dict) else {}

    @property
    def words(self) -> str:
        """Return what the body says to a person, in at most 500 characters."""
        body = self.body
        names = ("error_description", "error", "detail", "message")
        said = next((body[name] for name in names if body.get(name)), None)
        text = _to_text(said) if said else " ".join(self.text.split())
        text = text[:_MAX_TEXT].encode(errors="replace").decode()
        return text or f"HTTP {self.status} without a body"


@dataclass(frozen=True)
class Accepted:
    """The job runs, and is paid, under `request_id`."""

    request_id: str


@dataclass(frozen=True)
class Rejected:
    """The request itself is wrong; nothing was paid."""

    reason: str


@dataclass(frozen=True)
class Deferred:
    """The request is fine but cannot be accepted now; nothing was paid.

    Attributes:
        hold_reason: why.
        reason: the same in plain words.
        retry_seconds: when to try again, if the rate limit was exceeded.
    """

    hold_reason: HoldReason
    reason: str
    retry_seconds: int = 60


@dataclass(frozen=True)
class Ambiguous:
    """The request may be running and paid, or not; only the history can tell."""

    reason: str


@dataclass(frozen=True)
class Running:
    """Not finished; `queued` while Segmind has not begun."""

    queued: bool = False


@dataclass(frozen=True)
class Completed:
    """Finished; `metrics` as Segmind reported them."""

    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """The result is at `url`; `metrics` as Segmind reported them."""

    url: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Failed:
    """Segmind says that the job failed; nothing is billed."""

    reason: str


@dataclass(frozen=True)
class Gone:
    """Segmind does not know the request (any more)."""


@dataclass(frozen=True)
class Unusable:
    """The response says nothing about the job.

    Attributes:
        reason: why.
        retry_seconds: when to ask again.
        status: the HTTP status, 0 when there was none.
    """

    reason: str
    retry_seconds: int
    status: int


SubmitOutcome = Accepted | Rejected | Deferred | Ambiguous
Progress = Running | Completed | Failed | Gone | Unusable


def read_submit(response: Response, prompt: str = "") -> SubmitOutcome:
    """Return what became of a submit; anything that is not certain is `Ambiguous`.

    Parameters:
        response: the response.
        prompt: the prompt that was sent. A response may quote it, or a URL that was sent, and
            those words are not Segmind's own.
    """
    status, words = response.status, response.words
    if not response.sent:
        return Deferred(HoldReason.RATE, f"Segmind could not be reached: {words}")
    if 200 <= status < 300:
        request_id = response.body.get("request_id")
        if isinstance(request_id, str) and is_request_id(request_id):
            return Accepted(request_id)
        return Ambiguous("Segmind accepted the request without returning its id")
    if status == 429:
        reason = f"Segmind's rate limit: {words}"
        return Deferred(HoldReason.RATE, reason, retry_after(response))
    if status in (401, 403, 404, 410):
        reason = f"Segmind rejected the account (HTTP {status}): {words}"
        return Deferred(HoldReason.KEY, reason)
    if status == 402 or (status == 406 and _is_about_money(words, prompt)):
        reason = f"The Segmind account is out of credits (HTTP {status}): {words}"
        return Deferred(HoldReason.CREDITS, reason)
    if status in (400, 406, 413, 415, 422):
        return Rejected(f"Segmind rejected the request (HTTP {status}): {words}")
    if status == 405:
        where = "at the configured URL"
        reason = f"Segmind does not offer this model {where} (HTTP {status}): {words}"
        return Deferred(HoldReason.KEY, reason)
    if not status:
        return Ambiguous(words)
    unclear = "Segmind's response does not say whether the job runs"
    return Ambiguous(f"{unclear} (HTTP {status}): {words}")


def read_status(response: Response) -> Progress:
    """Return where a request stands, by `status` in the body first and the HTTP code second."""
    body = response.body
    word = body.get("status")
    succeeded = 200 <= response.status < 300
    match word.upper() if isinstance(word, str) else "":
        case "COMPLETED":
            return Completed(_metrics(body))
        case "FAILED" if succeeded or response.status in (400, 422):
            # With any other code the account may be meant, not the job.
            explained = any(body.get(name) for name in ("error", "detail"))
            return Failed(response.words if explained else "Segmind gave no reason")
        case "QUEUED":
            return Running(queued=True)
        case other if other and (succeeded or response.status == 422):
            return Running()
    if response.status == 422:
        return Failed(response.words)
    if response.status in (404, 410) and body:
        return Gone()
    wait = retry_after(response) if response.status == 429 else _UNUSABLE_RETRY_SECONDS
    return Unusable(f"HTTP {response.status}: {response.words}", wait, response.status)


def read_result(response: Response, sent: Mapping[str, str]) -> Found | None:
    """Return the result's URL in the response to a completed request, whatever its shape.

    Parameters:
        response: the response.
        sent: the body of the submit; a URL in it is not the result.
    """
    if response.status != 200:
        return None
    return _find(response.body, ("output", "video", "video_url", "url"), sent)


def read_history_row(response: Response, request_id: str) -> Found | Failed | None:
    """Return the result or the failure in a request's history row; `None` when it has neither."""
    row = _row(response.body, request_id)
    if str(row.get("model_status", "")).upper() == "FAILED":
        if row.get("error"):
            return Failed(Response(200, json.dumps(row)).words)
        return Failed("Segmind gave no reason")
    found = _find(row, ("generation_url",), {})
    cost = read_history_cost(response, request_id)
    return replace(found, metrics={"cost": cost, **found.metrics}) if found and cost else found


def read_history_cost(response: Response, request_id: str) -> float | None:
    """Return what a request's history row says that it cost, in USD; `None` if it does not."""
    row = _row(response.body, request_id)
    return _metrics({"metrics": {"cost": row.get("credits_deduction")}}).get("cost")


def retry_after(response: Response) -> int:
    """Return the seconds, 1 to 120, to wait after a 429; a default when its headers do not say."""
    stated = response.headers.get("retry-after", "").strip()
    if stated.isdecimal() and len(stated) < 9:
        seconds = float(stated)
    else:
        now = _moment(response.headers.get("date", ""))
        reset = _moment(stated) or _moment(response.headers.get("x-rate-limit-reset-at-utc", ""))
        seconds = reset - now if reset and now else _DEFAULT_RETRY_SECONDS
    return ceil(min(_MAX_RETRY_SECONDS, max(1, seconds)))


def url_path(url: Any) -> str:
    """Return the path of a URL, decoded; empty when it is not a URL."""
    try:
        return unquote(urlsplit(url).path) if isinstance(url, str) else ""
    except ValueError:
        return ""


def is_request_id(text: str) -> bool:
    """Tell whether a text can be a request id: it goes into URLs, so only `[A-Za-z0-9_-]`."""
    bare = text.replace("-", "").replace("_", "")
    return 0 < len(text) <= 128 and bare.isalnum() and text.isascii()


def _is_about_money(words: str, prompt: str) -> bool:
    own_words = words.replace(prompt, " ") if prompt else words
    own_words = sub(r"https?://\S+", " ", own_words).lower()
    money = any(word in own_words for word in _MONEY_WORDS)
    return money or not any(word in own_words for word in _VALUE_WORDS)


def _moment(text: str) -> float | None:
    """Read a time given in seconds since the epoch, as ISO 8601 or as an HTTP date; UTC."""
    text = text.strip()
    if text.replace(".", "", 1).isdecimal() and len(text) < 20:
        return float(text) / (1000 if float(text) > 1e11 else 1)
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, OverflowError):
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _find(
    body: Mapping[str, Any], places: tuple[str, ...], sent: Mapping[str, str]
) -> Found | None:
    ours = {url_path(value) for name, value in sent.items() if name.endswith("_url")}
    urls = [url for place in places for url in _urls(body.get(place)) if url_path(url) not in ours]
    if not urls:
        return None
    videos = [url for url in urls if url_path(url).lower().endswith(".mp4")]
    return Found((videos or urls)[0], _metrics(body))


def _urls(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield every http(s) URL in a value of any shape, in reading order, that can be stored."""
    if isinstance(value, str):
        text = value.strip()
        if text.lower().startswith(("http://", "https://")):
            if len(text) <= _MAX_URL and text.isprintable():
                yield text
        elif text[:1] in ("{", "[", '"') and depth < MAX_DEPTH:
            yield from _urls(parse_json(text), depth + 1)
    elif isinstance(value, list) and depth < MAX_DEPTH:
        for item in value:
            yield from _urls(item, depth + 1)
    elif isinstance(value, dict) and depth < MAX_DEPTH:
        for name in ("url", "video_url", "video", "videos", "output"):
            yield from _urls(value.get(name), depth + 1)


def _row(value: Any, request_id: str, depth: int = 3) -> dict[str, Any]:
    """Return the row of a request, however it is wrapped; empty when there is none.

    Nothing within a row counts: a row of another request can contain what looks like one.
    """
    within: list[Any] = []
    if isinstance(value, dict):
        if "generation_url" in value or "model_status" in value:
            return value if value.get("request_id", request_id) == request_id else {}
        within = list(value.values())
    elif isinstance(value, list):
        within = value
    found = (_row(item, request_id, depth - 1) for item in within if depth)
    return next((row for row in found if row), {})


def _metrics(body: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the usable figures: a paid result must not hang on one that cannot be stored."""
    metrics = body.get("metrics")
    figures = metrics.items() if isinstance(metrics, dict) else ()
    return {
        name: round(float(value), 6)
        for name, value in figures
        if type(value) in (int, float) and 0 <= value < 1e9
    }


def _to_text(said: Any) -> str:
    if isinstance(said, list):
        return "; ".join(
            _to_text(item) if isinstance(item, dict) else str(item)[:_MAX_TEXT]
            for item in said[:10]
        )
    if isinstance(said, dict):
        location = said.get("loc")
        where = ""
        if isinstance(location, list):
            where = ".".join(str(part) for part in location) + ": "
        message = said.get("msg") or said.get("message") or list(said.items())[:3]
        return where + str(message)[:_MAX_TEXT]
    return str(said)

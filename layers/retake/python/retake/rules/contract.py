"""What Segmind's answers mean: HTTP status and body in, one value out; every variant seen or documented ends in one of them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from re import sub
from typing import Any
from urllib.parse import unquote, urlsplit

from .states import Held

EARLY = 60  # seconds after the submit in which "not found" can be a replica that has not caught up
RECORD_LIFE = 3600  # seconds from the submit that Segmind keeps a request's record
FILE_LIFE = 7 * 86400  # seconds that it keeps the result file
_MONEY = ("credit", "balance", "spend", "insufficient", "quota", "billing", "budget", "payment", "fund", "top up", "recharge")
_VALUE = ("invalid", "must", "value", "unsupported", "not allowed", "not acceptable", "content-type", "field", "required", "format")
_TEXT_LIMIT = 500
_URL_LIMIT = 4096  # characters; a signed one has about 2,000


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it came: `status` 0 means that none came, and `text` then says why; `sent` is false if nothing left us."""

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: bool = True

    @property
    def body(self) -> dict[str, Any]:
        """The body, when it is a JSON object; empty otherwise."""
        try:
            body = json.loads(self.text)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}

    @property
    def words(self) -> str:
        """What the body says to a person, in at most 500 characters."""
        body = self.body
        said = next((body[name] for name in ("error_description", "error", "detail", "message") if body.get(name)), None)
        text = _plain(said) if said else " ".join(self.text.split())
        return text[:_TEXT_LIMIT].encode(errors="replace").decode() or f"HTTP {self.status} without a body"


@dataclass(frozen=True)
class Accepted:
    """The job runs (and is paid) under `request_id`."""

    request_id: str


@dataclass(frozen=True)
class Rejected:
    """The request itself is wrong; nothing was paid."""

    reason: str


@dataclass(frozen=True)
class Withheld:
    """The request is fine but cannot go now; nothing was paid. `wait` in seconds."""

    held: Held
    reason: str
    wait: int = 60


@dataclass(frozen=True)
class Unknown:
    """The request may be running and paid, or may not: only the history can tell."""

    reason: str


@dataclass(frozen=True)
class Running:
    """Not finished; `queued` when Segmind has not begun."""

    queued: bool = False


@dataclass(frozen=True)
class Completed:
    """Finished; `metrics` as Segmind gave them."""

    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """The result lies at `url`."""

    url: str
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """Segmind says that the job failed; nothing is billed."""

    reason: str


@dataclass(frozen=True)
class Gone:
    """Segmind does not know the request (any more)."""


@dataclass(frozen=True)
class Unanswered:
    """No usable answer this time: ask again after `wait` seconds; `status` is the HTTP status, 0 when there was none."""

    reason: str
    wait: int
    status: int


Submitted = Accepted | Rejected | Withheld | Unknown
Progress = Running | Completed | Failed | Gone | Unanswered


def read_submit(answer: Answer, prompt: str = "") -> Submitted:
    """Say what became of a submit; whatever is not certainly accepted or certainly refused is `Unknown`.

    Parameters: `prompt`, as it was sent; an answer may quote it, or an address that was sent, and their words are not Segmind's.
    """
    status, words = answer.status, answer.words
    own_words = sub(r"https?://\S+", " ", words.replace(prompt, " ") if prompt else words)
    if not answer.sent:
        return Withheld(Held.RATE, f"Segmind could not be reached: {words}")
    if 200 <= status < 300:
        request_id = answer.body.get("request_id")
        if isinstance(request_id, str) and is_id(request_id):
            return Accepted(request_id)
        return Unknown("Segmind accepted the request without telling its id")
    if status == 429:
        return Withheld(Held.RATE, f"Segmind's rate limit: {words}", retry_after(answer))
    if status in (401, 403, 404, 410):
        return Withheld(Held.KEY, f"Segmind refused the account (HTTP {status}): {words}")
    if status == 402 or (status == 406 and (_says(own_words, _MONEY) or not _says(own_words, _VALUE))):
        return Withheld(Held.CREDITS, f"Segmind's credits are used up (HTTP {status}): {words}")
    if status in (400, 406, 413, 415, 422):
        return Rejected(f"Segmind refused the request (HTTP {status}): {words}")
    if status == 405:
        return Withheld(Held.KEY, f"Segmind does not offer this model at the configured address (HTTP {status}): {words}")
    return Unknown(f"Segmind's answer leaves open whether the job runs (HTTP {status}): {words}" if status else words)


def read_status(answer: Answer) -> Progress:
    """Say where a request stands: by `status` in the body first, by the HTTP code second."""
    body = answer.body
    status = body.get("status")
    match status.upper() if isinstance(status, str) else "":
        case "COMPLETED":
            return Completed(_metrics(body))
        case "FAILED" if 200 <= answer.status < 300 or answer.status in (400, 422):  # with any other code the account may be meant
            return Failed(answer.words if any(body.get(name) for name in ("error", "detail")) else "Segmind gave no reason")
        case "QUEUED":
            return Running(queued=True)
        case word if word and (200 <= answer.status < 300 or answer.status == 422):
            return Running()
    if answer.status == 422:
        return Failed(answer.words)
    if answer.status in (404, 410) and body:
        return Gone()
    return Unanswered(f"HTTP {answer.status}: {answer.words}", retry_after(answer) if answer.status == 429 else 15, answer.status)


def read_result(answer: Answer, sent: Mapping[str, Any]) -> Found | None:
    """Find the result's address in the answer of a completed request, whatever its shape; `None` when there is none.

    Parameters: `sent`, the body of the submit; an address in it is no result.
    """
    return _find(answer.body, ("output", "video", "video_url", "url"), sent) if answer.status == 200 else None


def read_history(answer: Answer, request_id: str) -> Found | Failed | None:
    """Find the result, or the failure, in a request's row of the history; `None` when it tells neither."""
    row = _row(answer.body, request_id)
    if str(row.get("model_status", "")).upper() == "FAILED":
        return Failed(Answer(200, json.dumps(row)).words if row.get("error") else "Segmind gave no reason")
    return _find(row, ("generation_url",), {})


def retry_after(answer: Answer, otherwise: int = 20) -> int:
    """Give the seconds, 1 to 120, that a 429 asks to wait; `otherwise` when its headers do not say, or not in a form that is known."""
    told = answer.headers.get("retry-after", "").strip()
    seconds = float(told) if told.isdecimal() and len(told) < 9 else None
    if seconds is None:
        now = _moment(answer.headers.get("date", ""))
        reset = _moment(told) or _moment(answer.headers.get("x-rate-limit-reset-at-utc", ""))
        seconds = reset - now if reset and now else otherwise
    return ceil(min(120, max(1, seconds)))


def _moment(text: str) -> float | None:
    """Read a time given in seconds since the epoch, as ISO 8601 or as an HTTP date; UTC unless it says otherwise."""
    text = text.strip()
    if text.replace(".", "", 1).isdecimal() and len(text) < 20:
        return float(text) / (1000 if float(text) > 1e11 else 1)
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, OverflowError):
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _urls(value: Any, depth: int = 0) -> Iterator[str]:
    """Give every http(s) address in a value of any shape, in reading order; one that cannot be kept on the job's record is none."""
    if isinstance(value, str):
        text = value.strip()
        if text.lower().startswith(("http://", "https://")):
            if len(text) <= _URL_LIMIT and text.isprintable():
                yield text
        elif text[:1] in ("{", "[", '"') and depth < 4:
            try:
                yield from _urls(json.loads(text), depth + 1)
            except (ValueError, RecursionError):
                return
    elif isinstance(value, list) and depth < 4:
        for item in value:
            yield from _urls(item, depth + 1)
    elif isinstance(value, dict) and depth < 4:
        for name in ("url", "video_url", "video", "videos", "output"):
            yield from _urls(value.get(name), depth + 1)


def _row(value: Any, request_id: str, depth: int = 0) -> dict[str, Any]:
    """Find the row of a request, however it is wrapped; one that names another request is none. Empty when there is none."""
    if isinstance(value, dict) and ("generation_url" in value or "model_status" in value):
        return value if value.get("request_id", request_id) == request_id else {}
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = (_row(item, request_id, depth + 1) for item in within if depth < 3)
    return next((row for row in found if row), {})


def _find(body: Mapping[str, Any], places: tuple[str, ...], sent: Mapping[str, Any]) -> Found | None:
    ours = {path_of(value) for name, value in sent.items() if name.endswith("_url")}
    urls = [url for place in places for url in _urls(body.get(place)) if path_of(url) not in ours]
    videos = [url for url in urls if path_of(url).lower().endswith(".mp4")]
    return Found((videos or urls)[0], _metrics(body)) if urls else None


def _metrics(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep the figures that are any: a paid result must not hang on a number that cannot be stored."""
    metrics = body.get("metrics")
    figures = metrics.items() if isinstance(metrics, dict) else ()
    return {name: round(float(value), 6) for name, value in figures if type(value) in (int, float) and 0 <= value < 1e9}


def path_of(url: Any) -> str:
    """Give the path of an address, decoded; empty when it is none."""
    try:
        return unquote(urlsplit(url).path) if isinstance(url, str) else ""
    except ValueError:
        return ""


def _says(words: str, any_of: tuple[str, ...]) -> bool:
    return any(word in words.lower() for word in any_of)


def _plain(said: Any) -> str:
    if isinstance(said, list):
        return "; ".join(_plain(item) if isinstance(item, dict) else str(item)[:_TEXT_LIMIT] for item in said[:10])
    if isinstance(said, dict):
        loc = said.get("loc")
        where = ".".join(str(part) for part in loc) + ": " if isinstance(loc, list) else ""
        return where + str(said.get("msg") or said.get("message") or list(said.items())[:3])[:_TEXT_LIMIT]
    return str(said)


def is_id(text: str) -> bool:
    """A `request_id` goes into URLs: nothing but letters, digits, `-` and `_`."""
    return 0 < len(text) <= 128 and text.replace("-", "").replace("_", "").isalnum() and text.isascii()

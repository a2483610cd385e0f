"""Segmind over virtual time: its API, its history, its result files, and the ledger of its bill.

It behaves as Segmind's documentation and its users say, in all variants: which one, the dice
decide.
"""

import json
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from retake.domain.prices import Work
from tests.support import mp4

from .kernel import Kernel
from .weather import Weather

BASE, HISTORY = "https://api.segmind.example", "https://history.segmind.example/inference-request"
FILES = "https://8.8.8.8"
RECORD_SECONDS = 3600
REPLICA_SECONDS = 30  # a replica may not know a record for so long
MAX_HISTORY_LAG_SECONDS = 240  # until the history shows a request
# How it may bill: by the clip, by the second, or by the pixel; nobody is told which.
BILLINGS: tuple[Callable[[Work], float], ...] = (
    lambda _: 0.602,
    lambda work: 0.09 * work.seconds,
    lambda work: 0.00544 * work.megapixels,
)
PAGE = "<html><body>502 Bad Gateway</body></html>"


@dataclass
class Request:
    """A request that Segmind accepted.

    Attributes:
        id: its id.
        body: its fields.
        created: when it was accepted.
        starts: when its render starts.
        ends: when it ends.
        usd: its price.
        fails: whether it ends FAILED; then it is not billed.
        known_from: when all replicas know its record.
        listed_from: when the history shows it.
        shape: of its result.
        metrics: what its record says about its price.
    """

    id: str
    body: dict[str, Any]
    created: float
    starts: float
    ends: float
    usd: float
    fails: bool
    known_from: float
    listed_from: float
    shape: int
    metrics: dict[str, Any]

    def state(self, now: float) -> str:
        """Return its state."""
        if now < self.starts:
            return "QUEUED"
        if now < self.ends:
            return "PROCESSING"
        return "FAILED" if self.fails else "COMPLETED"

    @property
    def url(self) -> str:
        """Return where its result is."""
        return f"{FILES}/{self.id}.mp4"

    @property
    def content(self) -> bytes:
        """Return its result."""
        return mp4.FTYP + mp4.box(b"mdat", self.id.encode() * 40)

    @property
    def clip_path(self) -> str:
        """Return the host and path of its clip."""
        parts = urlsplit(self.body["video_url"])
        return f"{parts.hostname}{parts.path}"


@dataclass
class Account:
    """The account at Segmind.

    Attributes:
        key: the API key that it accepts.
        credits_usd: what is left.
        per_minute: requests that it may make.
    """

    key: str
    credits_usd: float
    per_minute: int


class Segmind:
    """The service.

    Parameters:
        kernel: the clock.
        dice: decide about everything.
        weather: tells how badly it behaves now.
        account: the account.

    Attributes:
        ledger: the accepted requests.
        arrivals: when each request to the API arrived, except what AWS has delayed.
        problems: what a client must never do, and did.
        arrived: called when a request arrives that AWS has not delayed.
        accepted: called with each request that is accepted.
        work_of: returns what has to be done for the body of a request.
        billing: how it bills now.
        history_fails_until: when the list of requests can be read again.
        loses_results: whether some results are gone for good.
    """

    def __init__(
        self, kernel: Kernel, dice: Random, weather: Callable[[], Weather], account: Account
    ) -> None:
        self._kernel, self._dice, self._weather = kernel, dice, weather
        self.account = account
        self.ledger: list[Request] = []
        self.arrivals: list[float] = []
        self.problems: list[str] = []
        self.arrived: Callable[[], None] = lambda: None
        self.accepted: Callable[[Request], None] = lambda _: None
        self.work_of: Callable[[dict[str, Any]], Work] = lambda _: Work(0, 0)
        self.billing = dice.choice(BILLINGS)
        self._by_id: dict[str, Request] = {}
        self._bare_history = dice.random() < 0.3  # without the signatures of URLs
        self._envelope = dice.randrange(4)
        self.history_fails_until = 0.0
        self.loses_results = False

    def _hits(self, share: float) -> bool:
        return self._dice.random() < share

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Respond to a request, as it arrives after a while."""
        process = self._kernel.current
        assert process
        url = str(request.url)
        process.wait(self._dice.uniform(0.05, 0.4))
        if url.startswith(FILES):
            return self._file(request)
        response = self._api(request, url)
        process.wait(self._dice.uniform(0.02, 0.2))
        return response

    def _api(self, request: httpx.Request, url: str) -> httpx.Response:
        process, weather = self._kernel.current, self._weather()
        assert process
        is_submit = request.method == "POST"
        if self._hits(weather.submit_lost if is_submit else weather.request_failed):
            process.faults.add("submit lost" if is_submit else "request failed")
            return self._fail(request)
        if not process.is_late:  # a function cannot know how long its next call to AWS will take
            self.arrivals.append(self._kernel.now)
            self.arrived()
        if request.headers.get("x-api-key") != self.account.key:
            process.faults.add("key rejected")
            return _reply(401, {"error": "invalid_api_key", "status_code": 401})
        recent = len(self.arrivals) - bisect(self.arrivals, self._kernel.now - 60)
        if recent > self.account.per_minute:
            self._kernel.log(f"PROBLEM: {recent} requests in a minute")
            self.problems.append(f"{recent} requests in a minute")
            return _reply(429, {"error": "rate limit"})
        if is_submit:
            return self._submit(request)
        if url.startswith(HISTORY):
            return self._history(url)
        path = urlsplit(url).path.split("/")
        wants_status = path[-1] == "status"
        return self._record(path[-2] if wants_status else path[-1], wants_status)

    def _fail(self, request: httpx.Request) -> httpx.Response:
        """Fail before anything was done."""
        process = self._kernel.current
        assert process
        kind = self._dice.randrange(6)
        self._kernel.log(f"{request.method} fails before it arrives ({kind})")
        if kind == 0:
            raise httpx.ConnectError("refused", request=request)
        if kind == 1:
            process.wait(20)
            raise httpx.ReadTimeout("timed out", request=request)
        if kind == 2:
            raise httpx.RemoteProtocolError("hung up", request=request)
        if kind == 3:
            return _text(502, PAGE)
        if kind == 4:
            return _reply(500, {"error": "Internal Server Error"})
        return _reply(200, "???") if request.method == "GET" else _text(504, PAGE)

    def _submit(self, request: httpx.Request) -> httpx.Response:
        process, weather = self._kernel.current, self._weather()
        assert process
        body = json.loads(request.read())
        usd = round(self.billing(self.work_of(body)), 4)
        if self.account.credits_usd < usd:
            process.faults.add("no credits")
            return _reply(self._dice.choice((402, 406)), {"error": "insufficient credits"})
        if self._hits(weather.submit_rejected):
            process.faults.add("submit rejected")
            status = self._dice.choice((429, 429, 400, 403))
            self._kernel.log(f"submit rejected: {status}")
            words = {429: "rate limit", 400: "prompt is not allowed", 403: "not your model"}
            return _reply(status, {"error": words[status]})
        accepted = self._accept(body, usd)
        self._kernel.log(f"accepts {accepted.id} for {accepted.clip_path}: {usd} USD")
        if self._hits(weather.submit_unanswered):
            process.faults.add("submit unanswered")
            kind = self._dice.randrange(5)
            self._kernel.log(f"the response is lost ({kind})")
            if kind == 0:
                process.wait(20)
                raise httpx.ReadTimeout("timed out", request=request)
            if kind == 1:
                raise httpx.ReadError("reset", request=request)
            if kind == 2:
                return _text(504, PAGE)
            if kind == 3:
                return _reply(200, {"status": "QUEUED"})
            process.wait(70)  # the function ends while it waits
        return _reply(200, {"request_id": accepted.id, "status": "QUEUED"})

    def _accept(self, body: dict[str, Any], usd: float) -> Request:
        dice, now, weather = self._dice, self._kernel.now, self._weather()
        number = len(self.ledger) + 1
        queued = dice.choice((0, 0, 20, 120)) * dice.random()
        long = self._hits(0.01)
        render = dice.uniform(3300, 4500) if long else dice.uniform(40, 300)
        late = self._hits(weather.record_late)
        request = Request(
            id=f"00000000-0000-4000-8000-{number:012}",
            body=body,
            created=now,
            starts=now + queued,
            ends=now + queued + render,
            usd=usd,
            fails=self._hits(weather.render_failed),
            known_from=now + (dice.uniform(0, REPLICA_SECONDS) if late else 0),
            listed_from=now + dice.choice((0, 5, MAX_HISTORY_LAG_SECONDS)) * dice.random(),
            shape=dice.randrange(1, 6) if self._hits(weather.result_odd) else 0,
            metrics={} if self._hits(weather.cost_missing) else {"cost": usd},
        )
        if self._hits(weather.cost_missing):
            request.metrics = {"cost": dice.choice((0, -1, "free", None, 1e6))}
        self.ledger.append(request)
        self._by_id[request.id] = request
        self.account.credits_usd -= usd
        if request.fails:
            self._kernel.after(queued + render, lambda: self._refund(usd))
        self.accepted(request)
        return request

    def _refund(self, usd: float) -> None:
        self.account.credits_usd += usd

    def _lacks(self, request: Request, part: int) -> bool:
        """Tell whether a part of the result of a request is gone: its file (0) or its URL (1)."""
        return self.loses_results and int(request.id[-12:]) % 3 == part

    def _record(self, request_id: str, wants_status: bool) -> httpx.Response:
        now = self._kernel.now
        found = self._by_id.get(request_id)
        if (
            found is None
            or (now < found.known_from and self._hits(0.5))
            or now > found.created + RECORD_SECONDS
            or self._lacks(found, 1)
        ):
            return _reply(404, {"error": f"Request {request_id} not found"})
        state = found.state(now)
        body: dict[str, Any] = {"status": state, "request_id": request_id, "metrics": {}}
        if state == "FAILED":
            return _reply(self._dice.choice((422, 200)), body | self._failure(found))
        if state == "COMPLETED":
            body["metrics"] = {"total_time": found.ends - found.created, **found.metrics}
            if not wants_status:
                body |= _result(found)
        return _reply(200, body)

    def _failure(self, request: Request) -> dict[str, Any]:
        shapes = [
            {"error": "blocked"},
            {"detail": "blocked"},
            {"detail": [{"loc": ["prompt"], "msg": "blocked", "type": "value_error"}]},
        ]
        return shapes[request.shape % 3]

    def _history(self, url: str) -> httpx.Response:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        if not query:
            found = self._by_id.get(parts.path.rpartition("/")[2])
            if found is None:
                return _reply(404, {"error": "not found"})
            return _reply(200, {"data": self._row(found)})
        now = self._kernel.now
        if now < self.history_fails_until:
            return _text(503, PAGE)
        first, last = query["from_date"][0], query["to_date"][0]
        rows = [
            self._row(request)
            for request in reversed(self.ledger)
            if request.listed_from <= now and first <= day_of(request.created) <= last
        ]
        size, page = int(query["per_page"][0]), int(query["page"][0])
        rows = rows[size * (page - 1) : size * page]
        envelopes = [
            {"history": rows},
            {"data": {"items": rows}},
            rows,
            {"results": rows, "page": 1},
        ]
        return _reply(200, envelopes[self._envelope])

    def _row(self, request: Request) -> dict[str, Any]:
        body = dict(request.body)
        if self._bare_history:
            for name in ("video_url", "first_frame_url"):
                if name in body:
                    body[name] = body[name].partition("?")[0]
        state = request.state(self._kernel.now)
        row: dict[str, Any] = {
            "request_id": request.id,
            "model_name": "modify-video",
            "model_status": state if state in ("COMPLETED", "FAILED") else "PENDING",
            "request_body": json.dumps(body) if request.shape % 2 else body,
            "error": "blocked" if state == "FAILED" else None,
        }
        if state == "COMPLETED":
            row["credits_deduction"] = request.usd
            if not self._lacks(request, 1):
                row["generation_url"] = request.url
        return row

    def _file(self, request: httpx.Request) -> httpx.Response:
        process = self._kernel.current
        assert process
        if "x-api-key" in request.headers:
            self.problems.append("the key was sent to a result's host")
        found = self._by_id.get(request.url.path.strip("/").removesuffix(".mp4"))
        now = self._kernel.now
        if found is None or self._lacks(found, 0) or now < found.ends:
            return _text(404, "")
        content, etag = found.content, f'"{found.id}"'
        status, headers = 200, {"etag": etag}
        if given := request.headers.get("range"):
            first = int(given.removeprefix("bytes=").partition("-")[0])
            headers["content-range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[first:]
        whole = len(content)
        breaks = self._hits(self._weather().download_broken)
        if breaks:
            process.faults.add("download broken")
            kind = self._dice.randrange(3)
            if kind == 0:
                return _text(self._dice.choice((403, 404, 500, 503)), "")
            content = content[: self._dice.randrange(40, whole)] if whole > 40 else b""
        if not self._hits(0.2):
            headers["content-length"] = str(whole)
        return httpx.Response(status, headers=headers, stream=_Stream(content, breaks))


class _Stream(httpx.SyncByteStream):
    """The body of a result file, which may break off."""

    def __init__(self, content: bytes, breaks: bool) -> None:
        self._content, self._breaks = content, breaks

    def __iter__(self) -> Iterator[bytes]:
        middle = len(self._content) // 2
        yield self._content[:middle]
        yield self._content[middle:]
        if self._breaks:
            raise httpx.ReadError("reset")


class Transport(httpx.BaseTransport):
    """Brings the requests of an httpx client to the service."""

    def __init__(self, segmind: Segmind) -> None:
        self._segmind = segmind

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Respond to a request."""
        return self._segmind.handle(request)


def _reply(status: int, body: Any) -> httpx.Response:
    return _text(status, json.dumps(body))


def _text(status: int, text: str) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(text.encode()))


def _result(request: Request) -> dict[str, Any]:
    """Return the result in one of the shapes that were seen or documented."""
    url = request.url
    shapes: list[dict[str, Any]] = [
        {"output": url},
        {"output": [url]},
        {"video": {"url": url, "content_type": "video/mp4"}},
        {"output": {"videos": [{"url": url}]}},
        {"output": json.dumps({"video_url": url})},
        {"video_url": url},
    ]
    return shapes[request.shape]


def day_of(second: float) -> str:
    """Return the day of a second (UTC), in ISO 8601."""
    return datetime.fromtimestamp(second, UTC).date().isoformat()

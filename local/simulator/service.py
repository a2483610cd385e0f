"""The service itself: requests and their lives, the money, the endpoints, and the controls under /_simulator."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .answers import Reset, altered, failure, gone, page, refusal, replacement, shaped
from .render import RenderError, check, render
from .settings import Rule, Settings

MODEL = "modify-video"
LIMITED = ("submit", "status", "result", "history")  # the calls that count against the rate
REPLACED = ("answer", "empty", "reset", "redirect", "content")  # the faults that need no real answer


@dataclass
class Job:
    """An accepted request, its life and its outcome; times in Unix seconds."""

    body: dict[str, Any]
    overrides: dict[str, Any]  # the settings that rules gave to this request
    cost: float
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    file_name: str = field(default_factory=lambda: f"{uuid.uuid4()}.mp4")
    created: float = field(default_factory=time.time)
    started: float = 0.0
    ended: float = 0.0
    state: str = "QUEUED"
    error: str | None = None

    @property
    def video_url(self) -> str:
        """The request's video_url as text, empty when it has none."""
        return str(self.body.get("video_url") or "")

    @property
    def paid(self) -> bool:
        """Whether the request is billed: every accepted one is, unless it FAILED."""
        return self.state != "FAILED"

    @property
    def times(self) -> dict[str, float]:
        """The metrics of an ended request, in seconds."""
        waited, worked = self.started - self.created, self.ended - self.started
        spans = {"inference_time": worked, "queue_time": waited, "total_time": waited + worked}
        return {name: round(seconds, 3) for name, seconds in spans.items()}

    def row(self) -> dict[str, Any]:
        """Return the request as the ledger shows it."""
        return {
            "request_id": self.request_id,
            "time": self.created,
            "body": self.body,
            "state": self.state,
            "paid": self.paid,
            "cost": self.cost if self.paid else 0.0,
            "error": self.error,
        }


@dataclass
class Call:
    """A call to an endpoint: the request, its body, and the job it is about, as far as there are any."""

    request: Request
    endpoint: str
    body: Any = None
    job: Job | None = None

    @property
    def video_url(self) -> str:
        """The video_url that rules are matched with."""
        if self.job:
            return self.job.video_url
        return str(self.body.get("video_url") or "") if isinstance(self.body, dict) else ""

    @property
    def base(self) -> str:
        """The origin under which the client knows the simulator."""
        return str(self.request.base_url).rstrip("/")


Handler = Callable[[Call], Awaitable[Response]]


class Service:
    """All state of a run and the ASGI application that shows it; lives in one event loop.

    Parameters
    ----------
    settings: what the run starts with, and what a reset returns to.
    folder: an existing directory for the rendered files.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.initial, self.folder = settings, folder
        self.slots = asyncio.Semaphore(os.cpu_count() or 1)
        self.tasks: set[asyncio.Task[None]] = set()
        self.clear()
        get, history = self.endpoint, "/inference-request/request-history"
        self.app = Starlette(
            routes=[
                Route("/v2/requests/{id}/status", get("status", self.status)),
                Route("/v2/requests/{id}", get("result", self.result)),
                Route("/v1/requests/{id}", get("result", self.result)),
                Route("/v1/get-user-credits", get("credits", self.balance)),
                Route("/v2/{model}", get("submit", self.submit), methods=["POST"]),
                Route(history, get("history", self.history)),
                Route(history + "/{id}", get("history", self.history_row)),
                Route("/files/{name}", get("file", self.file)),
                Route("/_simulator/elsewhere/{path:path}", self.elsewhere, methods=["GET", "POST"]),
                Route("/_simulator/health", self.health),
                Route("/_simulator/ledger", self.show_ledger),
                Route("/_simulator/rules", self.add_rule, methods=["POST"]),
                Route("/_simulator/settings", self.change_settings, methods=["PUT"]),
                Route("/_simulator/reset", self.reset, methods=["POST"]),
            ],
            exception_handlers={HTTPException: self.no_endpoint, ValueError: self.not_understood},
        )

    def clear(self) -> None:
        """Forget everything but the settings of the start."""
        self.settings, self.credits = self.initial, self.initial.credits
        self.jobs: dict[str, Job] = {}
        self.rules: list[Rule] = []
        self.recent: deque[float] = deque()  # monotonic times of the calls within the last minute
        self.calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.misplaced_keys: list[dict[str, str]] = []

    async def stop(self) -> None:
        """End all rendering, with no ffmpeg left, and remove the files."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for path in self.folder.glob("*.mp4"):
            path.unlink(missing_ok=True)

    # ---- the way of a call: key, rate, rules, answer, fault ----

    def endpoint(self, name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler with everything around it that all endpoints share."""

        async def answer(request: Request) -> Response:
            call = await self.read(request, name)
            response = self.refused(call) or await self.answered(call, handler)
            self.calls[name]["reset" if isinstance(response, Reset) else str(response.status_code)] += 1
            return response

        return answer

    async def read(self, request: Request, endpoint: str) -> Call:
        """Return the call with what can be read of its body and the job it names."""
        call = Call(request, endpoint)
        if endpoint == "submit":
            with contextlib.suppress(ValueError):
                call.body = json.loads(await request.body())
        elif endpoint == "file":
            call.job = next((job for job in self.jobs.values() if job.file_name == request.path_params["name"]), None)
        else:
            call.job = self.jobs.get(request.path_params.get("id", ""))
        return call

    def refused(self, call: Call) -> Response | None:
        """Return the refusal of a call with a wrong key (or a key where none belongs) or above the rate."""
        key = call.request.headers.get("x-api-key")
        if call.endpoint == "file":
            if key is None:
                return None
            self.note_key(call.request)
            return page(400)
        if key is None or not secrets.compare_digest(key.encode(), self.settings.key.encode()):
            text = "No API key was sent" if key is None else "The API key is not valid"
            return JSONResponse({"error": "invalid_api_key", "error_description": text, "status_code": 401}, 401)
        return self.limited() if call.endpoint in LIMITED and self.settings.requests_per_minute else None

    def limited(self) -> Response | None:
        """Count a call against the sliding minute, or return its refusal; refused calls do not count."""
        now = time.monotonic()
        while self.recent and self.recent[0] <= now - 60:
            self.recent.popleft()
        if len(self.recent) >= self.settings.requests_per_minute:
            free = datetime.now(UTC) + timedelta(seconds=self.recent[0] + 60 - now)
            return refusal(429, "Rate limit exceeded", {"x-rate-limit-reset-at-utc": free.isoformat()})
        self.recent.append(now)
        return None

    def note_key(self, request: Request) -> None:
        """Remember that the key was sent where it does not belong."""
        self.misplaced_keys.append({"method": request.method, "path": request.url.path})

    async def answered(self, call: Call, handler: Handler) -> Response:
        """Return the answer of a call that is let in, with the fault of the first rule that has one for it."""
        fault: Rule | None = None
        overrides: dict[str, Any] = {}
        for rule in self.rules:
            if rule.applies(call.endpoint, call.video_url) and not (rule.fault and fault):
                rule.hits += 1
                fault = rule if rule.fault else fault
                overrides |= rule.settings
        call.request.state.overrides = overrides
        if fault is None:
            return await handler(call)
        if fault.fault in REPLACED:
            if fault.processed:
                await handler(call)
            return replacement(fault, self.elsewhere_url(call))
        response = await handler(call)
        if fault.fault == "delay":
            await gone(call.request.receive, fault.seconds)
        return altered(response, fault)

    def elsewhere_url(self, call: Call) -> str:
        """Return an URL with another host name that leads back here, where a key that follows is noted."""
        url = call.request.url
        host = "127.0.0.1" if url.hostname == "localhost" else "localhost"
        return f"{url.scheme}://{host}:{url.port}/_simulator/elsewhere{url.path}"

    # ---- endpoints of the API ----

    async def submit(self, call: Call) -> Response:
        """POST /v2/modify-video: accept a request; whether it is any good shows later."""
        if call.request.path_params["model"] != MODEL:
            return refusal(404, f"Model {call.request.path_params['model']} not found")
        if call.request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return refusal(406, "Content-Type must be application/json")
        if not isinstance(call.body, dict):
            return refusal(400, "The body must be a JSON object")
        if self.credits < self.settings.price:
            return refusal(self.settings.no_credits_status, "Insufficient credits: please add credits to your account")
        job = Job(call.body, call.request.state.overrides, self.settings.price)
        self.jobs[job.request_id] = job
        self.credits = round(self.credits - job.cost, 4)
        task = asyncio.create_task(self.work(job))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        urls = {"poll_url": f"{call.base}/v1/requests/{job.request_id}", **self.urls(call, job)}
        return JSONResponse({"request_id": job.request_id, "status": "QUEUED", **urls})

    async def status(self, call: Call) -> Response:
        """GET /v2/requests/{id}/status."""
        job = self.known(call)
        if isinstance(job, Response):
            return job
        settings = self.settings_of(job)
        body: dict[str, Any] = {"status": job.state, "request_id": job.request_id, "metrics": self.metrics(job)}
        if job.state == "FAILED":
            return JSONResponse(body | failure(settings.fail_as, job.error or ""), settings.failed_status)
        return JSONResponse(body if job.state == "COMPLETED" else body | self.urls(call, job))

    async def result(self, call: Call) -> Response:
        """GET /v2/requests/{id}, or /v1/requests/{id}: like status, with the file once there is one."""
        job = self.known(call)
        if isinstance(job, Response) or job.state != "COMPLETED":
            return await self.status(call)
        size = (self.folder / job.file_name).stat().st_size
        file = shaped(self.settings_of(job).shape, self.file_url(call, job), size)
        return JSONResponse({"status": job.state, "request_id": job.request_id, "metrics": self.metrics(job), **file})

    async def balance(self, call: Call) -> Response:
        """GET /v1/get-user-credits."""
        return JSONResponse({"credits": self.credits, "free-credits": 0})

    async def history(self, call: Call) -> Response:
        """GET /inference-request/request-history: a page of the requests in a window of at most 31 days."""
        query = call.request.query_params
        try:
            page_number, per_page = int(query.get("page", 1)), int(query.get("per_page", 20))
            last = date.fromisoformat(query.get("to_date") or datetime.now(UTC).date().isoformat())
            first = date.fromisoformat(query.get("from_date") or (last - timedelta(days=7)).isoformat())
        except ValueError as error:
            return refusal(400, str(error))
        order = query.get("sort_by", "model_created")
        if page_number < 1 or not 1 <= per_page <= 100 or not 0 <= (last - first).days <= 31:
            return refusal(400, "page from 1, per_page 1 to 100, and a window of at most 31 days expected")
        if order not in ("model_created", "model_name", "credits_deduction"):
            return refusal(400, "sort_by: model_created, model_name or credits_deduction expected")
        shown = [job for job in self.jobs.values() if self.in_history(job)]
        rows = [
            row
            for row in (self.history_of(call, job) for job in shown)
            if first.isoformat() <= row["model_created"][:10] <= last.isoformat()
            and query.get("model_name", "") in row["model_name"]
            and query.get("status", row["model_status"]) == row["model_status"]
        ]
        rows.sort(key=lambda row: row[order], reverse=query.get("sort_order", "desc") != "asc")
        start = (page_number - 1) * per_page
        paging = {"page": page_number, "per_page": per_page, "total": len(rows)}
        return JSONResponse({self.settings.history_list_key: rows[start : start + per_page], **paging})

    async def history_row(self, call: Call) -> Response:
        """GET /inference-request/request-history/{id}: one request of any age."""
        if call.job and self.in_history(call.job):
            return JSONResponse(self.history_of(call, call.job))
        return refusal(404, f"Request {call.request.path_params['id']} not found")

    async def file(self, call: Call) -> Response:
        """GET /files/{name}: the video, with ranges and without a key."""
        job = call.job
        if not job or job.state != "COMPLETED" or time.time() > job.created + self.settings.file_life_seconds:
            return page(404)
        path = self.folder / job.file_name
        return FileResponse(path, media_type="video/mp4", stat_result=path.stat())

    # ---- what the endpoints are made of ----

    def settings_of(self, job: Job) -> Settings:
        """Return the settings that hold for a request."""
        return self.settings.changed(job.overrides)

    def known(self, call: Call) -> Job | Response:
        """Return the request that a call names, or the answer that it is unknown or expired."""
        job = call.job
        if job and time.time() < job.created + self.settings_of(job).record_life_seconds:
            return job
        return refusal(404, f"Request {call.request.path_params['id']} not found")

    def in_history(self, job: Job) -> bool:
        """Tell whether the history shows a request already."""
        return time.time() >= job.created + self.settings_of(job).history_delay_seconds

    def urls(self, call: Call, job: Job) -> dict[str, str]:
        """Return where a request is asked for."""
        response_url = f"{call.base}/v2/requests/{job.request_id}"
        return {"status_url": f"{response_url}/status", "response_url": response_url}

    def file_url(self, call: Call, job: Job) -> str:
        """Return where the file of a request lies."""
        return f"{call.base}/files/{job.file_name}"

    def metrics(self, job: Job) -> dict[str, Any]:
        """Return the metrics of a request; the money is absent from a failed one's, and all from a running one's."""
        if not job.ended:
            return {}
        money = {"cost": job.cost, "remaining_credits": self.credits}
        return {**job.times, "retry_count": 0, **(money if job.paid else {})}

    def history_of(self, call: Call, job: Job) -> dict[str, Any]:
        """Return a request's row in the history."""
        return {
            "request_id": job.request_id,
            "model_name": MODEL,
            "model_status": job.state if job.ended else "PENDING",
            "credits_deduction": job.cost if job.ended and job.paid else 0.0,
            "request_body": job.body,
            "generation_url": self.file_url(call, job) if job.state == "COMPLETED" else None,
            "latency_ms": round((job.ended - job.created) * 1000) if job.ended else None,
            "model_created": datetime.fromtimestamp(job.created, UTC).isoformat(),
            "error": job.error,
        }

    async def work(self, job: Job) -> None:
        """Take a request from QUEUED to its end, not faster than its settings say; a failed one is not billed."""
        settings = self.settings_of(job)
        await asyncio.sleep(settings.queue_seconds)
        job.state, job.started = "PROCESSING", time.time()
        try:
            check(job.body)
            if not settings.fail:
                async with self.slots:
                    await render(job.body, self.folder / job.file_name)
            await asyncio.sleep(job.started + settings.render_seconds - time.time())
            if settings.fail:
                raise RenderError(settings.fail)
            job.state, job.ended = "COMPLETED", time.time()
        except RenderError as error:
            job.state, job.ended, job.error = "FAILED", time.time(), str(error)
            self.credits = round(self.credits + job.cost, 4)

    # ---- controls ----

    def ledger(self) -> dict[str, Any]:
        """Return what happened so far: every accepted request, the money, all calls by endpoint and status."""
        rows = [job.row() for job in self.jobs.values()]
        return {
            "requests": rows,
            "paid_requests": sum(row["paid"] for row in rows),
            "paid_total": round(sum(row["cost"] for row in rows), 4),
            "credits": self.credits,
            "calls": {name: dict(counts) for name, counts in self.calls.items()},
            "rate_limited": sum(counts["429"] for counts in self.calls.values()),
            "misplaced_keys": self.misplaced_keys,
            "rules": [rule.row() for rule in self.rules],
        }

    async def show_ledger(self, request: Request) -> Response:
        """GET /_simulator/ledger."""
        return JSONResponse(self.ledger())

    async def add_rule(self, request: Request) -> Response:
        """POST /_simulator/rules: one Rule as JSON, added after the others."""
        rule = Rule.parse(await request.json())
        self.rules.append(rule)
        return JSONResponse(rule.row(), 201)

    async def change_settings(self, request: Request) -> Response:
        """PUT /_simulator/settings: some Settings by name; `credits` sets the balance."""
        values = await request.json()
        self.settings = self.settings.changed(values)
        self.credits = float(values.get("credits", self.credits))
        return JSONResponse(asdict(self.settings))

    async def reset(self, request: Request) -> Response:
        """POST /_simulator/reset: back to the start."""
        await self.stop()
        self.clear()
        return JSONResponse({"ok": True})

    async def health(self, request: Request) -> Response:
        """GET /_simulator/health."""
        return JSONResponse({"ok": True})

    async def elsewhere(self, request: Request) -> Response:
        """Where redirects lead: another host as far as clients can tell; it has the files and no API."""
        if "x-api-key" in request.headers:
            self.note_key(request)
        path = str(request.path_params["path"])
        if not path.startswith("files/"):
            return page(404)
        request.path_params["name"] = path.removeprefix("files/")
        return await self.file(await self.read(request, "file"))

    async def no_endpoint(self, request: Request, error: Exception) -> Response:
        """Answer what no route takes: HTML for a wrong method, as gateways do, JSON for a wrong path."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        self.calls["other"][str(status)] += 1
        return page(status) if status == 405 else refusal(status, "Not found")

    async def not_understood(self, request: Request, error: Exception) -> Response:
        """Answer a control call whose JSON does not fit."""
        return refusal(400, str(error))

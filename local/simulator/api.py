"""The endpoints of Segmind's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from starlette.responses import FileResponse, JSONResponse, Response

from .gateway import Call
from .jobs import Job
from .responses import failure_fields, html_error, json_error, result_fields
from .state import State
from .worker import Worker

MODEL = "modify-video"
HISTORY_ORDERS = ("model_created", "model_name", "credits_deduction")
MAX_PER_PAGE = 100
DEFAULT_HISTORY_DAYS = 7
MAX_HISTORY_DAYS = 31


class Api:
    """Segmind's endpoints; each method is the handler of one."""

    def __init__(self, state: State, worker: Worker) -> None:
        self._state = state
        self._worker = worker

    async def submit(self, call: Call) -> Response:
        """POST /v2/modify-video: accept a request; bad input only shows later."""
        model = call.request.path_params["model"]
        if model != MODEL:
            return json_error(404, f"Model {model} not found")
        content_type = call.request.headers.get("content-type", "").split(";")[0]
        if content_type.strip().lower() != "application/json":
            return json_error(406, "Content-Type must be application/json")
        if not isinstance(call.body, dict):
            return json_error(400, "The body must be a JSON object")
        settings = self._state.settings
        if self._state.credits < settings.price:
            text = "Insufficient credits: please add credits to your account"
            return json_error(settings.no_credits_status, text)
        job = Job(call.body, call.overrides, settings.price)
        self._state.add_job(job)
        self._worker.start(job)
        return JSONResponse(
            {
                "request_id": job.request_id,
                "status": "QUEUED",
                "poll_url": f"{call.base_url}/v1/requests/{job.request_id}",
                **_request_urls(call, job),
            }
        )

    async def status(self, call: Call) -> Response:
        """GET /v2/requests/{id}/status."""
        job = self._find(call)
        if job is None:
            return _not_found(call)
        settings = self._state.settings_of(job)
        body = self._status_fields(job)
        if job.state == "FAILED":
            body |= failure_fields(settings.fail_as, job.error or "")
            return JSONResponse(body, settings.failed_status)
        if job.state != "COMPLETED":
            body |= _request_urls(call, job)
        return JSONResponse(body)

    async def result(self, call: Call) -> Response:
        """GET /v2/requests/{id} or /v1/requests/{id}: the status, with the file once it exists."""
        job = self._find(call)
        if job is None or job.state != "COMPLETED":
            return await self.status(call)
        shape = self._state.settings_of(job).shape
        size = self._worker.file_of(job).stat().st_size
        file = result_fields(shape, _file_url(call, job), size)
        return JSONResponse(self._status_fields(job) | file)

    async def balance(self, call: Call) -> Response:
        """GET /v1/get-user-credits."""
        return JSONResponse({"credits": self._state.credits, "free-credits": 0})

    async def history(self, call: Call) -> Response:
        """GET /inference-request/request-history: one page of the requests in a window of days."""
        try:
            query = HistoryQuery.parse(call.request.query_params)
        except ValueError as error:
            return json_error(400, str(error))
        listed = [job for job in self._state.jobs.values() if self._state.is_in_history(job)]
        rows = query.select([_history_row(call, job) for job in listed])
        body = {
            self._state.settings.history_list_key: query.page_of(rows),
            "page": query.page,
            "per_page": query.per_page,
            "total": len(rows),
        }
        return JSONResponse(body)

    async def history_entry(self, call: Call) -> Response:
        """GET /inference-request/request-history/{id}: one request of any age."""
        if call.job and self._state.is_in_history(call.job):
            return JSONResponse(_history_row(call, call.job))
        return _not_found(call)

    async def file(self, call: Call) -> Response:
        """GET /files/{name}: the video, with ranges and without a key."""
        if call.job is None or not self._state.has_file(call.job):
            return html_error(404)
        path = self._worker.file_of(call.job)
        return FileResponse(path, media_type="video/mp4", stat_result=path.stat())

    def _find(self, call: Call) -> Job | None:
        """Return the job that a call names, unless it is unknown or expired."""
        return call.job if call.job and self._state.has_record(call.job) else None

    def _status_fields(self, job: Job) -> dict[str, Any]:
        return {
            "status": job.state,
            "request_id": job.request_id,
            "metrics": job.metrics(self._state.credits, self._state.settings_of(job).reports),
        }


@dataclass(frozen=True)
class HistoryQuery:
    """What a call asks the history for.

    Attributes:
        page: from 1.
        per_page: rows on a page.
        first: the first day of the window.
        last: its last day.
        order: the column by which rows are sorted.
        is_ascending: whether they ascend.
        model: part of the model's name; empty for all.
        status: the status; `None` for all.
    """

    page: int
    per_page: int
    first: date
    last: date
    order: str
    is_ascending: bool
    model: str
    status: str | None

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> HistoryQuery:
        """Read the parameters of a call.

        Raises:
            ValueError: a parameter is not valid.
        """
        today = datetime.now(UTC).date().isoformat()
        page, per_page = int(parameters.get("page", 1)), int(parameters.get("per_page", 20))
        last = date.fromisoformat(parameters.get("to_date") or today)
        week_before = (last - timedelta(days=DEFAULT_HISTORY_DAYS)).isoformat()
        first = date.fromisoformat(parameters.get("from_date") or week_before)
        order = parameters.get("sort_by", "model_created")
        is_page_valid = page >= 1 and 1 <= per_page <= MAX_PER_PAGE
        if not is_page_valid or not 0 <= (last - first).days <= MAX_HISTORY_DAYS:
            raise ValueError(
                "page from 1, per_page 1 to 100, and a window of at most 31 days expected"
            )
        if order not in HISTORY_ORDERS:
            raise ValueError("sort_by: model_created, model_name or credits_deduction expected")
        return cls(
            page=page,
            per_page=per_page,
            first=first,
            last=last,
            order=order,
            is_ascending=parameters.get("sort_order", "desc") == "asc",
            model=parameters.get("model_name", ""),
            status=parameters.get("status"),
        )

    def select(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows that match, in order."""
        matching = [row for row in rows if self._matches(row)]
        return sorted(matching, key=lambda row: row[self.order], reverse=not self.is_ascending)

    def page_of(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows on the page that was asked for."""
        start = (self.page - 1) * self.per_page
        return rows[start : start + self.per_page]

    def _matches(self, row: dict[str, Any]) -> bool:
        day = row["model_created"][:10]
        return (
            self.first.isoformat() <= day <= self.last.isoformat()
            and self.model in row["model_name"]
            and self.status in (None, row["model_status"])
        )


def _history_row(call: Call, job: Job) -> dict[str, Any]:
    """Return a request as the history lists it."""
    created = datetime.fromtimestamp(job.created, UTC).isoformat()
    return {
        "request_id": job.request_id,
        "model_name": MODEL,
        "model_status": job.state if job.ended else "PENDING",
        "credits_deduction": job.price if job.ended and job.is_paid else 0.0,
        "request_body": job.body,
        "generation_url": _file_url(call, job) if job.state == "COMPLETED" else None,
        "latency_ms": round((job.ended - job.created) * 1000) if job.ended else None,
        "model_created": created,
        "error": job.error,
    }


def _request_urls(call: Call, job: Job) -> dict[str, str]:
    """Return the URLs at which a request can be asked for."""
    response_url = f"{call.base_url}/v2/requests/{job.request_id}"
    return {"status_url": f"{response_url}/status", "response_url": response_url}


def _file_url(call: Call, job: Job) -> str:
    return f"{call.base_url}/files/{job.file_name}"


def _not_found(call: Call) -> Response:
    return json_error(404, f"Request {call.request.path_params['id']} not found")

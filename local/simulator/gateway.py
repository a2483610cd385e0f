"""What happens to every call: the key and the rate are checked, and rules are applied."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .faults import Reset, altered, replacement, wait_for_disconnect
from .jobs import Job
from .responses import html_error, json_error
from .rules import REPLACING_FAULTS, Rule
from .state import State

RATE_LIMITED = ("submit", "status", "result", "history")


@dataclass
class Call:
    """A call to an endpoint.

    Attributes:
        request: the HTTP request.
        endpoint: one of ENDPOINTS.
        body: the JSON body of a submit, if it can be read.
        job: the accepted request that the call names, if there is one.
        overrides: settings that rules give to the request of a submit.
    """

    request: Request
    endpoint: str
    body: Any = None
    job: Job | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Return the inputs of the request that rules match."""
        if self.job:
            return self.job.body
        return self.body if isinstance(self.body, dict) else {}

    @property
    def base_url(self) -> str:
        """Return the origin by which the client knows the simulator."""
        return str(self.request.base_url).rstrip("/")


Handler = Callable[[Call], Awaitable[Response]]


class Gateway:
    """Stands between the client and the endpoints."""

    def __init__(self, state: State) -> None:
        self._state = state

    def endpoint(self, name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return the ASGI endpoint around a handler."""

        async def endpoint(request: Request) -> Response:
            call = await self.read(request, name)
            response = self._rejection(call) or await self._respond(call, handler)
            outcome = "reset" if isinstance(response, Reset) else str(response.status_code)
            self._state.count_response(name, outcome)
            return response

        return endpoint

    async def read(self, request: Request, endpoint: str) -> Call:
        """Return a call with its body and the job that it names, as far as they exist."""
        call = Call(request, endpoint)
        if endpoint == "submit":
            with contextlib.suppress(ValueError):
                call.body = json.loads(await request.body())
        elif endpoint == "file":
            call.job = self._state.job_of_file(request.path_params["name"])
        else:
            call.job = self._state.jobs.get(request.path_params.get("id", ""))
        return call

    def _rejection(self, call: Call) -> Response | None:
        """Return the error for a call with a wrong key or above the rate."""
        if call.endpoint == "file":
            return self._file_rejection(call.request)
        key = call.request.headers.get("x-api-key")
        accepted = self._state.settings.key
        if key is None or not secrets.compare_digest(key.encode(), accepted.encode()):
            text = "No API key was sent" if key is None else "The API key is not valid"
            body = {"error": "invalid_api_key", "error_description": text, "status_code": 401}
            return JSONResponse(body, 401)
        if call.endpoint in RATE_LIMITED and self._state.settings.requests_per_minute:
            return self._rate_rejection()
        return None

    def _file_rejection(self, request: Request) -> Response | None:
        """Return the error for a download with the API key, which does not belong there."""
        if "x-api-key" not in request.headers:
            return None
        self._state.record_misplaced_key(request.method, request.url.path)
        return html_error(400)

    def _rate_rejection(self) -> Response | None:
        """Return the error for a call above the rate; it does not count against the rate."""
        try_again_at = self._state.acquire_call()
        if try_again_at is None:
            return None
        headers = {"x-rate-limit-reset-at-utc": try_again_at.isoformat()}
        return json_error(429, "Rate limit exceeded", headers)

    async def _respond(self, call: Call, handler: Handler) -> Response:
        """Return the response to an admitted call, with the fault that a rule has for it."""
        rule = self._apply_rules(call)
        if rule is None:
            return await handler(call)
        if rule.fault in REPLACING_FAULTS:
            if rule.processed:
                await handler(call)
            return replacement(rule, _elsewhere(call.request))
        response = await handler(call)
        if rule.fault == "delay":
            await wait_for_disconnect(call.request.receive, rule.seconds)
        return altered(response, rule)

    def _apply_rules(self, call: Call) -> Rule | None:
        """Collect the overrides for a call; return the first rule that has a fault for it."""
        faulty: Rule | None = None
        for rule in self._state.rules:
            is_superseded = rule.fault and faulty
            if rule.applies(call.endpoint, call.inputs) and not is_superseded:
                rule.hits += 1
                faulty = rule if rule.fault else faulty
                call.overrides |= rule.settings
        return faulty

    async def no_route(self, request: Request, error: Exception) -> Response:
        """Respond to a wrong method with HTML, as gateways do, and to a wrong path with JSON."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        self._state.count_response("other", str(status))
        return html_error(status) if status == 405 else json_error(status, "Not found")


def _elsewhere(request: Request) -> str:
    """Return a URL with another host name that leads back here, where a key is noticed."""
    url = request.url
    host = "127.0.0.1" if url.hostname == "localhost" else "localhost"
    return f"{url.scheme}://{host}:{url.port}/_simulator/elsewhere{url.path}"

"""The control API under /_simulator."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .api import Api
from .gateway import Gateway
from .responses import html_error, json_error
from .rules import Rule
from .state import State
from .worker import Worker


class Controls:
    """The endpoints of the control API; each method is one."""

    def __init__(self, state: State, worker: Worker, gateway: Gateway, api: Api) -> None:
        self._state = state
        self._worker = worker
        self._gateway = gateway
        self._api = api

    async def health(self, request: Request) -> Response:
        """GET /_simulator/health."""
        return JSONResponse({"ok": True})

    async def ledger(self, request: Request) -> Response:
        """GET /_simulator/ledger: what has happened so far."""
        return JSONResponse(self._state.ledger())

    async def add_rule(self, request: Request) -> Response:
        """POST /_simulator/rules: add one Rule, given as JSON, after the others."""
        rule = Rule.parse(await request.json())
        self._state.rules.append(rule)
        return JSONResponse(rule.as_json(), 201)

    async def change_settings(self, request: Request) -> Response:
        """PUT /_simulator/settings: replace some Settings; `credits` sets the balance."""
        self._state.change_settings(await request.json())
        return JSONResponse(asdict(self._state.settings))

    async def reset(self, request: Request) -> Response:
        """POST /_simulator/reset: return to the initial state."""
        await self._worker.stop()
        self._state.reset()
        return JSONResponse({"ok": True})

    async def elsewhere(self, request: Request) -> Response:
        """Stand for the other host that redirects lead to: it has the files, but no API."""
        if "x-api-key" in request.headers:
            self._state.record_misplaced_key(request.method, request.url.path)
        path = str(request.path_params["path"])
        if not path.startswith("files/"):
            return html_error(404)
        request.path_params["name"] = path.removeprefix("files/")
        return await self._api.file(await self._gateway.read(request, "file"))

    async def invalid(self, request: Request, error: Exception) -> Response:
        """Respond to a call of the control API whose JSON is not valid."""
        return json_error(400, str(error))

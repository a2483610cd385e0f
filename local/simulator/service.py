"""The simulator as an ASGI application."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from .api import Api
from .controls import Controls
from .gateway import Gateway
from .settings import Settings
from .state import State
from .worker import Worker


class Service:
    """All parts of a simulator, wired together; it lives in one event loop.

    Parameters:
        settings: the initial settings, to which a reset returns.
        folder: an existing folder for the rendered files.

    Attributes:
        app: the ASGI application.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        state = State(settings)
        gateway = Gateway(state)
        self._worker = Worker(state, folder)
        api = Api(state, self._worker)
        controls = Controls(state, self._worker, gateway, api)
        self.app = Starlette(
            routes=_api_routes(gateway, api) + _control_routes(controls),
            exception_handlers={HTTPException: gateway.no_route, ValueError: controls.invalid},
        )

    async def stop(self) -> None:
        """Stop all rendering and remove the files."""
        await self._worker.stop()


def _api_routes(gateway: Gateway, api: Api) -> list[Route]:
    endpoint, history = gateway.endpoint, "/inference-request/request-history"
    result = endpoint("result", api.result)
    return [
        Route("/v2/requests/{id}/status", endpoint("status", api.status)),
        Route("/v2/requests/{id}", result),
        Route("/v1/requests/{id}", result),
        Route("/v1/get-user-credits", endpoint("credits", api.balance)),
        Route("/v2/{model}", endpoint("submit", api.submit), methods=["POST"]),
        Route(history, endpoint("history", api.history)),
        Route(history + "/{id}", endpoint("history", api.history_entry)),
        Route("/files/{name}", endpoint("file", api.file)),
    ]


def _control_routes(controls: Controls) -> list[Route]:
    base = "/_simulator"
    return [
        Route(f"{base}/elsewhere/{{path:path}}", controls.elsewhere, methods=["GET", "POST"]),
        Route(f"{base}/health", controls.health),
        Route(f"{base}/ledger", controls.ledger),
        Route(f"{base}/rules", controls.add_rule, methods=["POST"]),
        Route(f"{base}/settings", controls.change_settings, methods=["PUT"]),
        Route(f"{base}/reset", controls.reset, methods=["POST"]),
    ]

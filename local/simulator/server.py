"""Serve the simulator on a port of this machine, in a thread or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .service import Service
from .settings import Settings

CONTROL_TIMEOUT_SECONDS = 30


class Protocol(H11Protocol):
    """HTTP/1.1 that lets the application reach its connection, so that it can really break it."""

    def connection_made(  # type: ignore[override]  # the base class differs in the same way
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Server(uvicorn.Server):
    """A uvicorn that reports when it listens, ignores signals, and drops its clients at the end."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Simulator:
    """A Segmind simulator on 127.0.0.1.

    Parameters:
        settings: the initial settings.
        port: 0 for a free one.
        work_dir: where its folder of files is created, and removed at the end; by default where
            temporary folders are.

    Attributes:
        url: its base URL, once it serves.
    """

    def __init__(
        self, settings: Settings | None = None, port: int = 0, work_dir: Path | None = None
    ) -> None:
        self.url = ""
        self._settings = settings or Settings()
        self._port = port
        self._work_dir = work_dir
        self._server: Server | None = None

    @property
    def history_url(self) -> str:
        """Return the base URL of the history, as SEGMIND_HISTORY_URL takes it."""
        return f"{self.url}/inference-request"

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Serve until `stop` is called; no files and processes are left afterwards.

        Parameters:
            on_ready: called once connections are accepted.
        """
        address = ("127.0.0.1", self._port)
        with (
            self._temporary_folder() as folder,
            socket.create_server(address, backlog=2048) as listener,
        ):
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            service = Service(self._settings, folder)
            config = uvicorn.Config(
                service.app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_level="error",
                timeout_graceful_shutdown=1,
                timeout_keep_alive=30,
            )
            self._server = Server(config, on_ready)
            try:
                await self._server.serve(sockets=[listener])
            finally:
                await service.stop()

    def stop(self) -> None:
        """Make `serve` return; may be called from any thread, and from a signal handler."""
        if self._server:
            self._server.should_exit = True

    @contextlib.contextmanager
    def running(self) -> Iterator[Simulator]:
        """Serve in a thread for as long as the context lasts."""
        is_ready = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="segmind-simulator") as pool:
            served = pool.submit(asyncio.run, self.serve(is_ready.set))
            served.add_done_callback(lambda _: is_ready.set())
            try:
                is_ready.wait()
                if not served.done():
                    yield self
            finally:
                self.stop()
                served.result()

    def ledger(self) -> dict[str, Any]:
        """Return what has happened so far: requests, money, calls and rules."""
        return self._control("GET", "ledger")

    def add_rule(self, endpoint: str, **fields: Any) -> dict[str, Any]:
        """Add a Rule, given by its fields, after the others."""
        return self._control("POST", "rules", {"endpoint": endpoint, **fields})

    def change(self, **settings: Any) -> dict[str, Any]:
        """Replace some Settings; `credits` sets the balance."""
        return self._control("PUT", "settings", settings)

    def reset(self) -> None:
        """Return to the initial state: no requests, no rules, the initial settings."""
        self._control("POST", "reset")

    def _control(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call the control API; raise ValueError with its error."""
        address = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=CONTROL_TIMEOUT_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, f"/_simulator/{path}", json.dumps(body))
            response = connection.getresponse()
            content: dict[str, Any] = json.load(response)
        if response.status >= 400:
            raise ValueError(content["error"])
        return content

    @contextlib.contextmanager
    def _temporary_folder(self) -> Iterator[Path]:
        if self._work_dir:
            self._work_dir.mkdir(parents=True, exist_ok=True)
        prefix = "segmind-simulator-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self._work_dir) as folder:
            yield Path(folder)

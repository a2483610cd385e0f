"""Serving: the simulator on a port of this machine, in a thread of the caller or as a process of its own."""

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


class Protocol(H11Protocol):
    """HTTP/1.1 that lets the application reach its connection, so that it can break it honestly."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Server(uvicorn.Server):
    """uvicorn that tells when it listens, leaves signals to others, and does not wait for its clients at the end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Simulator:
    """A Segmind of one's own on 127.0.0.1.

    Parameters
    ----------
    settings: what the run starts with.
    port: 0 for a free one.
    work_dir: where its directory of files is made (and removed at the end); by default where temporary ones are.
    """

    def __init__(self, settings: Settings | None = None, port: int = 0, work_dir: Path | None = None) -> None:
        self.settings = settings or Settings()
        self.port, self.work_dir = port, work_dir
        self.url = ""
        self._server: Server | None = None

    @property
    def history_url(self) -> str:
        """The base of the history API, as SEGMIND_HISTORY_URL wants it."""
        return f"{self.url}/inference-request"

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until `stop`; `ready` is called when calls are taken. All files and processes are gone afterwards."""
        with self._folder() as folder, socket.create_server(("127.0.0.1", self.port), backlog=2048) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            service = Service(self.settings, folder)
            config = uvicorn.Config(
                service.app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_level="error",
                timeout_graceful_shutdown=1,
                timeout_keep_alive=30,
            )
            self._server = Server(config, ready)
            try:
                await self._server.serve(sockets=[listener])
            finally:
                await service.stop()

    def stop(self) -> None:
        """Ask a serving simulator to end; from any thread, or from a signal's handler."""
        if self._server:
            self._server.should_exit = True

    @contextlib.contextmanager
    def running(self) -> Iterator[Simulator]:
        """Serve in a thread for as long as the context lasts."""
        ready = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="segmind-simulator") as pool:
            served = pool.submit(asyncio.run, self.serve(ready.set))
            served.add_done_callback(lambda _: ready.set())
            try:
                ready.wait()
                if not served.done():
                    yield self
            finally:
                self.stop()
                served.result()

    def ledger(self) -> dict[str, Any]:
        """Return what happened so far (see the control API)."""
        return self._control("GET", "ledger")

    def add_rule(self, endpoint: str, **fields: Any) -> dict[str, Any]:
        """Add a Rule, given by its fields, after the others."""
        return self._control("POST", "rules", {"endpoint": endpoint, **fields})

    def change(self, **settings: Any) -> dict[str, Any]:
        """Change some Settings of the run; `credits` sets the balance."""
        return self._control("PUT", "settings", settings)

    def reset(self) -> None:
        """Go back to the start: no requests, no rules, the first settings."""
        self._control("POST", "reset")

    def _control(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with contextlib.closing(http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)) as connection:
            connection.request(method, f"/_simulator/{path}", json.dumps(body))
            answer = connection.getresponse()
            found: dict[str, Any] = json.load(answer)
        if answer.status >= 400:
            raise ValueError(found["error"])
        return found

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        if self.work_dir:
            self.work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="segmind-simulator-", dir=self.work_dir) as folder:
            yield Path(folder)

"""A simulator for the whole session, real clips, and the store that they are fetched from."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.simulator import Settings, Simulator
from tests import media
from tests.simulator.clip_store import KEY, Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, asked = self.path.split("?")[0], self.headers.get("range")
            store.ranges.append((path, asked))
            file = store.folder / Path(path).name
            body = file.read_bytes() if file.exists() else b""
            first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
            part = body[int(first) : int(last) + 1 if last else None]
            self.send_response(206 if asked and file.exists() else 200 if file.exists() else 404)
            self.send_header("content-length", str(len(part)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a simulator that is stopped does not read on
                self.wfile.write(part)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    media.ffmpeg(store.folder / "clip.mp4", *("-f", "lavfi", "-i", "testsrc=size=96x64:rate=10:duration=1"))
    sound = ("-f", "lavfi", "-i", "sine=duration=1", "-shortest")
    media.ffmpeg(store.folder / "sound.mp4", *("-f", "lavfi", "-i", "testsrc=size=96x64:rate=10:duration=1"), *sound)
    media.ffmpeg(store.folder / "long.mp4", *("-f", "lavfi", "-i", "color=size=16x16:rate=1:duration=31"))
    media.ffmpeg(store.folder / "frame.png", *("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1"))
    (store.folder / "text.mp4").write_text("this is no video, whatever its name says")
    (store.folder / "broken.mp4").write_bytes((store.folder / "clip.mp4").read_bytes()[:40])
    yield store
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def session_simulator() -> Iterator[Simulator]:
    with Simulator(Settings(key=KEY)).running() as simulator:
        yield simulator


@pytest.fixture
def sim(session_simulator: Simulator) -> Iterator[Simulator]:
    yield session_simulator
    session_simulator.reset()


@pytest.fixture
def api(sim: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sim.url, headers={"x-api-key": KEY}, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture(scope="session")
def web() -> Iterator[httpx.Client]:
    """A client without the key, as result files want it."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def submit(api: httpx.Client, store: Store) -> Callable[..., str]:
    """Submit a clip of the store and return the request's id."""

    def submit(name: str = "clip.mp4", **fields: Any) -> str:
        answer = api.post("/v2/modify-video", json={"video_url": f"{store.url}/{name}?signature=1", **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    return submit


@pytest.fixture
def ended(api: httpx.Client) -> Callable[[str], httpx.Response]:
    """Wait until a request has ended and return the status answer that says so."""

    def ended(request_id: str) -> httpx.Response:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            answer = api.get(f"/v2/requests/{request_id}/status")
            if answer.json().get("status") in ("COMPLETED", "FAILED"):
                return answer
            time.sleep(0.03)
        raise AssertionError("the request did not end")

    return ended

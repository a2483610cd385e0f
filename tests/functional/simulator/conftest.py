"""A simulator for the whole session, real clips, and the store that serves them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from local.simulator import Settings, Simulator
from tests.support import clip_store, media
from tests.support.clip_store import KEY, ClipStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClipStore]:
    """A store with valid and invalid clips, and an image."""
    folder = tmp_path_factory.mktemp("store")
    clip = media.clip(folder / "clip.mp4", size="96x64")
    sound = ("-f", "lavfi", "-i", "sine=duration=1", "-shortest")
    media.clip(folder / "sound.mp4", *sound, size="96x64")
    source = "color=size=16x16:rate=1:duration=31"
    media.ffmpeg(folder / "long.mp4", "-f", "lavfi", "-i", source)
    media.image(folder / "frame.png")
    (folder / "text.mp4").write_text("not a video, despite its name")
    (folder / "broken.mp4").write_bytes(clip.read_bytes()[:40])
    with clip_store.serving(folder) as store:
        yield store


@pytest.fixture(scope="session")
def session_simulator() -> Iterator[Simulator]:
    """A simulator for the whole session; tests use `simulator`."""
    with Simulator(Settings(key=KEY)).running() as simulator:
        yield simulator


@pytest.fixture
def simulator(session_simulator: Simulator) -> Iterator[Simulator]:
    """A simulator in its initial state."""
    yield session_simulator
    session_simulator.reset()


@pytest.fixture
def api(simulator: Simulator) -> Iterator[httpx.Client]:
    """A client of the simulator that sends the API key."""
    headers = {"x-api-key": KEY}
    with httpx.Client(
        base_url=simulator.url, headers=headers, trust_env=False, timeout=10
    ) as client:
        yield client


@pytest.fixture(scope="session")
def web() -> Iterator[httpx.Client]:
    """A client that sends no API key, as downloads of results require."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def submit(api: httpx.Client, store: ClipStore) -> Callable[..., str]:
    """Submit a clip of the store and return the request ID."""

    def submit(name: str = "clip.mp4", **fields: Any) -> str:
        body = {"video_url": f"{store.url}/{name}?signature=1", **fields}
        response = api.post("/v2/modify-video", json=body)
        assert response.status_code == 200, response.text
        return str(response.json()["request_id"])

    return submit


@pytest.fixture
def wait_for_end(api: httpx.Client) -> Callable[[str], httpx.Response]:
    """Wait until a request has ended and return the status response that reports it."""

    def wait_for_end(request_id: str) -> httpx.Response:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            response = api.get(f"/v2/requests/{request_id}/status")
            if response.json().get("status") in ("COMPLETED", "FAILED"):
                return response
            time.sleep(0.03)
        raise AssertionError("the request did not end")

    return wait_for_end

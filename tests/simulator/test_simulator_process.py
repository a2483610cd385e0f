"""The simulator as a process: one line when ready, and nothing left when stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from local.simulator import Simulator
from tests import media
from tests.simulator.clip_store import Store

ROOT = Path(__file__).parents[2]


def ffmpegs(work: Path) -> list[str]:
    """Return the command lines of running ffmpeg processes that write below a directory."""
    found = (path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline") if alive(path))
    return [line for line in found if "ffmpeg" in line and str(work) in line]


def alive(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_process_tells_its_url_and_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    media.ffmpeg(
        store.folder / "heavy.mp4",
        *("-f", "lavfi", "-i", "testsrc=size=960x540:rate=30:duration=10", "-preset", "ultrafast"),
    )
    work, ready = tmp_path / "work", tmp_path / "ready.json"
    command = [sys.executable, "-m", "local.simulator", "--key", "SG_cli", "--requests-per-minute", "50"]
    command += ["--ready-file", str(ready), "--work-dir", str(work)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            told = json.loads(process.stdout.readline())
            assert json.loads(ready.read_text()) == told
            assert told["url"].startswith("http://127.0.0.1:")
            with httpx.Client(base_url=told["url"], headers={"x-api-key": "SG_cli"}, trust_env=False) as api:
                assert api.get("/_simulator/health").json() == {"ok": True}
                made = api.post("/v2/modify-video", json={"video_url": f"{store.url}/heavy.mp4"}).json()
                deadline = time.monotonic() + 10
                while not any("libx264" in line for line in ffmpegs(work)) and time.monotonic() < deadline:
                    time.sleep(0.02)
                assert ffmpegs(work), api.get(f"/v2/requests/{made['request_id']}").text
            process.send_signal(signal.SIGTERM)
            rest, complaints = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, rest, complaints) == (0, "", "")
    assert ffmpegs(work) == []
    assert list(work.iterdir()) == []
    assert not ready.exists()


def test_a_wrong_flag_is_explained() -> None:
    command = [sys.executable, "-m", "local.simulator", "--shape", "cube"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "'cube' is not one of output, video" in done.stderr


def test_a_taken_port_is_an_error_of_the_caller() -> None:
    with Simulator().running() as first:
        port = httpx.URL(first.url).port
        assert port
        with pytest.raises(OSError, match="in use"), Simulator(port=port).running():
            pass

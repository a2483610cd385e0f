"""The simulator as a process: it prints one line when it is ready, and cleans up when stopped."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from local.simulator import Simulator
from tests.support import media
from tests.support.clip_store import ClipStore

ROOT = Path(__file__).parents[3]


def running_ffmpegs(folder: Path) -> list[str]:
    """Return the command lines of the ffmpeg processes that write to a folder."""
    lines = [command_line(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [line for line in lines if "ffmpeg" in line and str(folder) in line]


def command_line(path: Path) -> str:
    """Return the command line of a process; empty if the process has ended."""
    try:
        return path.read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_process_prints_its_url_and_leaves_nothing_behind(
    store: ClipStore, tmp_path: Path
) -> None:
    source = "testsrc=size=960x540:rate=30:duration=10"
    heavy = store.folder / "heavy.mp4"
    media.ffmpeg(heavy, "-f", "lavfi", "-i", source, "-preset", "ultrafast")
    work, ready = tmp_path / "work", tmp_path / "ready.json"
    command = [sys.executable, "-m", "local.simulator"]
    command += ["--key", "SG_cli", "--requests-per-minute", "50"]
    command += ["--ready-file", str(ready), "--work-dir", str(work)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            printed = json.loads(process.stdout.readline())
            assert json.loads(ready.read_text()) == printed
            assert printed["url"].startswith("http://127.0.0.1:")
            headers = {"x-api-key": "SG_cli"}
            with httpx.Client(base_url=printed["url"], headers=headers, trust_env=False) as api:
                assert api.get("/_simulator/health").json() == {"ok": True}
                body = {"video_url": f"{store.url}/{heavy.name}"}
                request_id = api.post("/v2/modify-video", json=body).json()["request_id"]
                deadline = time.monotonic() + 10
                while time.monotonic() < deadline:
                    if any("libx264" in line for line in running_ffmpegs(work)):
                        break
                    time.sleep(0.02)
                assert running_ffmpegs(work), api.get(f"/v2/requests/{request_id}").text
            process.send_signal(signal.SIGTERM)
            remaining_output, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, remaining_output, errors) == (0, "", "")
    assert running_ffmpegs(work) == []
    assert list(work.iterdir()) == []
    assert not ready.exists()


def test_an_invalid_option_is_explained() -> None:
    command = [sys.executable, "-m", "local.simulator", "--shape", "cube"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "'cube' is not one of output, video" in result.stderr


def test_a_port_in_use_raises_an_error_for_the_caller() -> None:
    with Simulator().running() as first:
        port = httpx.URL(first.url).port
        assert port
        with pytest.raises(OSError, match="in use"), Simulator(port=port).running():
            pass

"""Start background processes, wait until they are ready, and stop them with their children."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from .config import ROOT

START_SECONDS = 30
STOP_SECONDS = 10  # after that, processes are killed
CHECK_SECONDS = 0.05  # between two checks


def spawn(command: list[str], environment: Mapping[str, str], log: Path) -> int:
    """Start a process in a session of its own and return its process ID."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return process.pid


def wait_until_ready(is_ready: Callable[[], bool], pid: int, log: Path) -> None:
    """Wait until a process is ready; refused connections mean that it is not.

    Raises:
        RuntimeError: the process ended, or was not ready in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and is_alive(pid):
        try:
            if is_ready():
                return
        except httpx.HTTPError:
            pass
        time.sleep(CHECK_SECONDS)
    end_of_log = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the process did not start; the end of its log:\n{end_of_log}")


def stop(pids: list[int]) -> None:
    """Stop processes that `spawn` started, and their children, and wait until they have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and any(is_alive(pid) for pid in pids):
        time.sleep(CHECK_SECONDS)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Tell whether a session leader, or any process of its session, still runs."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    processes = list(Path("/proc").glob("[0-9]*/stat"))
    if not processes:  # not Linux
        return _is_group_alive(pid)
    return any(_is_running_in(process, pid) for process in processes)


def _is_group_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(pid, 0)
        return True
    return False


def _is_running_in(process: Path, session_leader: int) -> bool:
    """Tell from a process's /proc entry whether it runs in a session."""
    try:
        # The command's name comes first, in parentheses, and may contain anything.
        fields = process.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return False
    state, _, _, session = fields[:4]
    return session == str(session_leader) and state not in "ZX"


def clean_environment(home: Path) -> dict[str, str]:
    """Return an almost empty environment; MiniStack passes its own on to every function."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

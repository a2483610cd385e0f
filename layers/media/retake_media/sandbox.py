"""Runs work on untrusted media in a process of its own, with bounded time, memory and output."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from retake.domain.refusal import Refusal

TIMEOUT_SECONDS = 780  # functions that work on media have 900
MAX_MEMORY_BYTES = 2_700_000_000  # of addresses; the functions have 3,008 MB
MAX_FILE_BYTES = 4_200_000_000  # of one file that is written
_CURE = "export the clip as an ordinary MP4 (H.264), shorter or smaller, and drop it again"
# Signals with which the work ends itself: it crashed, or a limit was reached.
_OWN_SIGNALS = {
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGXCPU,
    signal.SIGXFSZ,
}


class StoppedError(Exception):
    """The process was stopped from outside, so the work can be tried again."""


def run(operation: str, arguments: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    """Run one of the operations in `operations`.

    The process gets no credentials, and opens no connections: FFmpeg's protocols are limited to
    files, see `files.open_video`.

    Parameters:
        operation: its name.
        arguments: JSON.

    Returns:
        What it returns; or why the file cannot be worked on.

    Raises:
        StoppedError: the process was stopped from outside.
    """
    environment = {
        name: os.environ[name] for name in ("LD_LIBRARY_PATH", "TMPDIR") if name in os.environ
    }
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "retake_media", operation],
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            env=environment,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        minutes = TIMEOUT_SECONDS // 60
        return Refusal(f"working on it takes longer than {minutes} minutes", _CURE)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout)
        refusal = result.pop("refusal", None)
        return Refusal(**refusal) if refusal else result
    if -done.returncode in _OWN_SIGNALS:
        return Refusal("it is damaged: the decoder crashed, or reached a limit", _CURE)
    raise StoppedError(f"{operation} ended with {done.returncode}: {done.stderr[-1000:]}")


def limit() -> None:
    """Limit what this process may use; systems other than Linux have not all limits."""
    for kind, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            continue
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it

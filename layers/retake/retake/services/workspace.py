"""The disk of a function: a folder for large files that leaves nothing behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "retake-"
_in_use: set[Path] = set()


@contextmanager
def workspace() -> Iterator[Path]:
    """Create an empty folder, and remove it afterwards.

    A function that is killed leaves its folder behind, and Lambda may start the next process on the
    same disk: folders that no living process uses are removed first.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        if folder not in _in_use and not _is_used(folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    _in_use.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _in_use.discard(folder)


def _is_used(folder: Path) -> bool:
    """Tell whether another process that is alive has created a folder, or something else has."""
    process = folder.name.removeprefix(_PREFIX).partition("-")[0]
    if not process.isdecimal():
        return True
    if int(process) == os.getpid():
        return False  # a process before this one had the same number
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

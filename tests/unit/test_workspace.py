"""A function leaves nothing on its disk, and removes what a killed one has left there."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from retake.services.workspace import workspace


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_behind(disk: Path, process: object) -> Path:
    folder = disk / f"retake-{process}-left"
    folder.mkdir()
    (folder / "clip").write_bytes(b"large")
    return folder


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_workspace_is_empty_and_is_removed_with_its_files(disk: Path) -> None:
    with workspace() as folder:
        assert [*folder.iterdir()] == []
        (folder / "clip").write_bytes(b"large")
    assert [*disk.iterdir()] == []


def test_a_workspace_is_removed_after_an_error(disk: Path) -> None:
    def fill() -> None:
        with workspace() as folder:
            (folder / "clip").write_bytes(b"large")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert [*disk.iterdir()] == []


@pytest.mark.parametrize("process", [os.getpid, ended_process], ids=["same number", "ended"])
def test_what_a_killed_process_left_is_removed(disk: Path, process: object) -> None:
    assert callable(process)
    folder = left_behind(disk, process())
    with workspace():
        assert not folder.exists()


@pytest.mark.parametrize("process", [os.getppid(), 1, "of-another-program"])
def test_what_another_living_process_uses_is_kept(disk: Path, process: object) -> None:
    folder = left_behind(disk, process)
    with workspace():
        assert folder.exists()


def test_two_workspaces_of_one_process_do_not_remove_each_other() -> None:
    with workspace() as first, workspace() as second:
        assert first.exists()
        assert second.exists()
        assert first != second

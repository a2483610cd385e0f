"""The snippets of the documentation, run as they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.cloud import CREDENTIALS, ROOT
from tests.support.desk import Desk

SNIPPETS = ROOT / "docs/snippets"
EXPECTED_OUTPUT = {
    "first-drop.sh": "open gallery/index.html",
    "without-the-command.sh": '"state": "DELIVERED"',
    "batch.sh": "2 of 2 retakes saved",
    "pipeline.py": "retakes/shoot/one.mp4 of shoot/one.mp4, 0.6 USD",
    "upload.py": "/uploads/clip.mp4",
    "look.sh": "no job is overdue",
}
EXPECTED_FILES = {
    "first-drop.sh": "retakes/clip.mp4",
    "without-the-command.sh": "retake.mp4",
    "batch.sh": "retakes/shoot/two.mp4",
}


@pytest.fixture(scope="module")
def path_with_retake(desk: Desk) -> str:
    """A search path on which `retake`, `aws`, and Python are found."""
    tool = desk.folder / "bin/retake"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m retake_cli "$@"\n')
    tool.chmod(0o755)
    return f"{tool.parent}:{Path(sys.executable).parent}:{desk.environment['PATH']}"


@pytest.mark.parametrize("name", sorted(path.name for path in SNIPPETS.iterdir()))
def test_a_snippet_does_what_its_page_says(
    desk: Desk, path_with_retake: str, name: str, clip: Path
) -> None:
    (desk.folder / "clip.mp4").write_bytes(clip.read_bytes())
    for clip_name in ("one.mp4", "two.mp4"):
        desk.clip(clip_name)
    environment = desk.environment | desk.aws_environment
    environment |= {
        "AWS_DEFAULT_REGION": CREDENTIALS["region_name"],
        "PATH": path_with_retake,
        "NO_PROXY": "127.0.0.1",
    }
    shell = [sys.executable] if name.endswith(".py") else ["bash", "-euo", "pipefail"]
    done = subprocess.run(
        [*shell, str(SNIPPETS / name)],
        cwd=desk.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert EXPECTED_OUTPUT[name] in done.stdout
    if name in EXPECTED_FILES:
        assert (desk.folder / EXPECTED_FILES[name]).stat().st_size

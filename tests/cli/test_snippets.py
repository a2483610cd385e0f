"""The snippets of the pages by task, run as they stand there."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.cloud import CREDENTIALS, ROOT
from tests.cli.test_command import Desk
from tests.cli.test_command import desk as desk

SNIPPETS = ROOT / "docs/snippets"
SAYS = {
    "first-drop.sh": "takes; open gallery/index.html",
    "without-the-command.sh": '"state": "DELIVERED"',
    "batch.sh": "2 of 2 are here",
    "pipeline.py": "retakes/shoot/one.mp4 of shoot/one.mp4, 0.6 USD",
    "upload.py": "/uploads/clip.mp4",
    "look.sh": "every job is looked after",
}
RESULTS = {"first-drop.sh": "retakes/clip.mp4", "without-the-command.sh": "retake.mp4", "batch.sh": "retakes/shoot/two.mp4"}


@pytest.mark.parametrize("name", sorted(path.name for path in SNIPPETS.iterdir()))
def test_a_snippet_does_what_its_page_says(desk: Desk, name: str, clip: Path) -> None:
    tool = desk.folder / "bin/retake"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
    tool.chmod(0o755)
    (desk.folder / "clip.mp4").write_bytes(clip.read_bytes())
    for each in ("one.mp4", "two.mp4"):
        desk.clip(each)
    path = f"{tool.parent}:{Path(sys.executable).parent}:{desk.environment['PATH']}"
    cloud = {"AWS_ENDPOINT_URL": desk.stack.cloud.outputs["Endpoint"], "AWS_DEFAULT_REGION": CREDENTIALS["region_name"]}
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    shell = [sys.executable] if name.endswith(".py") else ["bash", "-euo", "pipefail"]
    done = subprocess.run(
        [*shell, str(SNIPPETS / name)],
        cwd=desk.folder,
        env=desk.environment | cloud | keys | {"PATH": path, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert SAYS[name] in done.stdout
    assert name not in RESULTS or (desk.folder / RESULTS[name]).stat().st_size

"""What `pip install`, `pipx` and `uvx` make of a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from local.cloud import ROOT

USED = """
import sys
from datetime import UTC, datetime
import retake
from cli import app, gallery
assert retake.__file__.startswith(sys.argv[1]) and app.__file__.startswith(sys.argv[1])
assert "<h1" in gallery.render([], "Retake", datetime.now(UTC))
app.main(["drop", "--help"])
"""


def test_the_package_has_all_that_the_command_reads(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    [wheel] = tmp_path.glob("retake-*.whl")
    zipfile.ZipFile(wheel).extractall(site := tmp_path / "site")
    path = os.pathsep.join(map(str, (site, ROOT / "layers/dependencies/python")))  # the checkout's own packages are not on it
    command = [sys.executable, "-P", "-c", USED, str(site)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--first-frame" in done.stdout

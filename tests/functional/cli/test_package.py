"""What `pip install`, `pipx`, and `uvx` make of a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from local.cloud import ROOT

USE_PACKAGE = """
import sys
from datetime import UTC, datetime
import retake
from retake_cli import app
from retake_cli.commands import gallery
assert retake.__file__.startswith(sys.argv[1]) and app.__file__.startswith(sys.argv[1])
assert "<h1" in gallery.render([], "Retake", datetime.now(UTC))
app.main(["drop", "--help"])
"""


def test_the_package_contains_everything_that_the_command_reads(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("retake-*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    # The packages of the checkout are not on the path.
    path = os.pathsep.join([str(site), str(ROOT / "layers/dependencies/python")])
    done = subprocess.run(
        [sys.executable, "-P", "-c", USE_PACKAGE, str(site)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--first-frame" in done.stdout

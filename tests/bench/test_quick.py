"""The bench still runs; nothing is said of how fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_measurement_gives_rows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the bench has requirements of its own: make bench")
    subprocess.run([sys.executable, "-m", "bench", "--quick", "--into", str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    found = json.loads((tmp_path / "results.json").read_text())
    assert all(found[part]["rows"] for part in ("waiting", "coldstart", "delivery", "pipeline"))
    page = (tmp_path / "RESULTS.md").read_text()
    assert all(picture.name in page for picture in (tmp_path / "plots").glob("*.png"))

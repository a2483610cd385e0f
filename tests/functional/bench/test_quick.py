"""The bench still runs; nothing is said about how fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.template import ROOT

PARTS = ("waiting", "coldstart", "delivery", "media", "pipeline")


def test_every_measurement_has_rows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the bench has its own requirements: make bench")
    command = [sys.executable, "-m", "bench", "--quick", "--into", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(results[part]["rows"] for part in PARTS)
    page = (tmp_path / "RESULTS.md").read_text()
    assert all(plot.name in page for plot in (tmp_path / "plots").glob("*.png"))

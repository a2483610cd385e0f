"""Measurements of the product, compared with what people use today; run them with `make bench`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RETAKE_LAYER = ROOT / "layers/retake"
DEPENDENCIES_LAYER = ROOT / "layers/dependencies/python"
LAYERS = (str(RETAKE_LAYER), str(ROOT / "layers/media"), str(DEPENDENCIES_LAYER))

# So that `python -m bench.<module>` finds the product without further settings.
sys.path[:0] = LAYERS

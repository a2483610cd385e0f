"""A Segmind simulator: it speaks the API of `modify-video`, really renders, and fails on demand.

Use it in a test, `with Simulator(Settings(render_seconds=1)).running() as sim: ... sim.url`, or as
a process, `python -m local.simulator`. The control API under `/_simulator/` adds rules that make
calls fail, changes the settings, and returns the ledger; see `Rule` and `Settings`.
"""

from .rules import Rule
from .server import Simulator
from .settings import Settings

__all__ = ["Rule", "Settings", "Simulator"]

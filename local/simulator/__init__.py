"""A Segmind simulator: speaks the API of `modify-video`, really renders, and fails on demand.

Use it in a test, `with Simulator(Settings(render_seconds=1)).running() as sim: ... sim.url`, or as a process,
`python -m local.simulator`. Faults, settings and the ledger are under `/_simulator/` (see `settings.Rule`).
"""

from .server import Simulator
from .settings import Rule, Settings

__all__ = ["Rule", "Settings", "Simulator"]

"""Hostile input made by hypothesis; every case that was ever found stays as an example.

`FUZZ_EXAMPLES=20000 pytest tests/fuzz` searches for longer.
"""

import os

from hypothesis import HealthCheck, settings

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

"""The embedded cloud: the project's template on MiniStack, next to the Segmind simulator.

Everything runs on this machine's loopback interface. Use it in a test,
`with running(CloudConfig(), folder) as cloud: ...`, or from the command line,
`python -m local.cloud up|down`.
"""

from .config import ARTIFACTS_BUCKET, CREDENTIALS, HOME, LOCAL_KEY, REGION, ROOT, STACK, CloudConfig
from .deployment import deploy
from .lifecycle import Cloud, running, start
from .processes import stop

__all__ = [
    "ARTIFACTS_BUCKET",
    "CREDENTIALS",
    "HOME",
    "LOCAL_KEY",
    "REGION",
    "ROOT",
    "STACK",
    "Cloud",
    "CloudConfig",
    "deploy",
    "running",
    "start",
    "stop",
]

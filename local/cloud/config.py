"""How an embedded cloud is configured, and the names that all of them share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".local"
STACK = "retake"
ARTIFACTS_BUCKET = "retake-artifacts"
REGION = "eu-central-1"
CREDENTIALS = {
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "region_name": REGION,
}
LOCAL_KEY = "SG_local_simulator"
MAX_REQUESTS_PER_MINUTE = 10_000  # in a scaled minute; the template's own limit is lower
MIN_WAIT_SCALE = 0.001


@dataclass(frozen=True)
class CloudConfig:
    """What an embedded cloud is started with.

    Attributes:
        segmind_url: another server with Segmind's API; empty for the project's simulator.
        history_url: that server's request history; by default below `segmind_url`.
        key: the API key that the server accepts.
        wait_scale: factor on every wait of the state machine.
        auth: whether IAM roles are enforced.
        port: the port of the AWS endpoint; 0 for a free one.
        requests_per_minute: Segmind's rate limit, in minutes that are scaled like the waits.
        daily_budget_usd: the stack's DailyBudgetUsd.
        parameters: further parameters of the stack.
        simulator: further command-line options of the simulator.
        environment: further environment variables of MiniStack, and so of every function.
    """

    segmind_url: str = ""
    history_url: str = ""
    key: str = LOCAL_KEY
    wait_scale: float = 0.02
    auth: bool = True
    port: int = 0
    requests_per_minute: int = 50
    daily_budget_usd: float = 1000
    parameters: Mapping[str, str] = field(default_factory=dict)
    simulator: tuple[str, ...] = ("--render-seconds", "2")
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def scaled_requests(self) -> int:
        """Return the rate limit per real minute: a scaled minute is shorter."""
        scale = min(1.0, max(self.wait_scale, MIN_WAIT_SCALE))
        return min(MAX_REQUESTS_PER_MINUTE, round(self.requests_per_minute / scale))

"""Start and stop a whole embedded cloud."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from .config import CREDENTIALS, REGION, CloudConfig
from .deployment import deploy, remove_build
from .processes import stop
from .servers import start_ministack, start_simulator

OnStep = Callable[[str], None]  # gets each step of the start in plain words


@dataclass(frozen=True)
class Cloud:
    """A running embedded cloud.

    Attributes:
        outputs: the stack's outputs, and `Endpoint`, `Region` and `Simulator`, the URL that
            stands for Segmind.
        pids: its processes.
    """

    outputs: dict[str, str]
    pids: list[int]

    def client(self, service: str, **options: Any) -> Any:
        """Create a boto3 client for it."""
        return boto3.client(
            service, endpoint_url=self.outputs["Endpoint"], **CREDENTIALS, **options
        )

    def table(self) -> Any:
        """Return its jobs table as a boto3 resource."""
        dynamodb = boto3.resource("dynamodb", endpoint_url=self.outputs["Endpoint"], **CREDENTIALS)
        return dynamodb.Table(self.outputs["JobsTableName"])


@contextmanager
def running(config: CloudConfig, folder: Path, on_step: OnStep = lambda _: None) -> Iterator[Cloud]:
    """Run an embedded cloud for as long as the context lasts; parameters as for `start`."""
    cloud = start(config, folder, on_step)
    try:
        yield cloud
    finally:
        stop(cloud.pids)


def start(config: CloudConfig, folder: Path, on_step: OnStep = lambda _: None) -> Cloud:
    """Start the servers and deploy the project's template; stop everything if that fails.

    Parameters:
        config: how the cloud is configured.
        folder: for its files and logs.
        on_step: called before each step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_build(folder)
    pids: list[int] = []
    try:
        segmind_url = config.segmind_url
        if not segmind_url:
            on_step("starting the Segmind simulator")
            segmind_url = start_simulator(config, folder, pids)
        on_step("starting MiniStack")
        endpoint = start_ministack(config, folder, pids)
        on_step("deploying template.yaml")
        parameters = {
            "SegmindApiKey": config.key,
            "SegmindBaseUrl": segmind_url,
            "SegmindHistoryUrl": config.history_url or f"{segmind_url}/inference-request",
            "RequestsPerMinute": str(config.scaled_requests),
            "DailyBudgetUsd": f"{config.daily_budget_usd:g}",
        }
        outputs = deploy(endpoint, parameters | dict(config.parameters), folder)
    except BaseException:
        stop(pids)
        raise
    own = {"Endpoint": endpoint, "Region": REGION, "Simulator": segmind_url}
    return Cloud(own | outputs, pids)

"""A stack in this process for the command's own modules, and a running one for the command."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from local.cloud import CloudConfig, running
from retake_cli.stack import Stack
from tests.support import stack as running_stack
from tests.support.desk import Desk
from tests.support.stand_ins import REGION
from tests.support.world import World


@pytest.fixture
def stack(world: World) -> Stack:
    """A stack whose bucket and table are those of the pipeline in this process."""
    return Stack(
        where="here",
        status="CREATE_COMPLETE",
        outputs={
            "JobsTableName": "jobs",
            "InputBucketName": "input",
            "OutputBucketName": "output",
        },
        parameters={"DailyBudgetUsd": "25"},
        session=boto3.Session(region_name=REGION),
    )


@pytest.fixture
def local_clip(tmp_path: Path, clip: Path) -> Path:
    """A clip to drop."""
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    return tmp_path / "clip.mp4"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The command beside an embedded cloud."""
    config = CloudConfig(
        wait_scale=0.005, daily_budget_usd=100_000, simulator=("--render-seconds", "0.5")
    )
    with running(config, tmp_path_factory.mktemp("cloud")) as cloud:
        stack = running_stack.Stack(cloud)
        yield Desk(tmp_path_factory.mktemp("desk"), stack)
        stack.check()

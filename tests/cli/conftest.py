"""A stack in this process: the real intake over moto, under the command's own modules."""

from typing import Any

import boto3
import pytest

from cli.stack import Stack
from tests.unit.conftest import REGION, World
from tests.unit.conftest import table as table


@pytest.fixture
def world(table: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return World(table)


@pytest.fixture
def stack(world: World) -> Stack:
    outputs = {"JobsTableName": "jobs", "InputBucketName": "input", "OutputBucketName": "output"}
    return Stack("here", "CREATE_COMPLETE", outputs, {"DailyBudgetUsd": "25"}, boto3.Session(region_name=REGION))

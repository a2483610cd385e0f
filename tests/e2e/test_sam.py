"""The way to an account: `sam build`, `sam deploy`, an update while jobs run, `sam delete`."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.cloud import (
    ARTIFACTS_BUCKET,
    CREDENTIALS,
    LOCAL_KEY,
    REGION,
    ROOT,
    Cloud,
    CloudConfig,
    running,
)
from tests.support.stack import Stack

SAM = ROOT / ".venv/sam/bin/sam"
NAME = "retake-by-sam"
STATEFUL = ("InputBucket", "OutputBucket", "JobsTable", "SegmindApiKeySecret", "DropQueue")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An account that has a stack already."""
    config = CloudConfig(wait_scale=0.005, simulator=("--render-seconds", "0.5"))
    with running(config, tmp_path_factory.mktemp("account")) as cloud:
        yield Stack(cloud)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as `sam build` leaves it."""
    folder = tmp_path_factory.mktemp("sam")
    sam("build", f"--build-dir={folder / 'build'}", f"--cache-dir={folder / 'cache'}")
    return folder / "build/template.yaml"


def sam(verb: str, *arguments: str, endpoint: str = "") -> None:
    """Run SAM as `make deploy` does, on the embedded cloud."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = kept | {
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
    }
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    done = subprocess.run(
        [SAM, verb, f"--config-file={ROOT / 'samconfig.toml'}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def deploy(cloud: Cloud, template: Path, **parameters: Any) -> Stack:
    """Deploy what was built, as a second stack of the account."""
    segmind = cloud.outputs["Simulator"]
    defaults = {
        "SegmindBaseUrl": segmind,
        "SegmindHistoryUrl": f"{segmind}/inference-request",
        "DailyBudgetUsd": "1000",
    }
    sam(
        "deploy",
        f"--template-file={template}",
        f"--stack-name={NAME}",
        f"--s3-bucket={ARTIFACTS_BUCKET}",
        "--no-resolve-s3",
        "--no-confirm-changeset",
        "--parameter-overrides",
        *(f"{name}={value}" for name, value in (defaults | parameters).items()),
        endpoint=cloud.outputs["Endpoint"],
    )
    stack = cloud.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return Stack(Cloud(cloud.outputs | outputs, cloud.pids))


def stateful_resources(cloud: Cloud) -> dict[str, str]:
    """Return the physical IDs of the resources that hold something."""
    found = cloud.client("cloudformation").describe_stack_resources(StackName=NAME)
    resources = found["StackResources"]
    ids = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources}
    return {name: ids[name] for name in STATEFUL}


def submit_variables(stack: Stack) -> dict[str, str]:
    """Read the environment of submit."""
    name = stack.cloud.outputs["SubmitFunctionName"]
    functions = stack.cloud.client("lambda")
    configuration = functions.get_function_configuration(FunctionName=name)
    variables: dict[str, str] = configuration["Environment"]["Variables"]
    return variables


def test_a_stack_is_built_deployed_updated_while_jobs_run_and_deleted(
    account: Stack, clip: Path, built: Path
) -> None:
    stack = deploy(account.cloud, built, SegmindApiKey=LOCAL_KEY)
    stack.drop_pair("sam/first.mp4", clip, {"prompt": "deployed by sam"})
    stack.until("sam/first.mp4", "DELIVERED")
    account.rule(endpoint="submit", match="sam/flight", settings={"render_seconds": 8})
    stack.drop_pair("sam/flight.mp4", clip)
    stack.until("sam/flight.mp4", "RENDERING")
    before = stateful_resources(account.cloud)

    updated = deploy(
        account.cloud,
        built,
        RequestsPerMinute="1234",
        InputRetentionDays="7",
        LogRetentionDays="7",
        DeletionProtection="false",
    )
    assert stateful_resources(account.cloud) == before, "an update replaces nothing that has state"
    assert submit_variables(updated)["REQUESTS_PER_MINUTE"] == "1234"
    status = updated.until("sam/flight.mp4", "DELIVERED")
    assert updated.read("sam/flight.mp4") == updated.rendered(status["request_id"])
    assert len(updated.submitted("sam/flight")) == 1
    independent = "two stacks of one account are independent"
    assert account.status("sam/flight.mp4") is None, independent

    sam(
        "delete",
        f"--stack-name={NAME}",
        "--no-prompts",
        endpoint=account.cloud.outputs["Endpoint"],
    )
    assert updated.read("sam/first.mp4"), "the results outlive the stack"
    assert {job.state for job in updated.jobs()} == {"DELIVERED"}

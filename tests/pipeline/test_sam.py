"""The road to an account: `sam build`, `sam deploy` of what it built, an update in mid-flight, `sam delete`."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.cloud import ARTIFACTS, CREDENTIALS, LOCAL_KEY, REGION, ROOT, Cloud, Wanted, running
from tests.stack import Stack

SAM = ROOT / ".venv/sam/bin/sam"
NAME = "retake-by-sam"
KEPT = ("InputBucket", "OutputBucket", "JobsTable", "SegmindKey", "DropQueue")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An account that has a stack already."""
    wanted = Wanted(wait_scale=0.005, simulator=("--render-seconds", "0.5"))
    with running(wanted, tmp_path_factory.mktemp("account")) as cloud:
        yield Stack(cloud)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    sam("build", f"--build-dir={folder / 'build'}", f"--cache-dir={folder / 'cache'}")
    return folder / "build/template.yaml"


def sam(verb: str, *arguments: str, endpoint: str = "") -> str:
    """Run the tool as `make deploy` does, on the embedded cloud."""
    away = {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": endpoint}
    away |= {name.upper(): value for name, value in CREDENTIALS.items() if name != "region_name"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {k: v for k, v in away.items() if v}
    done = subprocess.run(
        [SAM, verb, f"--config-file={ROOT / 'samconfig.toml'}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def deploy(cloud: Cloud, template: Path, **parameters: Any) -> Stack:
    """Deploy what was built, as a second stack of the account."""
    segmind = cloud.outputs["Simulator"]
    given = {"SegmindBaseUrl": segmind, "SegmindHistoryUrl": f"{segmind}/inference-request", "DailyBudgetUsd": "1000"} | parameters
    overrides = [f"{name}={value}" for name, value in given.items()]
    options = [
        f"--template-file={template}",
        f"--stack-name={NAME}",
        f"--s3-bucket={ARTIFACTS}",
        "--no-resolve-s3",
        "--no-confirm-changeset",
    ]
    sam("deploy", *options, "--parameter-overrides", *overrides, endpoint=cloud.outputs["Endpoint"])
    stack = cloud.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"][0]
    return Stack(Cloud(cloud.outputs | {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}, cloud.pids))


def ids(cloud: Cloud) -> dict[str, str]:
    resources = cloud.client("cloudformation").describe_stack_resources(StackName=NAME)["StackResources"]
    return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources if each["LogicalResourceId"] in KEPT}


def test_what_is_built_can_be_deployed_updated_in_mid_flight_and_removed(account: Stack, clip: Path, built: Path) -> None:
    stack = deploy(account.cloud, built, SegmindApiKey=LOCAL_KEY)
    stack.drop_pair("sam/first.mp4", clip, {"prompt": "deployed by sam"})
    stack.until("sam/first.mp4", "DELIVERED")
    account.rule(endpoint="submit", match="sam/flight", settings={"render_seconds": 8})
    stack.drop_pair("sam/flight.mp4", clip)
    stack.until("sam/flight.mp4", "RENDERING")
    before = ids(account.cloud)
    assert set(before) == set(KEPT)

    changed = deploy(
        account.cloud, built, RequestsPerMinute="1234", InputRetentionDays="7", LogRetentionDays="7", DeletionProtection="false"
    )
    assert ids(account.cloud) == before, "an update replaces nothing that holds something"
    functions = account.cloud.client("lambda")
    limits = functions.get_function_configuration(FunctionName=changed.cloud.outputs["SubmitFunctionName"])["Environment"]["Variables"]
    assert limits["REQUESTS_PER_MINUTE"] == "1234"
    answer = changed.until("sam/flight.mp4", "DELIVERED")
    assert changed.read("sam/flight.mp4") == changed.rendered(answer["request_id"])
    assert len(changed.submitted("sam/flight")) == 1
    assert account.answer("sam/flight.mp4") is None, "two stacks of one account know nothing of each other"

    sam("delete", f"--stack-name={NAME}", "--no-prompts", endpoint=account.cloud.outputs["Endpoint"])
    assert changed.read("sam/first.mp4"), "the results outlive the stack"
    assert {job["state"] for job in changed.jobs()} == {"DELIVERED"}

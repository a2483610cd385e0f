"""The way to an account: a first try that fails, an update while jobs run, and `sam delete`."""

import os
import platform
import shutil
import subprocess
import sys
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
from local.cloud.deployment import adapt
from tests.support.stack import Stack

SAM = ROOT / ".venv/sam/bin/sam"
NAME = "retake-by-sam"
STATEFUL = ("InputBucket", "OutputBucket", "JobsTable", "SegmindApiKeySecret", "DropQueue")
SOURCES = ("functions", "layers", "statemachine")
# A resource that can't be created, after those that hold something.
BROKEN = """\
Resources:
  Broken:
    Type: AWS::SSM::Parameter
    DependsOn: [InputBucket, OutputBucket, JobsTable]
    Properties: { Type: SecureString, Value: none }
"""


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An account that has a stack already."""
    config = CloudConfig(wait_scale=0.005, simulator=("--render-seconds", "0.5"))
    with running(config, tmp_path_factory.mktemp("account")) as cloud:
        yield Stack(cloud)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as `sam build` leaves it, with what the emulator needs changed."""
    folder = tmp_path_factory.mktemp("sam")
    for source in SOURCES:
        ignored = shutil.ignore_patterns("python", "__pycache__")
        shutil.copytree(ROOT / source, folder / source, ignore=ignored)
    (folder / "template.yaml").write_text(adapt((ROOT / "template.yaml").read_text()))
    done = run(
        [
            *(str(SAM), "build", f"--template-file={folder / 'template.yaml'}"),
            *(f"--build-dir={folder / 'build'}", f"--cache-dir={folder / 'cache'}"),
            f"--config-file={ROOT / 'samconfig.toml'}",
        ]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build/template.yaml"


def run(
    command: list[str], endpoint: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run SAM or the command behind `make deploy` on the embedded cloud."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = kept | {
        "SAM_CLI_TELEMETRY": "0",
        "PIP_PYTHON": sys.executable,  # as `make build` sets it
        "MEDIA_PLATFORM": f"manylinux_2_28_{platform.machine()}",  # of this host
        "PYTHONPATH": str(ROOT / "layers/retake"),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
    }
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def deploy_command(
    cloud: Cloud, template: Path, parameters: dict[str, Any], **variables: str
) -> subprocess.CompletedProcess[str]:
    """Deploy what was built, as a second stack of the account, as `make deploy` does."""
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    return run(
        [
            *(sys.executable, "-m", "retake_cli.commands.deploy", "--sam", str(SAM)),
            *("--stack", NAME, f"--template-file={template}"),
            *(f"--s3-bucket={ARTIFACTS_BUCKET}", "--no-resolve-s3", "--no-confirm-changeset"),
            *(["--parameter-overrides", *overrides] if overrides else []),
        ],
        cloud.outputs["Endpoint"],
        **variables,
    )


def first_parameters(cloud: Cloud) -> dict[str, Any]:
    """Return the parameters of a stack that talks to the simulator."""
    segmind = cloud.outputs["Simulator"]
    return {
        "SegmindBaseUrl": segmind,
        "SegmindHistoryUrl": f"{segmind}/inference-request",
        "DailyBudgetUsd": "1000",
    }


def deploy(cloud: Cloud, template: Path, parameters: dict[str, Any], **variables: str) -> Stack:
    """Deploy, and return the stack."""
    done = deploy_command(cloud, template, parameters, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    stack = cloud.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return Stack(Cloud(cloud.outputs | outputs, cloud.pids))


def remains(cloud: Cloud) -> list[str]:
    """Return the buckets and tables of the stack that exist."""
    buckets = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
    tables = cloud.client("dynamodb").list_tables()["TableNames"]
    return [name for name in buckets + tables if name.startswith(NAME)]


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


def test_a_first_deployment_that_fails_leaves_nothing_and_is_repeated(
    account: Stack, built: Path
) -> None:
    broken = built.with_name("broken.yaml")
    broken.write_text(built.read_text().replace("Resources:\n", BROKEN, 1))
    parameters = first_parameters(account.cloud)
    without_key = deploy_command(account.cloud, built, parameters)
    assert without_key.returncode == 2
    assert "SEGMIND_API_KEY" in without_key.stderr

    failed = deploy_command(account.cloud, broken, parameters, SEGMIND_API_KEY=LOCAL_KEY)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "run it again" in failed.stderr
    assert remains(account.cloud) == []

    done = deploy_command(account.cloud, built, parameters, SEGMIND_API_KEY=LOCAL_KEY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed (ROLLBACK_COMPLETE):" in done.stdout
    assert "  Broken: " in done.stdout
    assert len(remains(account.cloud)) == 4
    assert LOCAL_KEY not in done.stdout + done.stderr


def test_a_stack_is_updated_while_jobs_run_and_deleted(
    account: Stack, clip: Path, built: Path
) -> None:
    cloud = account.cloud
    stack = deploy(cloud, built, first_parameters(cloud), SEGMIND_API_KEY=LOCAL_KEY)
    stack.drop_pair("sam/first.mp4", clip, {"prompt": "deployed by sam"})
    stack.until("sam/first.mp4", "DELIVERED")
    account.rule(endpoint="submit", match="sam/flight", settings={"render_seconds": 8})
    stack.drop_pair("sam/flight.mp4", clip)
    stack.until("sam/flight.mp4", "RENDERING")
    before = stateful_resources(cloud)

    changes = {
        "RequestsPerMinute": "234",
        "InputRetentionDays": "7",
        "LogRetentionDays": "7",
        "DeletionProtection": "false",
    }
    updated = deploy(cloud, built, changes)
    assert stateful_resources(cloud) == before, "an update replaces nothing that has state"
    variables = submit_variables(updated)
    assert variables["REQUESTS_PER_MINUTE"] == "234"
    assert variables["DAILY_BUDGET_USD"] == "1000", "what isn't named keeps its value"
    assert variables["SEGMIND_BASE_URL"] == cloud.outputs["Simulator"]
    status = updated.until("sam/flight.mp4", "DELIVERED")
    assert updated.is_film("sam/flight.mp4", status["request_id"])
    assert len(updated.submitted("sam/flight")) == 1
    independent = "two stacks of one account are independent"
    assert account.status("sam/flight.mp4") is None, independent

    secrets, secret = cloud.client("secretsmanager"), updated.cloud.outputs["SecretArn"]
    secrets.put_secret_value(SecretId=secret, SecretString="SG_rotated")
    deploy(cloud, built, {"LogRetentionDays": "14"}, SEGMIND_API_KEY=LOCAL_KEY)
    assert secrets.get_secret_value(SecretId=secret)["SecretString"] == "SG_rotated"
    unchanged = deploy_command(cloud, built, {})
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr

    deleted = run(
        [str(SAM), "delete", f"--stack-name={NAME}", "--no-prompts"], cloud.outputs["Endpoint"]
    )
    assert deleted.returncode == 0, deleted.stdout + deleted.stderr
    assert updated.read("sam/first.mp4"), "the results outlive the stack"
    assert {job.state for job in updated.jobs()} == {"DELIVERED"}

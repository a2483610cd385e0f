"""Removal of a stack: what is shown, refused and retained, and what is deleted only on request."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.cloud import CREDENTIALS, CloudConfig, deploy, running
from retake_cli.commands.destroy import main
from tests.support.stack import Stack

Destroy = Callable[..., tuple[int, str]]


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Stack]:
    """A stack that may be removed; its table is protected."""
    config = CloudConfig(
        wait_scale=0.005,
        parameters={"DeletionProtection": "true"},
        simulator=("--render-seconds", "0.3"),
    )
    with running(config, tmp_path) as cloud:
        yield Stack(cloud)


@pytest.fixture
def destroy(
    doomed: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Destroy:
    """Run the command, with lines typed by a person, and return its exit code and output."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", CREDENTIALS["region_name"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS["aws_secret_access_key"])

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        lines = iter(typed.splitlines())

        def read_line(prompt: str) -> str:
            try:
                return next(lines)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", read_line)
        code = main(["--endpoint-url", doomed.cloud.outputs["Endpoint"], *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def is_deployed(stack: Stack) -> bool:
    """Tell whether the stack exists."""
    cloudformation = stack.cloud.client("cloudformation")
    try:
        return bool(cloudformation.describe_stacks(StackName="retake")["Stacks"])
    except ClientError:
        return False


def remaining_data(stack: Stack) -> tuple[set[str], list[str]]:
    """Return the buckets and the tables that exist."""
    buckets = {bucket["Name"] for bucket in stack.s3.list_buckets()["Buckets"]}
    tables = stack.cloud.client("dynamodb").list_tables()["TableNames"]
    return buckets & {stack.input, stack.output}, tables


def unprotect(stack: Stack, table: str) -> None:
    """Switch off the table's deletion protection."""
    stack.cloud.client("dynamodb").update_table(TableName=table, DeletionProtectionEnabled=False)


def test_a_stack_is_removed_but_its_data_only_on_request(
    doomed: Stack, destroy: Destroy, clip: Path
) -> None:
    everything = remaining_data(doomed)
    (table,) = everything[1]
    doomed.drop_pair("shoot/done.mp4", clip)
    doomed.until("shoot/done.mp4", "DELIVERED")
    doomed.rule(endpoint="submit", match="slow", settings={"render_seconds": 600})
    doomed.drop_pair("shoot/slow.mp4", clip)
    request_id = doomed.until("shoot/slow.mp4", "RENDERING")["request_id"]

    code, output = destroy("--yes")
    assert code == 2
    assert "Nothing was removed: 1 job paid for" in output
    assert f"shoot/slow.mp4  {request_id}" in output
    assert "--abandon" in output
    assert all(name in output for name in (doomed.input, doomed.output, table))

    for typed in ("", "yes", "retak"):
        code, output = destroy("--abandon", typed=typed)
        assert code == 2
        assert "Nothing was removed" in output

    code, output = destroy("--abandon", "--with-data", "--yes")
    assert code == 2
    assert "update-table --no-deletion-protection-enabled" in output
    assert is_deployed(doomed)

    code, output = destroy("--abandon", typed="retake")
    assert (code, is_deployed(doomed)) == (0, False), output
    assert remaining_data(doomed) == everything
    assert doomed.read("shoot/done.mp4")

    # The stack is gone, as after an interruption; its data is found nevertheless.
    unprotect(doomed, table)
    doomed.s3.create_multipart_upload(Bucket=doomed.input, Key="shoot/unfinished.mp4")
    doomed.s3.delete_object(Bucket=doomed.output, Key="shoot/done.mp4")  # leaves a delete marker
    code, output = destroy("--with-data", "--yes")
    assert (code, "1 job paid for" in output) == (2, True), output
    code, output = destroy("--with-data", "--abandon", typed="retake")
    assert code == 2
    assert remaining_data(doomed) == everything
    code, output = destroy("--with-data", "--abandon", typed="delete everything")
    assert code == 0, output
    assert remaining_data(doomed) == (set(), [])

    code, output = destroy("--with-data", "--yes")
    assert code == 0
    assert "no stack retake" in output


def test_a_protected_stack_and_the_data_of_an_earlier_one_are_left_alone(
    doomed: Stack, destroy: Destroy, tmp_path: Path
) -> None:
    cloudformation = doomed.cloud.client("cloudformation")
    cloudformation.update_termination_protection(
        StackName="retake", EnableTerminationProtection=True
    )
    code, output = destroy("--yes")
    assert code == 2
    assert "--no-enable-termination-protection" in output
    cloudformation.update_termination_protection(
        StackName="retake", EnableTerminationProtection=False
    )

    assert destroy("--yes")[0] == 0
    buckets, (table,) = remaining_data(doomed)
    outputs = doomed.cloud.outputs
    parameters = {
        "SegmindApiKey": "SG_x",
        "SegmindBaseUrl": outputs["Simulator"],
        "SegmindHistoryUrl": outputs["Simulator"],
    }
    newer = deploy(outputs["Endpoint"], parameters, tmp_path)["InputBucketName"]
    unprotect(doomed, table)
    code, output = destroy("--with-data", typed="retake\ndelete everything")
    assert code == 0, output
    assert f"deleted {newer}" in output
    assert remaining_data(doomed)[0] == buckets

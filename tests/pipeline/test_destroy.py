"""Removal: what is told, what is refused, what stays, and what is deleted only when that was asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from cli.destroy import main
from local.cloud import CREDENTIALS, Wanted, deploy, running
from tests.stack import Stack

Destroy = Callable[..., tuple[int, str]]


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Stack]:
    wanted = Wanted(wait_scale=0.005, parameters={"DeletionProtection": "true"}, simulator=("--render-seconds", "0.3"))
    with running(wanted, tmp_path) as cloud:
        yield Stack(cloud)


@pytest.fixture
def destroy(doomed: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Destroy:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name.upper().replace("REGION_NAME", "AWS_DEFAULT_REGION"), value)

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        lines = iter(typed.splitlines())

        def answer(question: str) -> str:
            try:
                return next(lines)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", answer)
        code = main(["--endpoint-url", doomed.cloud.outputs["Endpoint"], *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def deployed(stack: Stack) -> bool:
    try:
        return bool(stack.cloud.client("cloudformation").describe_stacks(StackName="retake")["Stacks"])
    except ClientError:
        return False


def what_is_left(stack: Stack) -> tuple[set[str], list[str]]:
    buckets = {bucket["Name"] for bucket in stack.s3.list_buckets()["Buckets"]}
    return buckets & {stack.input, stack.output}, stack.cloud.client("dynamodb").list_tables()["TableNames"]


def test_a_stack_is_removed_and_its_data_only_when_told(doomed: Stack, destroy: Destroy, clip: Path) -> None:
    everything = what_is_left(doomed)
    doomed.drop_pair("shoot/done.mp4", clip)
    doomed.until("shoot/done.mp4", "DELIVERED")
    doomed.rule(endpoint="submit", match="slow", settings={"render_seconds": 600})
    doomed.drop_pair("shoot/slow.mp4", clip)
    request_id = doomed.until("shoot/slow.mp4", "RENDERING")["request_id"]

    code, said = destroy("--yes")
    assert code == 2
    assert "Nothing was removed: 1 jobs are paid" in said
    assert f"shoot/slow.mp4  {request_id}" in said
    assert "--abandon" in said
    assert all(name in said for name in (doomed.input, doomed.output, *everything[1]))

    for typed in ("", "yes", "retak"):
        code, said = destroy("--abandon", typed=typed)
        assert code == 2
        assert "Nothing was removed" in said

    code, said = destroy("--abandon", "--with-data", "--yes")
    assert code == 2
    assert "update-table --no-deletion-protection-enabled" in said
    assert deployed(doomed)

    code, said = destroy("--abandon", typed="retake")
    assert (code, deployed(doomed)) == (0, False), said
    assert what_is_left(doomed) == everything
    assert doomed.read("shoot/done.mp4")

    # The stack is gone, as after an interruption; its data is found all the same.
    doomed.cloud.client("dynamodb").update_table(TableName=everything[1][0], DeletionProtectionEnabled=False)
    doomed.s3.create_multipart_upload(Bucket=doomed.input, Key="shoot/unfinished.mp4")
    doomed.s3.delete_object(Bucket=doomed.output, Key="shoot/done.mp4")  # leaves a delete marker
    code, said = destroy("--with-data", "--yes")
    assert (code, "paid" in said) == (2, True), said
    code, said = destroy("--with-data", "--abandon", typed="retake")
    assert code == 2
    assert what_is_left(doomed) == everything
    code, said = destroy("--with-data", "--abandon", typed="delete everything")
    assert code == 0, said
    assert what_is_left(doomed) == (set(), [])

    code, said = destroy("--with-data", "--yes")
    assert code == 0
    assert "no stack retake" in said


def test_a_protected_stack_stays_and_what_an_earlier_one_has_left_is_not_touched(doomed: Stack, destroy: Destroy, tmp_path: Path) -> None:
    formation = doomed.cloud.client("cloudformation")
    formation.update_termination_protection(StackName="retake", EnableTerminationProtection=True)
    code, said = destroy("--yes")
    assert code == 2
    assert "--no-enable-termination-protection" in said
    formation.update_termination_protection(StackName="retake", EnableTerminationProtection=False)

    assert destroy("--yes")[0] == 0
    buckets, (table,) = what_is_left(doomed)
    outputs = doomed.cloud.outputs
    given = {"SegmindApiKey": "SG_x", "SegmindBaseUrl": outputs["Simulator"], "SegmindHistoryUrl": outputs["Simulator"]}
    newer = deploy(outputs["Endpoint"], given, tmp_path)["InputBucketName"]
    doomed.cloud.client("dynamodb").update_table(TableName=table, DeletionProtectionEnabled=False)
    code, said = destroy("--with-data", typed="retake\ndelete everything")
    assert code == 0, said
    assert f"deleted {newer}" in said
    assert what_is_left(doomed)[0] == buckets

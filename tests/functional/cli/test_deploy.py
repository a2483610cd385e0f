"""The way to a stack: what is decided by its status, asked, deleted first, and passed to SAM."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from retake_cli.commands import deploy
from retake_cli.console import CommandError
from retake_cli.deployment import (
    Action,
    Event,
    FoundStack,
    Target,
    choose_key,
    decide,
    failures,
)
from tests.support.server import Responder, Server, reply
from tests.support.template import ROOT

KEY = "SG_secret"
REGION = "eu-central-1"
STACK_ID = f"arn:aws:cloudformation:{REGION}:123456789012:stack/retake/1"
TARGET = Target(stack="retake", region=REGION)
CANCELED = "Resource creation cancelled"  # codespell:ignore
COMMANDS = f"--stack-name retake --region {REGION}"

# Every status that CloudFormation documents, and what is decided.
CREATED = ["REVIEW_IN_PROGRESS", "DELETE_COMPLETE"]
RECREATED = ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED"]
UPDATED = [
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
]
AT_WORK = [
    "CREATE_IN_PROGRESS",
    "ROLLBACK_IN_PROGRESS",
    "DELETE_IN_PROGRESS",
    "UPDATE_IN_PROGRESS",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "IMPORT_IN_PROGRESS",
    "IMPORT_ROLLBACK_IN_PROGRESS",
]
STOPPED = {
    "CREATE_FAILED": f"aws cloudformation rollback-stack {COMMANDS} --retain-except-on-create",
    "UPDATE_FAILED": f"aws cloudformation rollback-stack {COMMANDS} --retain-except-on-create",
    "UPDATE_ROLLBACK_FAILED": f"aws cloudformation continue-update-rollback {COMMANDS}",
    "IMPORT_ROLLBACK_FAILED": f"aws cloudformation describe-stack-events {COMMANDS}",
}


def own(*statuses: str) -> tuple[Event, ...]:
    """Return events of the stack itself, newest first."""
    return tuple(Event(resource="retake", status=status, is_stack=True) for status in statuses)


def found(status: str, **attributes: Any) -> FoundStack:
    """Return a stack in some status."""
    return FoundStack(id=STACK_ID, status=status, **attributes)


def refusal(stack: FoundStack, target: Target = TARGET) -> CommandError:
    """Return why a stack isn't deployed."""
    with pytest.raises(CommandError) as raised:
        decide(target, stack)
    assert raised.value.code == 2
    return raised.value


# ─── What is decided ─────────────────────────────────────────────────────────────────────────────


def test_a_stack_that_does_not_exist_is_created() -> None:
    assert decide(TARGET, None) is Action.CREATE


@pytest.mark.parametrize("status", CREATED)
def test_a_stack_without_resources_is_created(status: str) -> None:
    assert decide(TARGET, found(status, is_retake=False)) is Action.CREATE


@pytest.mark.parametrize("status", RECREATED)
def test_a_failed_creation_is_replaced(status: str) -> None:
    assert decide(TARGET, found(status)) is Action.RECREATE


@pytest.mark.parametrize("status", UPDATED)
def test_a_deployed_stack_is_updated(status: str) -> None:
    assert decide(TARGET, found(status)) is Action.UPDATE


@pytest.mark.parametrize("status", AT_WORK)
def test_a_stack_that_is_at_work_is_left_alone(status: str) -> None:
    problem = refusal(found(status))
    assert problem.what == f"the stack retake is in status {status}"
    assert "wait" in problem.do_now


@pytest.mark.parametrize(("status", "command"), STOPPED.items())
def test_other_statuses_name_the_command_that_helps(status: str, command: str) -> None:
    problem = refusal(found(status))
    assert status in problem.what
    assert f"\n  {command}" in problem.do_now


@pytest.mark.parametrize("status", ["CREATE_FAILED", "UPDATE_FAILED"])
def test_an_operation_that_was_not_rolled_back_is_resumed_on_request(status: str) -> None:
    assert "--disable-rollback" in refusal(found(status)).do_now
    assert decide(TARGET, found(status), disable_rollback=True) is Action.UPDATE


def test_the_failed_deletion_of_a_failed_creation_is_repeated() -> None:
    events = own("DELETE_FAILED", "DELETE_IN_PROGRESS", "ROLLBACK_COMPLETE", "CREATE_IN_PROGRESS")
    assert decide(TARGET, found("DELETE_FAILED", events=events)) is Action.RECREATE


@pytest.mark.parametrize(
    "events",
    [
        own("DELETE_FAILED", "CREATE_COMPLETE", "CREATE_IN_PROGRESS"),
        own("DELETE_FAILED", "CREATE_COMPLETE", "CREATE_IN_PROGRESS", "REVIEW_IN_PROGRESS"),
        own("DELETE_FAILED", "UPDATE_COMPLETE", "UPDATE_IN_PROGRESS"),
        own("DELETE_FAILED", "DELETE_IN_PROGRESS"),  # events are kept for 90 days
        (),
    ],
)
def test_the_failed_deletion_of_a_deployed_stack_is_for_destroy(events: tuple[Event, ...]) -> None:
    problem = refusal(found("DELETE_FAILED", events=events))
    assert 'make destroy ARGS="--stack retake"' in problem.do_now


@pytest.mark.parametrize("status", [*RECREATED, "DELETE_FAILED"])
def test_a_protected_stack_is_not_deleted(status: str) -> None:
    events = own(status, "CREATE_IN_PROGRESS")
    problem = refusal(found(status, is_protected=True, events=events))
    assert f"update-termination-protection {COMMANDS} --no-enable" in problem.do_now


@pytest.mark.parametrize("status", [*RECREATED, *UPDATED, "DELETE_FAILED", "CREATE_FAILED"])
def test_a_stack_of_something_else_is_never_touched(status: str) -> None:
    problem = refusal(found(status, is_retake=False))
    assert "isn't a Retake stack" in problem.what
    assert "--stack" in problem.do_now


def test_commands_name_the_stack_the_region_and_the_profile() -> None:
    target = Target(stack="mine", region="us-gov-west-1", profile="ops")
    command = "continue-update-rollback --stack-name mine --region us-gov-west-1 --profile ops"
    assert command in refusal(found("UPDATE_ROLLBACK_FAILED"), target).do_now


def test_what_failed_first_is_shown_without_what_was_canceled_by_it() -> None:
    events = (
        Event(resource="retake", status="ROLLBACK_IN_PROGRESS", is_stack=True),
        Event(resource="Late", status="CREATE_FAILED", reason=CANCELED),
        Event(resource="Table", status="CREATE_FAILED", reason="no table"),
        Event(resource="Queue", status="CREATE_FAILED", reason="denied"),
        Event(resource="Bucket", status="CREATE_COMPLETE"),
    )
    assert failures(events, "CREATE_FAILED") == ["  Queue: denied", "  Table: no table"]


# ─── The key ─────────────────────────────────────────────────────────────────────────────────────


def never() -> str:
    """Fail if a person is asked."""
    raise AssertionError("nobody is asked")


@pytest.mark.parametrize("action", [Action.CREATE, Action.RECREATE])
def test_a_new_stack_gets_the_key_of_the_environment_or_of_a_person(action: Action) -> None:
    environment = {"SEGMIND_API_KEY": f" {KEY}\n"}
    assert choose_key(action, ["DailyBudgetUsd=1"], environment, never) == KEY
    assert choose_key(action, [], {}, lambda: f"{KEY} ") == KEY


def test_an_update_neither_asks_for_the_key_nor_passes_it() -> None:
    environment = {"SEGMIND_API_KEY": KEY}
    assert choose_key(Action.UPDATE, ["DailyBudgetUsd=1"], environment, never) is None


@pytest.mark.parametrize(
    "parameter",
    [
        f"SegmindApiKey={KEY}",
        f'"SegmindApiKey"={KEY}',
        f"DailyBudgetUsd=1 SegmindApiKey={KEY}",
        f"ParameterKey=SegmindApiKey,ParameterValue={KEY}",
    ],
)
def test_a_key_among_the_parameters_is_for_new_stacks_only(parameter: str) -> None:
    assert choose_key(Action.CREATE, [parameter], {}, never) is None
    with pytest.raises(CommandError) as raised:
        choose_key(Action.UPDATE, [parameter], {}, never)
    assert raised.value.code == 2
    assert "Secrets Manager" in raised.value.do_now


@pytest.mark.parametrize("ask", [None, lambda: "", lambda: "two words", lambda: "a\x1bb"])
def test_a_new_stack_without_a_usable_key_is_not_created(ask: Callable[[], str] | None) -> None:
    with pytest.raises(CommandError) as raised:
        choose_key(Action.CREATE, [], {}, ask)
    assert raised.value.code == 2


# ─── The command ─────────────────────────────────────────────────────────────────────────────────

RECORDER = """\
#!{python} -P
import json, os, pathlib, sys

name = pathlib.Path(sys.argv[0]).name
files = [word.removeprefix("file://") for word in sys.argv if word.startswith("file://")]
contents = [
    [pathlib.Path(file).read_text(), oct(os.stat(file).st_mode & 0o777), file] for file in files
]
with open({log!r}, "a") as log:
    print(json.dumps([name, sys.argv[1:], contents, os.getcwd()]), file=log)
sys.exit(int(os.environ.get(f"EXIT_OF_{{name.upper()}}", "0")))
"""


@dataclass(frozen=True)
class Call:
    """A call of a program that was replaced.

    Attributes:
        program: its name.
        words: its arguments.
        files: content, permissions and name of each parameter file.
        folder: its working directory.
    """

    program: str
    words: list[str]
    files: list[list[str]]
    folder: str

    @property
    def parameters(self) -> list[str]:
        """Return what follows --parameter-overrides."""
        if "--parameter-overrides" not in self.words:
            return []
        return self.words[self.words.index("--parameter-overrides") + 1 :]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Call]]:
    """Replace `sam` and `make` on PATH; return what they were called with."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    for name in ("sam", "make"):
        script = folder / name
        script.write_text(RECORDER.format(python=sys.executable, log=str(log)))
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def calls() -> list[Call]:
        lines = log.read_text().splitlines() if log.exists() else []
        return [Call(*json.loads(line)) for line in lines]

    return calls


@pytest.fixture(autouse=True)
def account(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """An AWS account whose CloudFormation responds as scripted."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SEGMIND_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setattr(deploy, "_PATIENT", Config(retries={"total_max_attempts": 1}))
    monkeypatch.setattr("getpass.getpass", never)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123
    return server


def failed(code: str, message: str, status: int = 400) -> Responder:
    """Respond with an error."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return reply(status, f"<ErrorResponse>{error}</ErrorResponse>".encode())


def no_stack(name: str = "retake") -> Responder:
    """Respond that a stack doesn't exist."""
    return failed("ValidationError", f"Stack with id {name} does not exist")


def result(operation: str, content: str = "") -> Responder:
    """Respond with the result of an operation."""
    body = f"<{operation}Result>{content}</{operation}Result>"
    return reply(200, f"<{operation}Response>{body}</{operation}Response>".encode())


def stack(status: str, parameter: str = "SegmindApiKey") -> Responder:
    """Respond with a stack."""
    return result(
        "DescribeStacks",
        f"<Stacks><member><StackId>{STACK_ID}</StackId><StackName>retake</StackName>"
        f"<StackStatus>{status}</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime>"
        f"<Parameters><member><ParameterKey>{parameter}</ParameterKey>"
        "<ParameterValue>****</ParameterValue></member></Parameters></member></Stacks>",
    )


def events(*changes: tuple[str, str, str], page_after: str = "") -> Responder:
    """Respond with events, newest first: the resource, its status, and the reason."""
    members = "".join(
        f"<member><EventId>{number}</EventId><StackId>{STACK_ID}</StackId>"
        f"<StackName>retake</StackName><LogicalResourceId>{resource}</LogicalResourceId>"
        f"<PhysicalResourceId>{STACK_ID if resource == 'retake' else f'id-of-{resource}'}"
        f"</PhysicalResourceId><ResourceStatus>{status}</ResourceStatus>"
        f"<ResourceStatusReason>{reason}</ResourceStatusReason>"
        "<Timestamp>2026-01-01T00:00:00Z</Timestamp></member>"
        for number, (resource, status, reason) in enumerate(changes)
    )
    more = f"<NextToken>{page_after}</NextToken>" if page_after else ""
    return result("DescribeStackEvents", f"<StackEvents>{members}</StackEvents>{more}")


ROLLED_BACK = (
    events(
        ("retake", "ROLLBACK_COMPLETE", ""),
        ("JobsTable", "DELETE_COMPLETE", ""),
        ("SweepLog", "CREATE_FAILED", CANCELED),
        page_after="older",
    ),
    events(
        ("DropQueue", "CREATE_FAILED", "not authorized to perform sqs:CreateQueue"),
        ("retake", "CREATE_IN_PROGRESS", "User Initiated"),
    ),
)


def test_the_first_deployment_builds_and_creates_the_stack_with_the_key(
    account: Server, programs: Callable[[], list[Call]]
) -> None:
    account.responses += [no_stack()]
    words = ["--no-confirm-changeset", "--parameter-overrides", "DailyBudgetUsd=100"]
    done = subprocess.run(  # as `make deploy` in CI: no one is there
        [sys.executable, "-m", "retake_cli.commands.deploy", *words],
        cwd=ROOT,
        env=os.environ | {"SEGMIND_API_KEY": KEY, "PYTHONPATH": str(ROOT / "layers/retake")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Creating the stack retake in eu-central-1" in done.stdout
    build, sam = programs()
    assert (build.program, build.words[-1], build.folder) == ("make", "build", str(ROOT))
    assert (sam.program, sam.words[0], sam.folder) == ("sam", "deploy", str(ROOT))
    assert f"--stack-name retake --region {REGION}" in shlex.join(sam.words)
    assert "--no-confirm-changeset" in sam.words
    assert sam.parameters[1:] == ["DailyBudgetUsd=100"]
    ((content, permissions, file),) = sam.files
    assert sam.parameters[0] == f"file://{file}"
    assert (json.loads(content), permissions) == ({"SegmindApiKey": KEY}, "0o600")
    assert not Path(file).exists()
    assert KEY not in shlex.join(sam.words) + done.stdout + done.stderr


def test_a_person_is_asked_for_the_key_before_the_build(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def type_key(prompt: str) -> str:
        assert programs() == []
        asked.append(prompt)
        return KEY

    monkeypatch.setattr("getpass.getpass", type_key)
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    account.responses += [no_stack()]
    assert deploy.main([]) == 0
    assert len(asked) == 1
    assert json.loads(programs()[-1].files[0][0]) == {"SegmindApiKey": KEY}


def test_a_first_deployment_without_a_key_stops_before_the_build(
    account: Server, programs: Callable[[], list[Call]], capsys: pytest.CaptureFixture[str]
) -> None:
    account.responses += [no_stack()]
    assert deploy.main([]) == 2
    assert "SEGMIND_API_KEY" in capsys.readouterr().err
    assert programs() == []


def test_an_update_passes_only_what_is_named(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_another")
    account.responses += [stack("UPDATE_COMPLETE"), stack("UPDATE_COMPLETE")]
    assert deploy.main([]) == 0
    assert deploy.main(["--parameter-overrides", "DailyBudgetUsd=100", "MaxClipSeconds=9"]) == 0
    plain, named = (call for call in programs() if call.program == "sam")
    assert plain.parameters == []
    assert named.parameters == ["DailyBudgetUsd=100", "MaxClipSeconds=9"]
    assert plain.files == named.files == []
    assert "keep their values" in capsys.readouterr().out


def test_the_stack_region_profile_and_other_options_are_passed_on(
    account: Server, tmp_path: Path, programs: Callable[[], list[Call]]
) -> None:
    (tmp_path / "config").write_text(
        "[profile ops]\nregion = us-east-1\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    account.responses += [stack("CREATE_COMPLETE")]
    words = "--tags a=b c=d --stack mine --profile ops --region eu-west-1 --on-failure DELETE"
    assert deploy.main(words.split()) == 0
    (sam,) = (call for call in programs() if call.program == "sam")
    joined = shlex.join(sam.words)
    assert "--stack-name mine --region eu-west-1 --profile ops" in joined
    assert joined.endswith("--tags a=b c=d --on-failure DELETE")


def test_a_template_that_is_built_already_is_not_built_again(
    account: Server, programs: Callable[[], list[Call]]
) -> None:
    account.responses += [stack("CREATE_COMPLETE")]
    assert deploy.main(["--template-file", "/built.yaml", "--disable-rollback"]) == 0
    (sam,) = programs()
    assert "--template-file /built.yaml --disable-rollback" in shlex.join(sam.words)


def test_a_build_that_fails_deploys_and_deletes_nothing(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXIT_OF_MAKE", "2")
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    account.responses += [stack("ROLLBACK_COMPLETE"), *ROLLED_BACK]
    assert deploy.main([]) == 2
    assert [call.program for call in programs()] == ["make"]
    assert len(account.requests) == 3


def test_a_failed_first_deployment_is_deleted_and_tried_again(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    deleted = (result("DeleteStack"), stack("DELETE_COMPLETE"), events())
    account.responses += [stack("ROLLBACK_COMPLETE"), *ROLLED_BACK, *deleted]
    assert deploy.main([]) == 0
    assert account.responses == []
    output = capsys.readouterr().out
    assert "The first deployment of the stack retake in eu-central-1 failed" in output
    assert "  DropQueue: not authorized to perform sqs:CreateQueue" in output
    assert "SweepLog" not in output
    assert "Kept" not in output
    assert [call.program for call in programs()] == ["make", "sam"]
    assert json.loads(programs()[-1].files[0][0]) == {"SegmindApiKey": KEY}


def test_what_the_deletion_of_a_failed_creation_skips_is_named(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    skipped = events(("InputBucket", "DELETE_SKIPPED", ""))
    deleted = (result("DeleteStack"), stack("DELETE_COMPLETE"), skipped)
    account.responses += [stack("ROLLBACK_FAILED"), *ROLLED_BACK, *deleted]
    assert deploy.main([]) == 0
    assert "Kept, because the deletion skipped it: id-of-InputBucket" in capsys.readouterr().out
    assert programs()[-1].program == "sam"


def test_a_deletion_that_fails_names_the_reasons_and_the_command(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    stuck = events(
        ("retake", "DELETE_FAILED", "The following resource(s) failed to delete"),
        ("InputBucket", "DELETE_FAILED", "The bucket you tried to delete is not empty"),
    )
    account.responses += [
        stack("ROLLBACK_FAILED"),
        *ROLLED_BACK,
        result("DeleteStack"),
        stack("DELETE_FAILED"),
        stuck,
    ]
    assert deploy.main([]) == 1
    error = capsys.readouterr().err
    assert "  InputBucket: The bucket you tried to delete is not empty" in error
    assert f"delete-stack {COMMANDS} --retain-resources InputBucket" in error
    assert "sam" not in [call.program for call in programs()]


def test_a_deletion_that_is_not_allowed_names_the_command(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    denied = failed("AccessDenied", "not authorized to perform cloudformation:DeleteStack", 403)
    account.responses += [stack("ROLLBACK_COMPLETE"), *ROLLED_BACK, denied]
    assert deploy.main([]) == 2
    error = capsys.readouterr().err
    assert "not authorized to perform cloudformation:DeleteStack" in error
    assert f"\n  aws cloudformation delete-stack {COMMANDS}\n" in error
    assert "sam" not in [call.program for call in programs()]


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (failed("AccessDenied", "not authorized", 403), "not authorized"),
        (failed("Throttling", "Rate exceeded"), "Rate exceeded"),
        (failed("ExpiredToken", "The security token is expired", 403), "log in again"),
        (failed("InternalFailure", "sorry", 500), "sorry"),
        (failed("ValidationError", "1 validation error detected"), "1 validation error"),
        (failed("ValidationError", "Role with id x does not exist"), "Role with id x"),
        (failed("AccessDenied", "Stack with id retake does not exist", 403), "permissions"),
    ],
)
def test_a_look_that_fails_is_never_taken_for_a_first_deployment(
    account: Server,
    programs: Callable[[], list[Call]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: Responder,
    message: str,
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    account.responses += [failure]
    assert deploy.main([]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("Nothing was deployed: AWS rejected DescribeStacks: ")
    assert message in printed.err
    assert "Creating" not in printed.out
    assert programs() == []


def test_a_network_that_fails_is_never_taken_for_a_first_deployment(
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert deploy.main([]) == 2
    assert "could not connect to AWS" in capsys.readouterr().err
    assert programs() == []


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (stack("UPDATE_IN_PROGRESS"), "wait until it has finished"),
        (stack("CREATE_COMPLETE", parameter="Database"), "isn't a Retake stack"),
    ],
)
def test_a_stack_that_must_not_be_touched_is_not_built_for(
    account: Server,
    programs: Callable[[], list[Call]],
    capsys: pytest.CaptureFixture[str],
    response: Responder,
    message: str,
) -> None:
    account.responses += [response]
    assert deploy.main([]) == 2
    assert message in capsys.readouterr().err
    assert programs() == []


def test_a_first_deployment_that_fails_can_simply_be_repeated(
    account: Server,
    programs: Callable[[], list[Call]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    monkeypatch.setenv("EXIT_OF_SAM", "1")
    account.responses += [no_stack(), stack("CREATE_COMPLETE")]
    assert deploy.main([]) == 1
    assert "run it again" in capsys.readouterr().err
    assert deploy.main([]) == 1  # SAM has said why
    assert capsys.readouterr().err == ""
    file = programs()[1].files[0][2]
    assert not Path(file).exists()


def test_without_sam_the_command_says_how_to_install_it(
    account: Server, programs: Callable[[], list[Call]], capsys: pytest.CaptureFixture[str]
) -> None:
    account.responses += [stack("CREATE_COMPLETE")]
    assert deploy.main(["--sam", "/nowhere/sam"]) == 2
    assert "make build" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--guided", "-g", "--save-params"])
def test_options_that_save_parameters_are_refused(
    programs: Callable[[], list[Call]], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as end:
        deploy.main([option])
    assert end.value.code == 2
    assert "--parameter-overrides" in capsys.readouterr().err
    assert programs() == []


def test_parameters_that_are_saved_are_refused(
    tmp_path: Path, programs: Callable[[], list[Call]], capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "samconfig.toml"
    saved.write_text('[default.deploy.parameters]\nparameter_overrides = "DailyBudgetUsd=25"\n')
    assert deploy.main(["--config-file", str(saved)]) == 2
    assert "samconfig.toml saves parameters" in capsys.readouterr().err
    assert programs() == []


def test_the_stack_that_samconfig_selects_is_looked_at(
    account: Server, tmp_path: Path, programs: Callable[[], list[Call]]
) -> None:
    saved = tmp_path / "samconfig.toml"
    saved.write_text(
        '[staging.global.parameters]\nstack_name = "retake-staging"\n'
        '[staging.deploy.parameters]\nregion = "ap-east-1"\n'
    )
    account.responses += [stack("CREATE_COMPLETE")]
    assert deploy.main(["--config-file", str(saved), "--config-env", "staging"]) == 0
    words = shlex.join(programs()[-1].words)
    assert "--stack-name retake-staging --region ap-east-1" in words
    assert f"--config-file {saved} --config-env staging" in words


def test_an_interruption_is_said_in_one_line(
    account: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "_asker", lambda: interrupt)
    account.responses += [no_stack()]
    assert deploy.main([]) == 2
    assert capsys.readouterr().err == "Nothing was deployed: interrupted\n"


# ─── make ────────────────────────────────────────────────────────────────────────────────────────


def make(*words: str, folder: Path = ROOT, **variables: str) -> str:
    """Run make, and return what it prints."""
    command = ["make", "--no-print-directory", *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_layer_is_built_with_a_python_that_has_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Debian and Ubuntu, python3 has no pip."""
    log = tmp_path / "log"
    without = '#!/bin/sh\nif [ "$2" = pip ]; then echo "No module named pip" >&2; exit 1; fi\n'
    with_pip = f'#!/bin/sh\necho "$0 $*" >>{log}\n'
    scripts = {"python3": without, "python3.13": without, "python": with_pip, "venv": with_pip}
    for name, script in scripts.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    words = ("build-DependenciesLayer", f"ARTIFACTS_DIR={tmp_path / 'layer'}")
    folder = ROOT / "layers/dependencies"

    make(*words, folder=folder, PIP_PYTHON=str(tmp_path / "venv"))  # as `make build` does
    assert log.read_text().startswith(f"{tmp_path / 'venv'} -m pip install")
    log.write_text("")
    make(*words, folder=folder)  # as `sam build` alone does
    assert f"{tmp_path / 'python'} -m pip install" in log.read_text()


def test_make_build_gives_sam_the_pip_of_the_virtual_environment() -> None:
    assert f'PIP_PYTHON="{ROOT / ".venv/bin/python"}"' in make("--dry-run", "build")


def test_make_deploy_looks_before_it_builds() -> None:
    recipe = make("--dry-run", "deploy", "ARGS=--stack mine")
    assert re.search(r"-m retake_cli.commands.deploy\s.*--stack mine", recipe, re.DOTALL)
    assert "sam build" not in recipe

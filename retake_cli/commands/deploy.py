"""`python -m retake_cli.commands.deploy` builds the application and deploys it with AWS SAM.

It looks at the stack first. The Segmind API key is asked for only when there is none; an update
doesn't touch it, because it may have been rotated since. Of the other parameters, only those that
are named change. What isn't an option of its own goes to `sam deploy`.

Exit codes: 0 done, 1 not finished, 2 nothing was deployed.
"""

import argparse
import getpass
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from retake.aws.dynamodb import error_code

from ..account import explain_aws, open_session
from ..console import CommandError
from ..deployment import (
    KEY_PARAMETER,
    KEY_VARIABLE,
    Action,
    Event,
    FoundStack,
    Target,
    choose_key,
    decide,
    failures,
    instruction,
)
from ..stack import DEFAULT_NAME

ROOT = Path(__file__).resolve().parents[2]
BUILD = ("make", "--no-print-directory", "build")
_PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5)
_DELETION = {"Delay": 5, "MaxAttempts": 360}  # half an hour


class Formation:
    """The stack in CloudFormation.

    Parameters:
        target: where the stack is.
        client: a CloudFormation client of its account and Region.
    """

    def __init__(self, *, target: Target, client: Any) -> None:
        self._target = target
        self._client = client

    def find(self) -> FoundStack | None:
        """Return the stack; `None` only if CloudFormation says that it doesn't exist."""
        name = self._target.stack
        try:
            stack = self._client.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            # There is no error code of its own for this.
            unknown = f"Stack with id {name} does not exist" in str(error)
            if unknown and error_code(error) == "ValidationError":
                return None
            raise
        parameters = {each["ParameterKey"] for each in stack.get("Parameters", [])}
        status = str(stack["StackStatus"])
        return FoundStack(
            id=stack["StackId"],
            status=status,
            is_retake=KEY_PARAMETER in parameters,
            is_protected=stack.get("EnableTerminationProtection", False),
            events=self.events(stack["StackId"]) if _has_failed(status) else (),
        )

    def events(self, stack_id: str) -> tuple[Event, ...]:
        """Read what happened to the stack, newest first."""
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        return tuple(
            Event(
                resource=event["LogicalResourceId"],
                status=event["ResourceStatus"],
                reason=event.get("ResourceStatusReason", ""),
                physical_id=event.get("PhysicalResourceId", ""),
                is_stack=event.get("PhysicalResourceId") == event["StackId"],
            )
            for page in pages
            for event in page["StackEvents"]
        )

    def delete_remains(self, found: FoundStack) -> list[str]:
        """Delete a stack whose creation failed; return the physical IDs of what outlives it.

        The rollback has deleted its resources already. What was used meanwhile is kept.

        Raises:
            CommandError: it isn't deleted; the text says what to do.
        """
        try:
            self._client.delete_stack(StackName=found.id)
        except ClientError as error:
            hint = instruction(
                "delete the stack with credentials that may, then try again:",
                self._target.command("delete-stack"),
            )
            raise CommandError(explain_aws(error).what, hint, 2) from error
        try:
            waiter = self._client.get_waiter("stack_delete_complete")
            waiter.wait(StackName=found.id, WaiterConfig=_DELETION)
        except WaiterError as error:
            raise self._not_deleted(found, str(error)) from error
        events = self.events(found.id)
        kept = [event.physical_id for event in events if event.status == "DELETE_SKIPPED"]
        return list(dict.fromkeys(kept))

    def _not_deleted(self, found: FoundStack, reason: str) -> CommandError:
        events = self.events(found.id)
        reasons = failures(events, "DELETE_FAILED") or [f"  {reason}"]
        resources = sorted(
            {
                event.resource
                for event in events
                if event.status == "DELETE_FAILED" and not event.is_stack
            }
        )
        keep = ["--retain-resources", *resources] if resources else []
        hint = instruction(
            "fix this and try again, or keep these resources, then try again:",
            self._target.command("delete-stack", *keep),
        )
        what = "CloudFormation couldn't delete what the first deployment left:"
        return CommandError("\n".join([what, *reasons]), hint)


def _has_failed(status: str) -> bool:
    return status.endswith("FAILED") or status == "ROLLBACK_COMPLETE"


def saved_options(config_file: Path, environment: str) -> dict[str, Any]:
    """Return the options of `sam deploy` that are saved in SAM's configuration file.

    Raises:
        CommandError: it can't be read, or parameters are saved in it.
    """
    try:
        configuration = tomllib.loads(config_file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CommandError(f"{config_file} can't be read: {error}", "", 2) from error
    sections = configuration.get(environment, {})
    options: dict[str, Any] = {}
    for section in ("global", "deploy"):
        options |= sections.get(section, {}).get("parameters", {})
    if "parameter_overrides" in options:
        what = f"{config_file.name} saves parameters, which every deployment would set again"
        hint = "remove parameter_overrides from it; parameters that aren't named keep their values"
        raise CommandError(what, hint, 2)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Look at the stack, build, and create or update it; return the exit code."""
    given, passed_on = _parse(arguments)
    begun = False
    try:
        target, formation, found = _look(given)
        action = decide(target, found, disable_rollback=given.disable_rollback)
        _say_what_is_done(target, found, action)
        key = choose_key(action, given.parameter_overrides, os.environ, _asker())
        _build(given)
        begun = True
        if found and action is Action.RECREATE:
            _delete_remains(formation, found)
        return _deploy(given, target, passed_on, key, action)
    except CommandError as problem:
        code = problem.code
        _explain(problem, begun=begun and code == 1)
    except (BotoCoreError, ClientError) as error:
        code = 1 if begun else 2
        _explain(explain_aws(error), begun=begun)
    except KeyboardInterrupt:
        code = 1 if begun else 2
        hint = "CloudFormation may still be at work; run it again to find out" if begun else ""
        _explain(CommandError("interrupted", hint), begun=begun)
    return code


def _parse(arguments: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m retake_cli.commands.deploy",
        description="Build the application, and create or update its stack.",
        epilog="All other options are passed to `sam deploy`.",
        allow_abbrev=False,
    )
    parser.add_argument("--stack", "--stack-name", help="name of the stack")
    parser.add_argument("--profile", help="AWS profile")
    parser.add_argument("--region", help="AWS Region")
    parser.add_argument(
        "--parameter-overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="parameters to set; all others keep their values",
    )
    parser.add_argument(
        "--template-file", "--template", "-t", help="a template to deploy without building"
    )
    parser.add_argument("--disable-rollback", action="store_true", help="keep what was deployed")
    parser.add_argument("--config-file", default="samconfig.toml", help="SAM's configuration")
    parser.add_argument("--config-env", default="default", help="its environment")
    parser.add_argument("--sam", default="sam", help="the AWS SAM CLI")
    given, passed_on = parser.parse_known_args(arguments)
    if not {"--guided", "-g", "--save-params"}.isdisjoint(passed_on):
        parser.error(
            "--guided and --save-params save all parameters, and later deployments would set them "
            "again; name parameters with --parameter-overrides"
        )
    return given, passed_on


def _look(given: argparse.Namespace) -> tuple[Target, Formation, FoundStack | None]:
    saved = saved_options(ROOT / given.config_file, given.config_env)
    profile = given.profile or saved.get("profile")
    session = open_session(profile, given.region or saved.get("region"))
    target = Target(
        stack=given.stack or saved.get("stack_name", DEFAULT_NAME),
        region=session.region_name,
        profile=profile,
    )
    client = session.client("cloudformation", config=_PATIENT)
    formation = Formation(target=target, client=client)
    return target, formation, formation.find()


def _say_what_is_done(target: Target, found: FoundStack | None, action: Action) -> None:
    where = f"the stack {target.stack} in {target.region}"
    if action is Action.CREATE:
        _say(f"Creating {where}. Parameters that aren't named get their defaults.")
    elif action is Action.UPDATE:
        _say(f"Updating {where}. Parameters that aren't named keep their values.")
        if os.environ.get(KEY_VARIABLE):
            _say(f"The key in Secrets Manager stays as it is; {KEY_VARIABLE} isn't used.")
    elif found:
        _say(f"The first deployment of {where} failed ({found.status}):")
        for line in failures(found.events, "CREATE_FAILED"):
            _say(line)
        _say("What is left of it is deleted, then it is created again.")


def _asker() -> Callable[[], str] | None:
    if not sys.stdin.isatty():
        return None
    return _ask_for_key


def _ask_for_key() -> str:
    try:
        return getpass.getpass("Segmind API key (it isn't shown): ")
    except EOFError:
        return ""


def _build(given: argparse.Namespace) -> None:
    if given.template_file:
        return
    if subprocess.run(BUILD, cwd=ROOT, check=False).returncode:
        raise CommandError("the build failed", "see above", 2)


def _delete_remains(formation: Formation, found: FoundStack) -> None:
    for physical_id in formation.delete_remains(found):
        _say(f"Kept, because the deletion skipped it: {physical_id}")
    _say("What the first deployment left is deleted.")


def _deploy(
    given: argparse.Namespace,
    target: Target,
    passed_on: Sequence[str],
    key: str | None,
    action: Action,
) -> int:
    with _key_file(key) as key_parameters:
        command = [
            given.sam,
            "deploy",
            *target.options,
            *("--config-file", str(ROOT / given.config_file), "--config-env", given.config_env),
            *(["--template-file", given.template_file] if given.template_file else []),
            *(["--disable-rollback"] if given.disable_rollback else []),
            *passed_on,
        ]
        parameters = [*key_parameters, *given.parameter_overrides]
        if parameters:
            command += ["--parameter-overrides", *parameters]
        try:
            done = subprocess.run(command, cwd=ROOT, check=False)
        except FileNotFoundError as error:
            hint = "run `make build`, which installs it"
            raise CommandError("there is no AWS SAM CLI", hint, 2) from error
    if done.returncode == 0:
        return 0
    if action is not Action.UPDATE:
        hint = "fix the cause and run it again: what is left of it is deleted first"
        raise CommandError("the first deployment failed; see above", hint)
    return 1


@contextmanager
def _key_file(key: str | None) -> Iterator[list[str]]:
    """Write the key to a file that only this user can read: arguments are visible to all."""
    if key is None:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({KEY_PARAMETER: key}, file)  # JSON is YAML
        file.flush()
        yield [f"file://{file.name}"]


def _explain(problem: CommandError, *, begun: bool) -> None:
    state = "Not finished" if begun else "Nothing was deployed"
    print(f"{state}: {problem.what}", file=sys.stderr)
    if problem.do_now:
        print(problem.do_now, file=sys.stderr)


def _say(text: str) -> None:
    print(text, flush=True)  # before what SAM prints


if __name__ == "__main__":
    sys.exit(main())

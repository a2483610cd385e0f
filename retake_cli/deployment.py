"""Decides what a deployment does with a stack, and with the Segmind API key. It calls nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .console import CommandError

KEY_PARAMETER = "SegmindApiKey"
KEY_VARIABLE = "SEGMIND_API_KEY"
_SHOWN_FAILURES = 5
_DEPLOYED = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_CONSEQUENTIAL = "creation cancel"  # of a resource that failed because another one did


class Action(Enum):
    """What has to be done with a stack."""

    CREATE = "create"
    RECREATE = "delete what a failed creation left, and create"
    UPDATE = "update"


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to a resource of a stack, or to the stack itself.

    Attributes:
        resource: its logical ID.
        status: what it became.
        reason: why; empty if there is none.
        physical_id: its physical ID; empty if there is none.
        is_stack: whether it is the stack itself.
    """

    resource: str
    status: str
    reason: str = ""
    physical_id: str = ""
    is_stack: bool = False


@dataclass(frozen=True, kw_only=True)
class FoundStack:
    """A stack that exists.

    Attributes:
        id: its ID.
        status: its status.
        is_retake: whether it is a stack of this application.
        is_protected: whether it is protected from deletion.
        events: what happened to it, newest first; only read if something failed.
    """

    id: str
    status: str
    is_retake: bool = True
    is_protected: bool = False
    events: tuple[Event, ...] = ()

    @property
    def was_deployed(self) -> bool:
        """Tell whether the stack was ever complete. If nobody knows anymore, it was."""
        own = [event.status for event in self.events if event.is_stack]
        begins = bool(own) and own[-1] in ("CREATE_IN_PROGRESS", "REVIEW_IN_PROGRESS")
        return not begins or not _DEPLOYED.isdisjoint(own)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a stack is, or will be.

    Attributes:
        stack: its name.
        region: its Region.
        profile: the AWS profile, if one is named.
    """

    stack: str
    region: str
    profile: str | None = None

    @property
    def options(self) -> list[str]:
        """Return the options that select the stack; they are the same for the AWS CLI and SAM."""
        profile = ["--profile", self.profile] if self.profile else []
        return ["--stack-name", self.stack, "--region", self.region, *profile]

    def command(self, verb: str, *options: str) -> str:
        """Return a command of the AWS CLI for the stack."""
        return " ".join(["aws", "cloudformation", verb, *self.options, *options])


def decide(target: Target, found: FoundStack | None, *, disable_rollback: bool = False) -> Action:
    """Tell what has to be done with a stack.

    Parameters:
        target: where it is.
        found: the stack, if it exists.
        disable_rollback: whether a failed operation is resumed, not rolled back.

    Raises:
        CommandError: it can't be deployed as it is; the text says what to do first.
    """
    # A change set that was never executed leaves a stack without resources.
    if found is None or found.status in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE"):
        return Action.CREATE
    what = f"the stack {target.stack} is in status {found.status}"
    if not found.is_retake:
        hint = "choose another name with --stack"
        raise CommandError(f"the stack {target.stack} isn't a Retake stack", hint, 2)
    if found.status.endswith("_IN_PROGRESS"):
        raise CommandError(what, "wait until it has finished, then try again", 2)
    if found.status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        return _recreate(target, found)
    if found.status == "DELETE_FAILED":
        if found.was_deployed:
            hint = f'run `make destroy ARGS="--stack {target.stack}"` first, which says why'
            raise CommandError(f"{what}: its deletion isn't finished", hint, 2)
        return _recreate(target, found)
    if found.status in ("CREATE_FAILED", "UPDATE_FAILED"):
        if disable_rollback:
            return Action.UPDATE
        hint = instruction(
            "fix the cause, then resume with --disable-rollback, or roll back first:",
            target.command("rollback-stack", "--retain-except-on-create"),
        )
        raise CommandError(f"{what}: it failed, and wasn't rolled back", hint, 2)
    if found.status == "UPDATE_ROLLBACK_FAILED":
        command = target.command("continue-update-rollback")
        hint = instruction("fix the cause, then finish the rollback, then try again:", command)
        raise CommandError(f"{what}: a failed update couldn't be rolled back", hint, 2)
    if found.status.endswith("_COMPLETE"):
        return Action.UPDATE
    hint = instruction("find out why, and fix it:", target.command("describe-stack-events"))
    raise CommandError(what, hint, 2)


def _recreate(target: Target, found: FoundStack) -> Action:
    if found.is_protected:
        command = target.command(
            "update-termination-protection", "--no-enable-termination-protection"
        )
        what = "the first deployment failed, and the stack is protected from deletion"
        raise CommandError(what, instruction("turn that off, then try again:", command), 2)
    return Action.RECREATE


def failures(events: Sequence[Event], status: str) -> list[str]:
    """Return what failed first, and why.

    Parameters:
        events: the stack's events, newest first.
        status: the status of a resource that failed.
    """
    reasons: dict[str, str] = {}
    for event in reversed(events):
        is_cause = not event.is_stack and _CONSEQUENTIAL not in event.reason
        if event.status == status and is_cause:
            reasons.setdefault(event.resource, event.reason)
    return [f"  {resource}: {reason}" for resource, reason in reasons.items()][:_SHOWN_FAILURES]


def choose_key(
    action: Action,
    parameters: Sequence[str],
    environment: Mapping[str, str],
    ask: Callable[[], str] | None,
) -> str | None:
    """Return the Segmind API key of a new stack; `None` if it isn't passed.

    Parameters:
        action: what is done with the stack.
        parameters: the parameters that are named.
        environment: the environment variables.
        ask: asks for the key; `None` if there is no one to ask.

    Raises:
        CommandError: there is no key, or it would replace the one of an existing stack.
    """
    is_named = any(_names_key(parameter) for parameter in parameters)
    if action is Action.UPDATE:
        if is_named:
            hint = "rotate it in Secrets Manager; see docs/troubleshooting.md#rotate-the-api-key"
            raise CommandError(f"a deployment doesn't change {KEY_PARAMETER}", hint, 2)
        return None
    if is_named:
        return None
    key = environment.get(KEY_VARIABLE, "").strip()
    if not key and ask:
        key = ask().strip()
    if not key:
        hint = f"set {KEY_VARIABLE}, or run the command in a terminal"
        raise CommandError("the first deployment needs the Segmind API key", hint, 2)
    if not key.isprintable() or " " in key:
        raise CommandError("the Segmind API key contains spaces or control characters", "", 2)
    return key


def _names_key(parameter: str) -> bool:
    unquoted = parameter.replace('"', "").replace("'", "")
    assignments = (f"{KEY_PARAMETER}=", f"ParameterKey={KEY_PARAMETER},")
    return any(word.startswith(assignments) for word in unquoted.split())


def instruction(text: str, command: str) -> str:
    """Return what to do, with a command on a line of its own."""
    return f"{text}\n  {command}"

"""`retake`, the operator's command: the verbs, the common options, and what errors look like."""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from .account import RESUME, explain_aws
from .commands import cost, doctor, drop, gallery, ls, redrive, refinish, retry, show, watch
from .console import CommandError, Screen
from .session import Session

_VERBS: tuple[Callable[..., Any], ...] = (
    drop.drop,
    ls.ls,
    show.show,
    watch.watch,
    retry.retry,
    refinish.refinish,
    cost.cost,
    gallery.gallery,
    doctor.doctor,
    redrive.redrive,
)
_COMMON_OPTIONS = ("--stack", "--profile", "--region")
_EPILOG = (
    "All commands accept --stack, --profile, --region, and --json. "
    "Exit codes: 0 success, 1 failure, 2 invalid or not found."
)

app = typer.Typer(
    name="retake",
    help="Drop a clip and a sidecar, get the retake back.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common(
    context: typer.Context,
    stack: Annotated[
        str | None,
        typer.Option(envvar="RETAKE_STACK", help="Name of the CloudFormation stack."),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile, as for the AWS CLI.")] = None,
    region: Annotated[
        str | None,
        typer.Option(envvar="AWS_REGION", help="AWS Region, as for the AWS CLI."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Drop a clip and a sidecar, get the retake back."""
    context.obj = Session(stack_name=stack, profile=profile, region=region, screen=Screen(as_json))


for verb in _VERBS:
    app.command(epilog=_EPILOG)(verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code; errors are explained instead of raised."""
    given = common_options_first(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="retake")
    except CommandError as problem:
        _exit(given, problem)
    except (ClientError, BotoCoreError, Boto3Error) as error:
        _exit(given, explain_aws(error))
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        _exit(given, CommandError(what, f"fix it, then {RESUME}"))


def common_options_first(arguments: Sequence[str]) -> list[str]:
    """Move the options of all commands to the front: people write them anywhere."""
    common: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--json" or word.startswith(tuple(f"{name}=" for name in _COMMON_OPTIONS)):
            common.append(word)
        elif word in _COMMON_OPTIONS:
            common.append(word)
            common += [value for value in (next(words, None),) if value is not None]
        else:
            rest.append(word)
    return common + rest


def _exit(arguments: Sequence[str], problem: CommandError) -> None:
    Screen("--json" in arguments).explain(problem)
    sys.exit(problem.code)

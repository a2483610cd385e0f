"""`retake`, the operator's command: thin commands, each for one module."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from retake.rules.sidecar import SCHEMA
from retake.rules.states import State

from . import costs, doctor, drops, gallery, jobs, listing, repair
from .console import Problem, Screen, plain, usd
from .planning import Wish
from .stack import Stack, find

_MODES = SCHEMA["properties"]["mode"]["enum"]
_EVERYWHERE = ("--stack", "--profile", "--region")
_EPILOG = "Every command takes --stack, --profile, --region and --json. Exit code: 0 done, 1 something failed, 2 not understood or found."

app = typer.Typer(
    name="retake",
    help="Drop a clip and a note, get the retake back.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass
class Session:
    """What all commands share: the stack, once it is needed, and the screen."""

    name: str | None
    profile: str | None
    region: str | None
    screen: Screen = field(default_factory=Screen)

    @cached_property
    def stack(self) -> Stack:
        stack = find(self.name, self.profile, self.region)
        if not self.screen.as_json:
            self.screen.say(f"on {stack.where}")
        return stack


@app.callback()
def common(
    context: typer.Context,
    stack: Annotated[str | None, typer.Option(envvar="RETAKE_STACK", help="Its name in CloudFormation.")] = None,
    profile: Annotated[str | None, typer.Option(help="The AWS profile, as for the AWS CLI.")] = None,
    region: Annotated[str | None, typer.Option(envvar="AWS_REGION", help="The AWS region, as for the AWS CLI.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Give JSON, for programs.")] = False,
) -> None:
    """Drop a clip and a note, get the retake back."""
    context.obj = Session(stack, profile, region, Screen(as_json))


Prefix = Annotated[str, typer.Option(help="Only what lies under this folder of the bucket.")]


def _checked_modes(modes: list[str]) -> list[str]:
    for mode in modes:
        if mode not in _MODES:
            raise typer.BadParameter(f"{mode} does not exist; choose one of {', '.join(_MODES)}")
    return modes


@app.command(epilog=_EPILOG)
def drop(
    context: typer.Context,
    clips: Annotated[list[Path], typer.Argument(exists=True, metavar="CLIP…", help="MP4 files, or folders with some.")],
    prompt: Annotated[str | None, typer.Option(help="What the clips shall become.")] = None,
    mode: Annotated[list[str], typer.Option(callback=_checked_modes, help="How far they may go; several make one job each.")] = [],  # noqa: B006 - typer copies it
    first_frame: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="An image: so shall it begin.")] = None,
    prefix: Annotated[str, typer.Option(help="The folder in the bucket.")] = "",
    rerun: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Pay for another take of the same: 1, 2, 3 …")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be dropped and paid.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the retakes are here.")] = False,
    out: Annotated[Path, typer.Option(file_okay=False, help="Where --wait saves them.")] = Path("retakes"),
) -> None:
    """Check clips here, then drop them, with a note each.

    A note beside a clip (clip.json) decides; the options fill in what it leaves out, then the preset of its folder (_retake.json), which
    a folder takes along. Several --mode give each job a name of its own (clip.flex_1.mp4, clip.flex_3.mp4), so that none overwrites
    another. What was dropped before costs nothing.
    """
    session: Session = context.obj
    wish = Wish(prompt, tuple(dict.fromkeys(mode)), first_frame, prefix, rerun)
    done = drops.run(session.stack, session.screen, clips, wish, drops.How(dry_run, wait, out))
    raise typer.Exit(done)


@app.command(epilog=_EPILOG)
def ls(
    context: typer.Context,
    prefix: Prefix = "",
    state: Annotated[list[State], typer.Option(case_sensitive=False, help="Only jobs in this state; may be given again.")] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=0, help="How many; 0 for all.")] = 50,
) -> None:
    """List jobs, newest first."""
    session: Session = context.obj
    rows = listing.chosen(jobs.everything(session.stack.table), state, prefix)
    shown = rows[: limit or None]
    more = Text(f" ({len(shown)} newest shown; --limit 0 shows all)", "dim") if len(shown) < len(rows) else Text()
    pictures: list[Any] = [listing.listing(shown, session.screen.out.width), ""] if shown else []
    session.screen.show([listing.told(row) for row in shown], *pictures, listing.summary(rows) + more)


@app.command(epilog=_EPILOG)
def show(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB|KEY", help="A clip's key in the bucket, or the first 8 signs of a job's id.")],
) -> None:
    """Tell a job's story."""
    session: Session = context.obj
    row, *others = listing.find(jobs.everything(session.stack.table), job)
    session.screen.show(listing.told(row) | {"other_takes": [listing.told(other) for other in others]}, listing.story(row, others))


@app.command(epilog=_EPILOG)
def watch(
    context: typer.Context,
    prefix: Prefix = "",
    until_done: Annotated[bool, typer.Option("--until-done", help="End when nothing more goes on by itself.")] = False,
) -> None:
    """Watch what is under way."""
    session: Session = context.obj
    try:
        listing.watch(session.stack, session.screen, prefix, until_done)
    except KeyboardInterrupt:
        session.screen.say("stopped watching; the work goes on")
        raise typer.Exit(130) from None


@app.command(epilog=_EPILOG)
def retry(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[JOB|KEY]…", help="Which; as for `show`.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed or were refused.")] = False,
    prefix: Prefix = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
) -> None:
    """Drop the files of failed or refused jobs again.

    They are taken as they are in the bucket.
    """
    session: Session = context.obj
    if bool(names) == failed:
        raise Problem("say which jobs: their keys, or --failed", "`retake ls --state FAILED` lists them", 2)
    rows = jobs.everything(session.stack.table)
    picked = [row for row in listing.chosen(rows, (), prefix) if repair.may_be_retried(row)]
    picked = picked if failed else [listing.find(rows, name)[0] for name in names or []]
    tried = [repair.Retried(row["key"]) if dry_run else repair.retry(session.stack, row) for row in picked]
    lines = [Text(f"{plain(one.key)}  {one.refused or ('would be ' if dry_run else '') + 'dropped again'}") for one in tried]
    booked = sum(one.usd for one in tried)
    sums = Text(f"about {usd(booked)} USD if they succeed" if booked else "nothing to try again", "dim")
    session.screen.show([vars(one) for one in tried], *lines, sums)
    raise typer.Exit(int(not failed and any(one.refused for one in tried)))


@app.command(epilog=_EPILOG)
def cost(
    context: typer.Context,
    prefix: Prefix = "",
    most: Annotated[int, typer.Option("--limit", min=1, help="How many days and folders are shown.")] = 14,
) -> None:
    """Add up what was paid, and what is left today."""
    session: Session = context.obj
    rows = listing.chosen(jobs.everything(session.stack.table), (), prefix)
    told = costs.report(rows, costs.budget(session.stack))
    session.screen.show(told, costs.picture(told, most))


@app.command("gallery", epilog=_EPILOG)
def picture(
    context: typer.Context,
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder for the page and its videos.")] = Path("gallery"),
    signed: Annotated[float | None, typer.Option(min=0.1, max=168, metavar="HOURS", help="Link to the buckets, not to copies.")] = None,
) -> None:
    """Make one page of before and after, to open from disk."""
    session: Session = context.obj
    s3, now, life = session.stack.s3, datetime.now(UTC), timedelta(hours=signed or 0)
    link = gallery.Signed(s3, life) if life else gallery.Beside(s3, out)
    columns = (TextColumn("fetching"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=session.screen.err, transient=True, disable=session.screen.as_json) as progress:
        takes = gallery.collect(session.stack.table, s3, link, progress.track)
    page = gallery.write(gallery.render(takes, "Retake", now, now + life if life else None), out)
    session.screen.show({"page": str(page), "takes": len(takes)}, Text(f"{len(takes)} takes; open {page} in a browser"))


@app.command("doctor", epilog=_EPILOG)
def examine(context: typer.Context) -> None:
    """Say what keeps clips from coming back, and the cure."""
    session: Session = context.obj
    findings = doctor.examine(session.stack)
    session.screen.show(doctor.as_json(findings), doctor.picture(findings))
    raise typer.Exit(int(any(finding.verdict == doctor.MEND for finding in findings)))


@app.command(epilog=_EPILOG)
def redrive(context: typer.Context) -> None:
    """Send the drops and notices in the dead-letter queues back."""
    session: Session = context.obj
    sent, events = repair.redrive(session.stack), repair.redrive_events(session.stack)
    said = [f"{sent} drops are sent back"] * bool(sent)
    said += [f"{events['notices']} notices are sent back: the next mail tells of them"] * bool(events["notices"])
    said += [f"{events['ends']} ends of wait-loops are removed: sweep looks after their jobs"] * bool(events["ends"])
    said += [f"{events['left']} events are left in their queue: they are not understood, read them yourself"] * bool(events["left"])
    session.screen.show({"sent_back": sent, **events}, *map(Text, said or ["nothing is dead"]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process with its exit code, and with words instead of a traceback."""
    given = _common_first(list(sys.argv[1:] if arguments is None else arguments))
    try:
        app(given, prog_name="retake")
    except Problem as problem:
        _end(given, problem)
    except (ClientError, BotoCoreError, Boto3Error) as error:
        _end(given, _of_aws(error))
    except OSError as error:
        _end(
            given, Problem(f"{error.filename or 'a file'}: {error.strerror or error}", "mend it; the same command goes on where it stopped")
        )


def _end(given: Sequence[str], problem: Problem) -> None:
    Screen("--json" in given).explain(problem)
    sys.exit(problem.code)


def _common_first(given: list[str]) -> list[str]:
    """Put the options of every command before it, wherever they stand, as people expect."""
    common: list[str] = []
    rest: list[str] = []
    words = iter(given)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--json" or word.startswith(tuple(f"{name}=" for name in _EVERYWHERE)):
            common.append(word)
        elif word in _EVERYWHERE:
            common += [word, *([value] if (value := next(words, None)) is not None else [])]
        else:
            rest.append(word)
    return common + rest


def _of_aws(error: Exception) -> Problem:
    """Say in plain words what AWS said."""
    if isinstance(error, NoCredentialsError):
        return Problem("there are no AWS credentials", "run `aws configure` or `aws sso login`, or give --profile")
    if isinstance(error, HTTPClientError):
        return Problem(f"AWS cannot be reached: {error}", "look at the network; if this is the embedded cloud: make down, make up")
    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
        what = f"AWS refuses {error.operation_name}: {error.response['Error'].get('Message') or code}"
        expired = "log in again (aws sso login)" if "Expired" in code or "Token" in code else ""
        denied = "use a --profile that may do this" if "Denied" in code or code == "403" else ""
        return Problem(what, expired or denied or "the same command goes on where it stopped")
    return Problem(str(error), "the same command goes on where it stopped")

"""`retake show` shows everything about one job."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from retake.domain.job import TERMINAL, Job
from retake.domain.status_file import printable

from .. import jobs
from ..console import clock_time, duration, state_text, usd
from ..jobs import SHORT_ID_CHARACTERS, Entry
from ..session import Session

_FIELDS = (
    "job",
    "prompt",
    "mode",
    "first_frame",
    "first_frame_url",
    "rerun",
    "request_id",
    "result",
)


def show(
    context: typer.Context,
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB|KEY",
            help="Key of the clip in the input bucket, or at least the first 8 characters "
            "of a job ID.",
        ),
    ],
) -> None:
    """Show the history and details of a job."""
    session: Session = context.obj
    entry, *others = jobs.find(session.stack.table, job)
    value = jobs.as_json(entry) | {"other_takes": [jobs.as_json(other) for other in others]}
    session.screen.show(value, details(entry, others))


def details(entry: Entry, others: Sequence[Entry]) -> Group:
    """Draw everything that is known about an entry, and list the other takes of its key."""
    status = jobs.as_json(entry)
    title = Text.assemble(state_text(entry.state), "  ", overflow="fold")
    title.append(printable(status.get("message") or ""))
    lines = [title]
    if "reason" in status:
        lines.append(Text(printable(status["reason"]), "yellow"))
    if "do_now" in status:
        lines.append(Text(f"what to do: {printable(status['do_now'])}", "bold"))
    return Group(*lines, "", _facts(entry, status, others), "", _history(entry))


def _facts(entry: Entry, status: dict[str, Any], others: Sequence[Entry]) -> Table:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("clip", Text(printable(status.get("clip") or status["file"])))
    for name in _FIELDS:
        if name in status:
            facts.add_row(name.replace("_", " "), Text(printable(status[name])))
    if "seconds" in status:
        facts.add_row("length", f"{status['seconds']:.1f} s")
    if paid := jobs.paid_usd(entry):
        booked = "" if "cost_usd" in status else ", booked until the actual cost is known"
        facts.add_row("cost", f"{usd(paid)} USD{booked}")
    if others:
        facts.add_row("other takes", Text("\n".join(map(_other_take, others))))
    return facts


def _other_take(entry: Entry) -> str:
    job_id = entry.id[:SHORT_ID_CHARACTERS] if isinstance(entry, Job) else ""
    return f"{job_id}  {entry.state}"


def _history(entry: Entry) -> Table:
    """Draw when an entry reached each state, and how long it stayed there."""
    moments = sorted(entry.entered.items(), key=lambda moment: moment[1])
    ends: list[datetime | None] = [moment for _, moment in moments[1:]]
    history = Table(box=None, show_header=False, pad_edge=False)
    for (state, moment), end in zip(moments, [*ends, None], strict=True):
        stayed = "" if state in TERMINAL else f"for {duration(jobs.seconds_since(moment, end))}"
        history.add_row(Text(clock_time(moment), "dim"), state_text(state), Text(stayed, "dim"))
    return history

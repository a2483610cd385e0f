"""`retake ls` lists jobs."""

from typing import Annotated, Any

import typer
from rich.text import Text

from retake.domain.job import State

from .. import jobs, listing
from ..session import Prefix, Session


def ls(
    context: typer.Context,
    prefix: Prefix = "",
    state: Annotated[
        list[State],
        typer.Option(
            case_sensitive=False,
            help="Include only jobs in this state. Repeat the option for several states.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    limit: Annotated[int, typer.Option(min=0, help="Number of jobs to list; 0 for all.")] = 50,
) -> None:
    """List jobs, newest first."""
    session: Session = context.obj
    table, screen = session.stack.table, session.screen
    if limit:
        entries = jobs.read_newest(table, state, prefix, limit + 1)
    else:
        entries = jobs.select(jobs.read_all(table, screen.counting), state, prefix)
    shown = entries[: limit or None]
    summary = listing.summary(shown)
    if len(shown) < len(entries):
        summary += Text(f" (showing the newest {len(shown)}; add --limit 0 to show all)", "dim")
    drawings: list[Any] = []
    if shown:
        drawings = [listing.table(shown, screen.out.width), ""]
    screen.show([jobs.as_json(entry) for entry in shown], *drawings, summary)

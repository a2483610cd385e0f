"""`retake watch` shows jobs while they move."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from retake.domain.job import TERMINAL, Job
from retake.domain.status_file import printable

from .. import jobs, listing
from ..console import Screen, clock_time
from ..jobs import Entry
from ..session import Prefix, Session
from ..stack import Stack

REFRESH_SECONDS = 2.0
_OTHER_LINES = 6  # of the screen, that the table cannot use
_MIN_LINES = 3


def watch(
    context: typer.Context,
    prefix: Prefix = "",
    until_done: Annotated[
        bool,
        typer.Option("--until-done", help="Exit when no job can continue without a person."),
    ] = False,
) -> None:
    """Watch jobs in progress; of many held jobs, those that come first."""
    session: Session = context.obj
    try:
        Watcher(stack=session.stack, screen=session.screen, prefix=prefix).run(until_done)
    except KeyboardInterrupt:
        session.screen.say("stopped watching; the jobs continue")
        raise typer.Exit(130) from None


class Watcher:
    """Shows the jobs in progress, and those that end meanwhile.

    Parameters:
        stack: the stack.
        screen: where they are shown.
        prefix: only keys that begin with this are watched.
    """

    def __init__(self, *, stack: Stack, screen: Screen, prefix: str) -> None:
        self._stack, self._screen, self._prefix = stack, screen, prefix
        self._seen: dict[str, Entry] = {}
        self._printed: dict[str, str] = {}

    def run(self, until_done: bool) -> None:
        """Watch until the user stops it.

        Parameters:
            until_done: whether to end when no job can continue without a person.
        """
        live = Live(console=self._screen.out, auto_refresh=False, transient=True)
        with live if self._screen.is_live else nullcontext():
            while True:
                unfinished = self._refresh()
                entries = self._in_order()
                if self._screen.is_live:
                    live.update(self._drawing(entries), refresh=True)
                else:
                    self._print_changes(entries)
                if until_done and all(map(jobs.needs_attention, unfinished)):
                    break
                time.sleep(REFRESH_SECONDS)
        if self._screen.is_live:
            self._screen.out.print(_summary(entries))

    def _refresh(self) -> list[Entry]:
        """Read what is in progress, and what has ended since; return the former."""
        unfinished = jobs.read_unfinished(self._stack.follow_ups, self._prefix)
        moving = {jobs.identity(entry): entry for entry in unfinished}
        gone = [
            name
            for name, entry in self._seen.items()
            if name not in moving and entry.state not in TERMINAL
        ]
        ended = self._stack.jobs.get_many(
            name for name in gone if isinstance(self._seen[name], Job)
        )
        kept = {name: entry for name, entry in self._seen.items() if name not in gone}
        self._seen = kept | ended | moving
        return unfinished

    def _in_order(self) -> list[Entry]:
        """Return what is in progress before what has ended, each newest first."""
        newest_first = sorted(self._seen.values(), key=lambda entry: entry.began, reverse=True)
        return sorted(newest_first, key=lambda entry: entry.state in TERMINAL)

    def _drawing(self, entries: Sequence[Entry]) -> Group:
        fitting = self._fitting(entries)
        hidden = len(entries) - len(fitting)
        more = f"{hidden} more do not fit on the screen. " if hidden else ""
        hint = Text(f"\n{more}Ctrl-C stops watching, not the jobs.", "dim")
        summary = _summary(entries) + hint
        if not entries:
            return Group(summary)
        table = listing.table(fitting, self._screen.out.width, one_line_keys=True)
        return Group(table, Text(), summary)

    def _fitting(self, entries: Sequence[Entry]) -> list[Entry]:
        room = max(_MIN_LINES, self._screen.out.height - _OTHER_LINES)
        fitting: list[Entry] = []
        for entry in entries:
            room -= 2 if jobs.explanation(entry) else 1
            if room < 0:
                break
            fitting.append(entry)
        return fitting

    def _print_changes(self, entries: Sequence[Entry]) -> None:
        """Print a line for every change: JSON for programs, text for logs."""
        for entry in entries:
            name = jobs.identity(entry)
            status = f"{entry.state}  {printable(jobs.explanation(entry))}".rstrip()
            if self._printed.get(name) == status:
                continue
            self._printed[name] = status
            if self._screen.as_json:
                self._screen.show_line(jobs.as_json(entry))
                continue
            at = clock_time(max(entry.entered.values()))
            self._screen.out.print(Text(f"{at}  {printable(entry.key)}  {status}"), soft_wrap=True)


def _summary(entries: Sequence[Entry]) -> Text:
    return listing.summary(entries) if entries else Text("no jobs in progress", "dim")

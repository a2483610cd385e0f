"""The screen: colors, times, amounts, and JSON, for people and for programs."""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from retake.domain.job import State
from retake.domain.status_file import printable

Item = TypeVar("Item")

WIDTH_WITHOUT_TERMINAL = 160  # columns; a pipe has no width, and keys should not be broken there
_COLORS = {
    State.DELIVERED: "green",
    State.HELD: "yellow",
    State.WAITING: "magenta",
    State.SUBMIT_UNKNOWN: "yellow",
    State.FAILED: "red",
    State.REFUSED: "red",
    State.LOST: "red",
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class CommandError(Exception):
    """Something could not be done.

    Attributes:
        what: what happened.
        do_now: what to do now; empty if nothing.
        code: the command's exit code: 1 failed, 2 invalid or not found.
    """

    def __init__(self, what: str, do_now: str = "", code: int = 1) -> None:
        super().__init__(what)
        self.what, self.do_now, self.code = what, do_now, code


class Screen:
    """Prints results to standard output, and everything else to standard error.

    Parameters:
        as_json: whether a program reads the output.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out, self.err = _console(stderr=False), _console(stderr=True)

    @property
    def is_live(self) -> bool:
        """Tell whether lines can be redrawn in place."""
        return self.out.is_terminal and not self.as_json

    def show(self, value: Any, *drawings: Any) -> None:
        """Print a result: `value` as JSON for programs, `drawings` for people."""
        if self.as_json:
            print(json.dumps(value, indent=2, default=str), flush=True)
        else:
            self.out.print(*drawings, sep="\n")

    def show_line(self, value: Any) -> None:
        """Print one of many results for programs, as one line of JSON."""
        print(json.dumps(value, default=str), flush=True)

    def counting(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items on as they are read, and show how many they are."""
        with self.err.status("") as status:
            for number, item in enumerate(items, 1):
                if number % 100 == 0:
                    status.update(f"reading jobs: {number:,}")
                yield item

    def say(self, text: str, style: str = "dim") -> None:
        """Print a message beside the result."""
        self.err.print(Text(text, style), soft_wrap=True)

    def explain(self, problem: CommandError) -> None:
        """Print what went wrong and what to do now."""
        if self.as_json:
            self.show({"error": problem.what, "do_now": problem.do_now})
            return
        headline = Text.assemble(("retake: ", "bold red"), printable(problem.what))
        self.err.print(headline, soft_wrap=True)
        if problem.do_now:
            self.err.print(Text(f"        {problem.do_now}"), soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return console
    return Console(stderr=stderr, highlight=False, width=WIDTH_WITHOUT_TERMINAL)


def shorten_left(name: str, max_characters: int) -> str:
    """Return a name that is safe to print, cut on its left, where it says least."""
    shown = printable(name)
    return shown if len(shown) <= max_characters else "…" + shown[1 - max_characters :]


def state_text(state: State) -> Text:
    """Return a state in its color."""
    return Text(state, _COLORS.get(state, "cyan"))


def clock_time(moment: datetime) -> str:
    """Return a moment in local time, to the second; the date only if it is not today."""
    return _local_time(moment, today="%H:%M:%S", other_day="%d %b %H:%M")


def short_time(moment: datetime) -> str:
    """Return a moment in local time in as few characters as possible: its time or its date."""
    return _local_time(moment, today="%H:%M", other_day="%d %b")


def _local_time(moment: datetime, *, today: str, other_day: str) -> str:
    local = moment.astimezone()
    is_today = local.date() == now().astimezone().date()
    return local.strftime(today if is_today else other_day)


def duration(seconds: float | None) -> str:
    """Return a duration in at most two units; empty if it is unknown."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s"
    largest = next(index for index, (size, _) in enumerate(_UNITS) if seconds >= size)
    (size, name), (next_size, next_name) = _UNITS[largest : largest + 2]
    return f"{int(seconds // size)} {name} {int(seconds % size // next_size)} {next_name}"


def usd(amount: float) -> str:
    """Return an amount of money."""
    return f"{amount:,.2f}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)

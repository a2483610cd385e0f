"""What people and programs get to read: one place for colours, times, sums, JSON, and for what went wrong."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from retake.rules.answer import plain as plain
from retake.rules.states import State

NO_TERMINAL = 160  # columns; a pipe has no width, and keys should not be broken there
_COLOURS = {State.DELIVERED: "green", State.HELD: "yellow", State.WAITING: "magenta", State.SUBMIT_UNKNOWN: "yellow"}
_COLOURS |= dict.fromkeys((State.FAILED, State.REFUSED, State.LOST), "red")


class Problem(Exception):
    """Something could not be done: what happened, and what to do now. `code` is the command's exit code: 1 failed, 2 not found."""

    def __init__(self, what: str, do_now: str = "", code: int = 1) -> None:
        super().__init__(what)
        self.what, self.do_now, self.code = what, do_now, code


class Screen:
    """Standard output for results, standard error for what is said beside them."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out, self.err = _console(stderr=False), _console(stderr=True)

    @property
    def live(self) -> bool:
        """Tell whether lines can be drawn again in place."""
        return self.out.is_terminal and not self.as_json

    def show(self, value: Any, *pictures: Any) -> None:
        """Give a result: `value` as JSON to programs, `pictures` to people."""
        if self.as_json:
            print(json.dumps(value, indent=2, default=str), flush=True)
        else:
            self.out.print(*pictures, sep="\n")

    def line(self, value: Any) -> None:
        """Give one of many results to programs: JSON on a line of its own."""
        print(json.dumps(value, default=str), flush=True)

    def say(self, text: str, style: str = "dim") -> None:
        """Say something beside the result."""
        self.err.print(Text(text, style), soft_wrap=True)

    def explain(self, problem: Problem) -> None:
        """Say what went wrong, and the cure."""
        if self.as_json:
            self.show({"error": problem.what, "do_now": problem.do_now})
            return
        self.err.print(Text.assemble(("retake: ", "bold red"), plain(problem.what)), soft_wrap=True)
        if problem.do_now:
            self.err.print(Text(f"        {problem.do_now}"), soft_wrap=True)


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    stream = sys.stderr if stderr else sys.stdout
    return console if stream.isatty() else Console(stderr=stderr, highlight=False, width=NO_TERMINAL)


def end_of(name: str, most: int) -> str:
    """Cut a long name on its left, where it tells least, and make it safe to show."""
    shown = plain(name)
    return shown if len(shown) <= most else "…" + shown[1 - most :]


def state_text(state: str) -> Text:
    """Give a state in its colour."""
    return Text(state, _COLOURS.get(State(state), "cyan"))


def clock_time(moment: str) -> str:
    """Give a recorded time as this place's clock shows it; the day only when it is not today."""
    local = datetime.fromisoformat(moment).astimezone()
    return local.strftime("%H:%M:%S" if local.date() == now().astimezone().date() else "%d %b %H:%M")


def short_time(moment: str) -> str:
    """Give a recorded time in as few signs as tell it: the time of today, or the day."""
    local = datetime.fromisoformat(moment).astimezone()
    return local.strftime("%H:%M" if local.date() == now().astimezone().date() else "%d %b")


def duration(seconds: float | None) -> str:
    """Give a duration in at most two units."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s"
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    big = next(index for index, (size, _) in enumerate(units) if seconds >= size)
    (size, name), (small, small_name) = units[big], units[big + 1]
    return f"{int(seconds // size)} {name} {int(seconds % size // small)} {small_name}"


def usd(amount: float) -> str:
    """Give a sum of money."""
    return f"{amount:,.2f}"


def now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)

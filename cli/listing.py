"""Shows jobs: as a list, one with its story, or as they move."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from retake.adapters.jobs import Row
from retake.rules import answer
from retake.rules.states import ENDED, State

from . import jobs
from .console import Problem, Screen, clock_time, duration, end_of, plain, short_time, state_text, usd
from .stack import Stack

WIDE = 110  # columns from which on a list has room for job ids
EVERY = 2.0  # seconds between two looks while watching
_PART_OF_ID = 8
_TAKEN, _TAKEN_WIDE = 42, 72  # columns of a line that its clip cannot have


def chosen(rows: Sequence[Row], states: Sequence[str], prefix: str) -> list[Row]:
    """Pick the jobs in some states, and under a folder."""
    return [row for row in rows if (not states or row["state"] in states) and row["key"].startswith(prefix)]


def told(row: Row) -> dict[str, Any]:
    """Say all about a job or a file that waits, for programs."""
    if not row["id"]:
        return answer.of_waiting(row["bucket"], row["key"], row["reason"], jobs.began(row)) | {"key": row["key"]}
    return answer.of_job(row) | {"key": row["key"], "took_seconds": round(jobs.took(row), 1)}


def listing(rows: Sequence[Row], width: int, cut: bool = False) -> Table:
    """Draw jobs as a table; the reason of those that are not done stands under their clip.

    What a narrow screen has no room for is in `show`; with `cut`, a long key stays on its line.
    """
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("began", "state", "took", "USD", *(("mode", "job") if wide else ())):
        table.add_column(name, no_wrap=True, justify="right" if name in ("took", "USD") else "left")
    table.add_column("clip", ratio=1)
    for row in rows:
        why, began = jobs.reason(row), jobs.began(row)
        clip = Text(end_of(row["key"], width - (_TAKEN_WIDE if wide else _TAKEN)) if cut else plain(row["key"]), overflow="fold")
        cells: list[Any] = [Text(clock_time(began) if wide else short_time(began), "dim"), state_text(row["state"])]
        cells += [duration(jobs.took(row)), usd(jobs.paid(row)) if jobs.paid(row) else ""]
        cells += [row.get("mode", ""), Text(row["id"][:_PART_OF_ID], "dim")] if wide else []
        table.add_row(*cells, Group(clip, Text(plain(why), "dim", no_wrap=True, overflow="ellipsis")) if why else clip)
    return table


def summary(rows: Sequence[Row]) -> Text:
    """Count jobs by state, and what they cost."""
    counts = Counter(str(row["state"]) for row in rows)
    parts = [Text.assemble(str(count), " ", state_text(state)) for state, count in counts.most_common()]
    return Text(", ").join(parts) + Text(f"; {usd(sum(map(jobs.paid, rows)))} USD", "dim") if rows else Text("no jobs", "dim")


def find(rows: Sequence[Row], name: str) -> list[Row]:
    """Find the takes of a key, or a job by its id or the beginning of it; newest first.

    Raises `Problem` when there is none, or when the beginning of an id fits several jobs.
    """
    name = name.removeprefix("s3://").partition("/")[2] if name.startswith("s3://") else name
    found = [row for row in rows if row["key"] == name]
    if not found and len(name) >= _PART_OF_ID:
        found = [row for row in rows if row["id"].startswith(name.lower())]
        if len(found) > 1:
            raise Problem(f"{len(found)} jobs begin with {name}", "give more of the id", 2)
    if not found:
        near = next((row["key"] for row in rows if row["key"].endswith("/" + name)), None)
        raise Problem(f"there is no job {name}", f"did you mean {plain(near)}?" if near else "`retake ls` lists them all", 2)
    return found


def story(row: Row, others: Sequence[Row]) -> Group:
    """Draw all that is known of one job, with its times."""
    said = told(row)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("clip", Text(plain(said.get("clip") or said["file"])))
    for name in ("job", "prompt", "mode", "first_frame", "first_frame_url", "rerun", "request_id", "result"):
        if name in said:
            facts.add_row(name.replace("_", " "), Text(plain(said[name])))
    if "seconds" in said:
        facts.add_row("length", f"{said['seconds']:.1f} s")
    if paid := jobs.paid(row):
        facts.add_row("cost", f"{usd(paid)} USD" + ("" if "cost_usd" in row else ", booked until the real cost is known"))
    if others:
        facts.add_row("other takes", Text("\n".join(f"{other['id'][:_PART_OF_ID]}  {other['state']}" for other in others)))
    title = Text.assemble(state_text(row["state"]), "  ", plain(said.get("message") or ""), overflow="fold")
    about = [Text(plain(said[name]), "yellow") for name in ("reason",) if name in said]
    about += [Text(f"do now: {plain(said['do_now'])}", "bold")] if "do_now" in said else []
    return Group(title, *about, "", facts, "", _times(row))


def _times(row: Row) -> Table:
    """Draw when a job reached each state, and how long it stayed."""
    moments = sorted(row["times"].items(), key=lambda moment: str(moment[1]))
    table = Table(box=None, show_header=False, pad_edge=False)
    for (state, moment), following in zip(moments, [*moments[1:], None], strict=True):
        stayed = jobs.seconds_since(moment) - jobs.seconds_since(following[1]) if following else jobs.seconds_since(moment)
        last = "" if State(state) in ENDED else f"for {duration(stayed)}"
        table.add_row(Text(clock_time(moment), "dim"), state_text(state), Text(last, "dim"))
    return table


def watch(stack: Stack, screen: Screen, prefix: str, until_done: bool) -> None:
    """Show what is under way as it moves, until the user has seen enough, or with `until_done` nothing goes on without a person."""
    seen: dict[str, Row] = {row["id"] or row["key"]: row for row in _under_way(stack, prefix)}
    shown: dict[str, str] = {}
    with Live(console=screen.out, auto_refresh=False, transient=True) if screen.live else nullcontext() as live:
        while True:
            moving = {row["id"] or row["key"]: row for row in _under_way(stack, prefix)}
            gone = [name for name, row in seen.items() if name not in moving and State(row["state"]) not in ENDED]
            ended = jobs.by_id(stack.table, [name for name in gone if seen[name]["id"]])
            seen = {name: row for name, row in seen.items() if name not in gone} | ended | moving
            newest_first = sorted(seen.values(), key=jobs.began, reverse=True)
            rows = sorted(newest_first, key=lambda row: State(row["state"]) in ENDED)
            if live:
                live.update(_picture(rows, screen), refresh=True)
            else:
                _tell_changes(rows, shown, screen)
            if until_done and all(map(jobs.needs_a_person, moving.values())):
                break
            time.sleep(EVERY)
    if screen.live:
        screen.out.print(_sums(rows))


def _under_way(stack: Stack, prefix: str) -> list[Row]:
    return chosen(jobs.unfinished(stack.table), (), prefix)


def _picture(rows: Sequence[Row], screen: Screen) -> Group:
    room = max(3, screen.out.height - 6)
    fitting: list[Row] = []
    for row in rows:
        room -= 2 if jobs.reason(row) else 1
        if room < 0:
            break
        fitting.append(row)
    more = f"{len(rows) - len(fitting)} more do not fit. " if len(fitting) < len(rows) else ""
    hint = Text(f"\n{more}Ctrl-C stops watching, not the work.", "dim")
    return Group(listing(fitting, screen.out.width, cut=True), Text(), _sums(rows) + hint) if rows else Group(_sums(rows) + hint)


def _sums(rows: Sequence[Row]) -> Text:
    return summary(rows) if rows else Text("nothing is under way", "dim")


def _tell_changes(rows: Sequence[Row], shown: dict[str, str], screen: Screen) -> None:
    """Give a line for every change: JSON to programs, plain to logs."""
    for row in rows:
        name, now = row["id"] or row["key"], f"{row['state']}  {plain(jobs.reason(row))}".rstrip()
        if shown.get(name) != now:
            shown[name] = now
            if screen.as_json:
                screen.line(told(row))
            else:
                screen.out.print(Text(f"{clock_time(max(row['times'].values()))}  {plain(row['key'])}  {now}"), soft_wrap=True)

"""Draws jobs as a table, and sums them up; for lists and for watching."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from retake.domain.job import Job
from retake.domain.status_file import printable

from . import jobs
from .console import clock_time, duration, short_time, shorten_left, state_text, usd
from .jobs import SHORT_ID_CHARACTERS, Entry

WIDE_COLUMNS = 110  # from this width on, a table also shows modes and job ids
_OTHER_COLUMNS, _OTHER_COLUMNS_WIDE = 43, 72  # of a line that its clip cannot use


def table(entries: Sequence[Entry], width: int, *, one_line_keys: bool = False) -> Table:
    """Draw jobs and waiting files, each with the reason why it is not done under its clip.

    Parameters:
        entries: in the order of the table.
        width: columns of the screen.
        one_line_keys: whether long keys are cut instead of wrapped.
    """
    wide = width >= WIDE_COLUMNS
    drawn = Table(box=None, pad_edge=False, expand=True)
    names = ["started", "state", "duration", "USD", *(("mode", "job") if wide else ())]
    for name in names:
        justify: Any = "right" if name in ("duration", "USD") else "left"
        drawn.add_column(name, no_wrap=True, justify=justify)
    drawn.add_column("clip", ratio=1)
    room = width - (_OTHER_COLUMNS_WIDE if wide else _OTHER_COLUMNS)
    for entry in entries:
        key = shorten_left(entry.key, room) if one_line_keys else printable(entry.key)
        drawn.add_row(*_cells(entry, wide), _clip(entry, key))
    return drawn


def summary(entries: Sequence[Entry]) -> Text:
    """Draw how many entries are in each state, and what they cost."""
    if not entries:
        return Text("no jobs", "dim")
    counts = Counter(entry.state for entry in entries)
    parts = [
        Text.assemble(str(number), " ", state_text(state)) for state, number in counts.most_common()
    ]
    cost = Text(f"; {usd(sum(map(jobs.paid_usd, entries)))} USD", "dim")
    return Text(", ").join(parts) + cost


def _cells(entry: Entry, wide: bool) -> list[str | Text]:
    began, paid = entry.began, jobs.paid_usd(entry)
    cells: list[str | Text] = [
        Text(clock_time(began) if wide else short_time(began), "dim"),
        state_text(entry.state),
        duration(jobs.took_seconds(entry)),
        usd(paid) if paid else "",
    ]
    if wide:
        job = entry if isinstance(entry, Job) else None
        cells.append(job.sidecar.mode if job and job.sidecar else "")
        cells.append(Text(job.id[:SHORT_ID_CHARACTERS] if job else "", "dim"))
    return cells


def _clip(entry: Entry, key: str) -> Text | Group:
    clip = Text(key, overflow="fold")
    explanation = printable(jobs.explanation(entry))
    if not explanation:
        return clip
    return Group(clip, Text(explanation, "dim", no_wrap=True, overflow="ellipsis"))

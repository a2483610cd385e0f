"""Follows dropped clips to their end, one line each, and downloads what comes out."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from retake.adapters.jobs import Row
from retake.rules.answer import of_job
from retake.rules.states import ENDED, State

from . import jobs
from .console import Screen, duration, end_of, plain, state_text
from .dropping import Ready
from .planning import is_content_of
from .stack import Stack

EVERY = 2.0  # seconds between two looks at the table
LONGEST_KEY = 40  # signs that are shown
LONG = 60  # seconds after which a drop that has no record is worth a hint


@dataclass
class Followed:
    """One clip on its way: its record, once there is one, and where its retake was saved."""

    ready: Ready
    row: Row | None = None
    saved: Path | None = None
    trouble: str = ""

    @property
    def over(self) -> bool:
        """Tell whether nothing more will come without a person."""
        return self.row is not None and (State(self.row["state"]) in ENDED or jobs.needs_a_person(self.row))

    @property
    def state(self) -> str:
        return str(self.row["state"]) if self.row else "dropped"

    def as_json(self) -> dict[str, Any]:
        """Tell what became of it, for programs."""
        told = of_job(self.row) if self.row else {"state": None, "job": self.ready.job}
        return told | {"file": str(self.ready.intended.clip), "saved": self.saved and str(self.saved), "trouble": self.trouble or None}


@dataclass
class Following:
    """Several clips on their way; `usual` is how many seconds one may take from submit to delivery, if that is known."""

    stack: Stack
    screen: Screen
    out: Path
    usual: float | None
    clips: list[Followed]
    started: float = field(default_factory=time.monotonic)

    def to_the_end(self) -> None:
        """Look again and again until every clip has come to its end and is downloaded."""
        told: dict[str, str] = {}
        if self.screen.live:
            with Live(self._picture(), console=self.screen.out, refresh_per_second=2, transient=True) as live:
                self._until_over(lambda: live.update(self._picture()))
        else:
            self._until_over(lambda: self._tell_changes(told))

    def _until_over(self, draw: Callable[[], None]) -> None:
        while True:
            rows = jobs.by_id(self.stack.table, [one.ready.job for one in self.clips if not one.over])
            for one in self.clips:
                row = rows.get(one.ready.job)
                if row and one.ready.is_fresh(row):
                    one.row = row
            draw()
            for one in self.clips:
                if one.state == State.DELIVERED and not (one.saved or one.trouble):
                    self._save(one)
                    draw()
            if all(one.over for one in self.clips):
                return
            time.sleep(EVERY)

    def _save(self, one: Followed) -> None:
        """Download a retake, unless it is here already."""
        assert one.row  # noqa: S101 - it is delivered
        bucket, _, key = str(one.row["result"]).removeprefix("s3://").partition("/")
        head = self.stack.s3.head_object(Bucket=bucket, Key=key)
        if head["Metadata"].get("job-id", one.row["id"]) != one.row["id"]:
            one.trouble = f"a newer take has the name s3://{bucket}/{key} now; this one is an older version of it"
            return
        target = self.out / key
        if not (target.is_file() and is_content_of(head["ETag"].strip('"'), target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            self.stack.s3.download_file(bucket, key, str(part))
            part.replace(target)
        one.saved = target

    def _tell_changes(self, told: dict[str, str]) -> None:
        for one in self.clips:
            note = _note(one, 0)
            now = f"{one.state}  {note}" if note else one.state
            if told.get(one.ready.job) != now:
                told[one.ready.job] = now
                self.screen.say(f"{time.monotonic() - self.started:6.1f} s  {plain(one.ready.intended.key)}  {now}", "")

    def _picture(self) -> Group:
        """Draw one line per clip; those that still move first, as many as the screen holds."""
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("clip", ratio=3, no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("since", no_wrap=True, justify="right")
        table.add_column("left", no_wrap=True, justify="right")
        table.add_column("", ratio=3, no_wrap=True)
        room = max(3, self.screen.out.height - 5)
        for one in (sorted(self.clips, key=lambda one: one.over) if len(self.clips) > room else self.clips)[:room]:
            since = jobs.took(one.row) if one.row else time.monotonic() - self.started
            state = state_text(one.state) if one.row else Text(one.state, "dim")
            table.add_row(
                end_of(one.ready.intended.key, LONGEST_KEY), state, duration(since), self._left(one), Text(_note(one, since), "dim")
            )
        over = sum(one.over for one in self.clips)
        more = f", {len(self.clips) - room} more do not fit" if len(self.clips) > room else ""
        hint = f"{over} of {len(self.clips)} over{more}. Ctrl-C is safe: run it again to go on."
        return Group(table, Text(hint, "dim"))

    def _left(self, one: Followed) -> str:
        """Say how long a clip at Segmind may still take."""
        submitted = one.row and one.row["times"].get(State.SUBMITTING)
        if self.usual is None or one.over or not submitted or one.state == State.HELD:
            return ""
        left = self.usual - jobs.seconds_since(submitted)
        return f"~{duration(left)}" if left > 1 else "any moment"


def _note(one: Followed, since: float) -> str:
    if one.saved or one.trouble:
        return one.trouble or f"→ {one.saved}"
    if one.row is None:
        return "not taken yet; `retake doctor` may know why" if since > LONG else ""
    return plain(jobs.reason(one.row))

"""Follows dropped clips to their end, one line each, and downloads the retakes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from retake.domain import status_file
from retake.domain.job import Job, State
from retake.domain.status_file import printable

from . import jobs
from .console import Screen, count, duration, shorten_left, state_text
from .etags import is_content_of
from .stack import Stack
from .upload import ReadyDrop

REFRESH_SECONDS = 2.0
HINT_SECONDS = 60  # after which a drop without a job is worth a hint
# After which drops without a job are given up, if no other drop got its job meanwhile. While a
# stack is young, `sweep` finds drops whose events were lost within about five minutes.
GIVE_UP_SECONDS = 1200
_DROP_AGAIN = (
    "run `retake doctor`; then run the same command again: it drops the sidecar again, "
    "which makes a new event"
)
_CHECK_QUEUE = "run `retake doctor`, and check the log of submit; the same command resumes"
_KEY_CHARACTERS = 40  # that a table shows
_OTHER_LINES = 5  # of the screen, that the table cannot use
_MIN_LINES = 3


@dataclass
class FollowedDrop:
    """One drop on its way.

    Attributes:
        drop: what was dropped.
        job: its job, once it exists.
        is_prepared_now: whether its clip is being prepared, before it has a job.
        saved: where its retake was saved.
        trouble: why it is given up, or its retake cannot be saved.
        do_now: what to do about that; empty if nothing.
    """

    drop: ReadyDrop
    job: Job | None = None
    is_prepared_now: bool = False
    saved: Path | None = None
    trouble: str = ""
    do_now: str = ""

    @property
    def key(self) -> str:
        """Return the key of the clip."""
        return self.drop.planned.key

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more happens without a person, or it is given up."""
        if self.job is None:
            return bool(self.trouble)
        return self.job.has_ended or self.job.needs_attention

    @property
    def is_delivered(self) -> bool:
        """Tell whether its retake can be downloaded."""
        return self.job is not None and self.job.state is State.DELIVERED

    @property
    def has_failed(self) -> bool:
        """Tell whether it ended without a retake, or its retake cannot be saved."""
        return bool(self.trouble) or (self.is_over and not self.is_delivered)

    @property
    def state(self) -> str:
        """Return where it stands."""
        if self.job:
            return self.job.state
        return State.PREPARING if self.is_prepared_now else "dropped"

    def note(self, elapsed_seconds: float = 0) -> str:
        """Return what there is to say beside its state."""
        if self.saved or self.trouble:
            return printable(self.trouble) or f"→ {printable(self.saved)}"
        if self.job:
            return printable(jobs.explanation(self.job))
        if elapsed_seconds > HINT_SECONDS:
            return "not accepted yet; run `retake doctor` to find out why"
        return ""

    def as_json(self) -> dict[str, Any]:
        """Return what became of it, for programs."""
        status: dict[str, Any] = {"state": None, "job": self.drop.job_id}
        if self.job:
            status = status_file.of_job(self.job)
        if self.do_now:
            status["do_now"] = self.do_now
        return status | {
            "file": str(self.drop.planned.clip),
            "saved": self.saved and str(self.saved),
            "trouble": self.trouble or None,
        }


def follow(stack: Stack, screen: Screen, drops: Sequence[ReadyDrop], out: Path) -> "Follower":
    """Create a follower of some drops.

    Parameters:
        stack: the stack.
        screen: where the drops are shown.
        drops: what was dropped.
        out: the folder in which retakes are saved.
    """
    followed = []
    for drop in drops:
        job = drop.known_job
        followed.append(FollowedDrop(drop, job if job and drop.is_about_this_drop(job) else None))
    delivered = jobs.read_newest(stack.table, [State.DELIVERED], limit=jobs.USUAL_JOBS)
    usual_seconds = jobs.usual_seconds(delivered)
    return Follower(
        stack=stack, screen=screen, drops=followed, out=out, usual_seconds=usual_seconds
    )


class Follower:
    """Follows several drops.

    Parameters:
        stack: the stack.
        screen: where the drops are shown.
        drops: what is followed.
        out: the folder in which retakes are saved.
        usual_seconds: how long a job takes from submit to delivery, if that is known.
    """

    def __init__(
        self,
        *,
        stack: Stack,
        screen: Screen,
        drops: Sequence[FollowedDrop],
        out: Path,
        usual_seconds: float | None,
    ) -> None:
        self._stack, self._screen, self._out = stack, screen, out
        self._usual_seconds = usual_seconds
        self._started = self._accepted_at = time.monotonic()
        self._printed: dict[str, str] = {}
        self.drops = drops

    def run(self) -> None:
        """Follow all drops until they are over, and their retakes are downloaded."""
        if not self._screen.is_live:
            self._run(self._print_changes)
            return
        console = self._screen.out
        with Live(self._drawing(), console=console, refresh_per_second=2, transient=True) as live:
            self._run(lambda: live.update(self._drawing()))

    def _run(self, draw: Callable[[], None]) -> None:
        while True:
            self._refresh()
            self._give_up()
            draw()
            for followed in self.drops:
                if followed.is_delivered and not (followed.saved or followed.trouble):
                    self._save(followed)
                    draw()
            if all(followed.is_over for followed in self.drops):
                return
            time.sleep(REFRESH_SECONDS)

    def _refresh(self) -> None:
        found = self._stack.jobs.get_many(
            followed.drop.job_id for followed in self.drops if not followed.is_over
        )
        for followed in self.drops:
            job = found.get(followed.drop.job_id)
            if job and followed.drop.is_about_this_drop(job):
                if followed.job is None:
                    self._accepted_at = time.monotonic()
                followed.job = job
        raw = [followed for followed in self.drops if not (followed.job or followed.is_over)]
        records = self._stack.records.get_many([followed.key for followed in raw])
        for followed in raw:
            followed.is_prepared_now = bool(records[followed.key].preparing)

    def _give_up(self) -> None:
        """Give up the drops without a job when no drop has got one for a long time."""
        missing = [followed for followed in self.drops if not (followed.job or followed.is_over)]
        if not missing or time.monotonic() - self._accepted_at < GIVE_UP_SECONDS:
            return
        reason, do_now = "its event is lost, or it cannot be processed", _DROP_AGAIN
        if in_queue := self._count_waiting():
            reason, do_now = f"{count(in_queue, 'drop')} in the queue", _CHECK_QUEUE
        for followed in missing:
            record = self._stack.records.get(followed.key)
            why = record.waiting.message if record.waiting else reason
            followed.trouble = f"not accepted within {GIVE_UP_SECONDS // 60} minutes: {why}"
            followed.do_now = do_now

    def _count_waiting(self) -> int:
        """Count the drops in the queue; 0 if this user isn't permitted to."""
        queues = ("DropQueueUrl", "MediaQueueUrl")
        try:
            return sum(map(self._stack.count_messages, queues))
        except ClientError:
            return 0

    def _save(self, followed: FollowedDrop) -> None:
        """Download a retake, unless it is here already."""
        job = followed.job
        assert job  # noqa: S101 - it is delivered
        bucket, _, key = str(job.result).removeprefix("s3://").partition("/")
        head = self._stack.s3.head_object(Bucket=bucket, Key=key)
        if head["Metadata"].get("job-id", job.id) != job.id:
            followed.trouble = (
                f"a newer take has replaced s3://{bucket}/{key}; "
                "this one is an older version of that object"
            )
            return
        target = self._out / key
        if not (target.is_file() and is_content_of(head["ETag"].strip('"'), target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            self._stack.s3.download_file(bucket, key, str(part))
            part.replace(target)
        followed.saved = target

    def _print_changes(self) -> None:
        for followed in self.drops:
            status = f"{followed.state}  {followed.note()}".rstrip()
            if self._printed.get(followed.drop.job_id) == status:
                continue
            self._printed[followed.drop.job_id] = status
            self._screen.say(f"{self._elapsed():6.1f} s  {printable(followed.key)}  {status}", "")

    def _drawing(self) -> Group:
        """Draw one line for each drop, as many as the screen has room for."""
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("clip", ratio=3, no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("elapsed", no_wrap=True, justify="right")
        table.add_column("left", no_wrap=True, justify="right")
        table.add_column("", ratio=3, no_wrap=True)
        room = max(_MIN_LINES, self._screen.out.height - _OTHER_LINES)
        hidden = max(0, len(self.drops) - room)
        drops = self.drops
        if hidden:  # those that still move come first
            drops = sorted(self.drops, key=lambda followed: followed.is_over)[:room]
        for followed in drops:
            table.add_row(*self._cells(followed))
        more = f", {hidden} more do not fit on the screen" if hidden else ""
        over = sum(followed.is_over for followed in self.drops)
        hint = f"{over} of {len(self.drops)} finished{more}. "
        hint += "Ctrl-C is safe: run the same command again to resume."
        return Group(table, Text(hint, "dim"))

    def _cells(self, followed: FollowedDrop) -> list[str | Text]:
        job = followed.job
        elapsed = jobs.took_seconds(job) if job else self._elapsed()
        return [
            shorten_left(followed.key, _KEY_CHARACTERS),
            state_text(job.state) if job else Text(followed.state, "dim"),
            duration(elapsed),
            self._time_left(followed),
            Text(followed.note(elapsed), "dim"),
        ]

    def _time_left(self, followed: FollowedDrop) -> str:
        """Estimate how long a clip at Segmind still takes."""
        job = followed.job
        submitted = job and job.entered.get(State.SUBMITTING)
        if self._usual_seconds is None or followed.is_over or not job or not submitted:
            return ""
        if job.state is State.HELD:
            return ""
        left = self._usual_seconds - jobs.seconds_since(submitted)
        return f"~{duration(left)}" if left > 1 else "any moment"

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

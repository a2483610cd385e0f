"""One mail for all that has happened, worst first."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .answer import plain
from .states import State

SHOWN = 20  # changes of a kind that are told one by one, the oldest first ...
ROOM = 40_000  # ... as far as this many bytes carry: SNS takes 256 KB
SUBJECT = 99  # signs, all of them ASCII; SNS takes no more
_LONGEST = {"clip": 1024, "message": 500}  # signs

# What an event is about: what it means, what to do now, and what lists them all.
_KINDS: dict[str, tuple[str, str, str]] = {
    "Held": (
        "held",
        "retake doctor says what holds them back and the cure; once it is mended, they go on by themselves.",
        f"retake ls --state {State.HELD}",
    ),
    "Lost": (
        "lost: paid, and the file is gone",
        "Keep the request id (retake show) and ask Segmind's support.",
        f"retake ls --state {State.LOST}",
    ),
    "Failed": (
        "failed; nothing was billed",
        "The .error.json of each in the output bucket and retake show say why; retake retry --failed tries them again.",
        f"retake ls --state {State.FAILED}",
    ),
    "Resumed": ("resumed", "Nothing is to be done: held jobs go on.", "retake doctor"),
    "Delivered": ("delivered", "", f"retake ls --state {State.DELIVERED}"),
}


@dataclass(frozen=True)
class Change:
    """What one event tells: `what` (a key of the kinds above) and when; of one job's `clip`, or of all jobs when `job` is empty."""

    what: str
    time: str
    job: str
    clip: str
    held: str
    message: str
    result: str

    @property
    def same(self) -> tuple[str, ...]:
        """What two events have in common that tell the same."""
        return (self.what, self.job) if self.job else (self.what, self.held, self.message)

    def line(self) -> str:
        """Tell it in a line."""
        if not self.job:
            return f"{self.time[:16].replace('T', ' ')} UTC, all clips ({self.held}): {self.message}"
        return f"{self.clip}: {self.result}" if self.result else f"{self.clip} ({self.job[:8]}): {self.message}"


@dataclass(frozen=True)
class Mail:
    """What SNS sends."""

    subject: str
    body: str


def read(event: str) -> Change | None:
    """Read an event as EventBridge gave it to the queue; `None` when it is none of those that are mailed."""
    try:
        told = json.loads(event)
        what, detail = str(told["detail-type"]).removeprefix("Retake "), dict(told["detail"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if what not in _KINDS:
        return None
    return Change(
        what,
        _text(told, "time")[:19],
        _text(detail, "job"),
        _text(detail, "clip").removeprefix("s3://").partition("/")[2][: _LONGEST["clip"]],
        _text(detail, "held"),
        (_text(detail, "reason") or _text(detail, "message"))[: _LONGEST["message"]],
        _text(detail, "result")[: 2 * _LONGEST["clip"]] if what == "Delivered" else "",
    )


def compose(changes: Iterable[Change]) -> Mail:
    """Write the mail about some changes, at least one; what was told twice is told once."""
    known = {change.same: change for change in sorted(changes, key=lambda change: change.time)}
    kinds = {what: [change for change in known.values() if change.what == what] for what in _KINDS}
    return Mail(
        _ascii(_one(next(iter(known.values())))) if len(known) == 1 else f"Retake: {_counts(kinds)}",
        "\n\n".join(_paragraph(what, changes) for what, changes in kinds.items() if changes) + "\n",
    )


def _counts(kinds: dict[str, list[Change]]) -> str:
    return ", ".join(f"{len(changes)} {what.lower()}" for what, changes in kinds.items() if changes)


def _one(change: Change) -> str:
    if not change.job:
        return f"Retake: {'clips go on again' if change.what == 'Resumed' else 'all clips are held'} ({change.held[:20]})"
    around = len(f"Retake:  {change.what}")
    clip = change.clip if len(change.clip) + around <= SUBJECT else "..." + change.clip[around + 3 - SUBJECT :]
    return f"Retake: {clip} {change.what.lower()}"


def _paragraph(what: str, changes: Sequence[Change]) -> str:
    means, do_now, lists = _KINDS[what]
    shown = list(_fitting(changes))
    more = [f"  and {len(changes) - len(shown)} more: {lists}"] if len(changes) > len(shown) else []
    return "\n".join([f"{len(changes)} {means}", *shown, *more, *([do_now] if do_now else [])])


def _fitting(changes: Sequence[Change]) -> Iterator[str]:
    room = ROOM
    for change in changes[:SHOWN]:
        line = f"  {change.line()}"
        room -= len(line.encode()) + 1
        if room < 0:
            return
        yield line


def _text(told: dict[str, Any], name: str) -> str:
    """Give a field as text that is one line and steers nothing, whatever it is."""
    return plain(told.get(name) or "")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()

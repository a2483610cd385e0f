"""The email digest: one email about everything that has happened, worst first."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .job import State
from .status_file import printable

MAX_LINES = 20  # outcomes of a kind that are listed one by one, the oldest first ...
MAX_KIND_BYTES = 40_000  # ... as far as they fit; SNS takes 256 KB
MAX_SUBJECT_CHARACTERS = 99  # SNS takes no more, all of them ASCII
MAX_KEY_CHARACTERS = 1024
MAX_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True)
class _Kind:
    """How a kind of outcome is presented.

    Attributes:
        heading: follows the number of outcomes.
        advice: what to do now, if there is something to do.
        command: lists all of them.
    """

    heading: str
    advice: str
    command: str


_PAID = ("Delivered", "Lost")
# By the event that announces them, in the order of the email.
_KINDS = {
    "Held": _Kind(
        "held",
        "Run `retake doctor` to see what holds them and how to fix it. They continue afterwards.",
        f"retake ls --state {State.HELD}",
    ),
    "Lost": _Kind(
        "lost: paid, but the file is gone",
        "Keep the request id (retake show) and contact Segmind's support.",
        f"retake ls --state {State.LOST}",
    ),
    "Failed": _Kind(
        "failed; nothing was billed",
        "See the .error.json files in the output bucket, or run `retake show KEY`. "
        "Run `retake retry --failed` to retry all of them.",
        f"retake ls --state {State.FAILED}",
    ),
    "Resumed": _Kind("resumed", "No action is needed: held jobs continue.", "retake doctor"),
    "Delivered": _Kind("delivered", "", f"retake ls --state {State.DELIVERED}"),
}


@dataclass(frozen=True)
class Outcome:
    """What one event says.

    Attributes:
        kind: a key of the kinds above.
        time: when it happened, ISO 8601 in UTC, to the second.
        job: the job's id; empty when the event is about all jobs.
        clip: the clip's key.
        hold_reason: why it is held, if it is.
        message: details in plain words.
        result: the S3 URI of the delivered video, if it is delivered.
        usd: what it cost, or was estimated to cost; 0 if it cost nothing.
    """

    kind: str
    time: str
    job: str
    clip: str
    hold_reason: str
    message: str
    result: str
    usd: float = 0.0

    @property
    def identity(self) -> tuple[str, ...]:
        """Return what two events have in common that say the same."""
        if self.job:
            return (self.kind, self.job)
        return (self.kind, self.hold_reason, self.message)

    @property
    def line(self) -> str:
        """Return it as one line."""
        if not self.job:
            at = self.time[:16].replace("T", " ")
            return f"{at} UTC, all clips ({self.hold_reason}): {self.message}"
        if self.result:
            return f"{self.clip}: {self.result}"
        return f"{self.clip} ({self.job[:8]}): {self.message}"


@dataclass(frozen=True)
class Email:
    """What SNS sends."""

    subject: str
    body: str


def read(event: str) -> Outcome | None:
    """Read an event as EventBridge delivers it; return `None` when it is not for the digest."""
    try:
        content = json.loads(event)
        kind = str(content["detail-type"]).removeprefix("Retake ")
        detail = dict(content["detail"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if kind not in _KINDS:
        return None
    key = _text(detail, "clip").removeprefix("s3://").partition("/")[2]
    message = _text(detail, "reason") or _text(detail, "message")
    return Outcome(
        kind=kind,
        time=_text(content, "time")[:19],
        job=_text(detail, "job"),
        clip=key[:MAX_KEY_CHARACTERS],
        hold_reason=_text(detail, "held"),
        message=message[:MAX_MESSAGE_CHARACTERS],
        result=_text(detail, "result")[: 2 * MAX_KEY_CHARACTERS] if kind == "Delivered" else "",
        usd=_usd(detail) if kind in _PAID else 0.0,
    )


def compose(outcomes: Iterable[Outcome]) -> Email:
    """Write the email about some outcomes, at least one; repeated ones are listed once."""
    in_order = sorted(outcomes, key=lambda outcome: outcome.time)
    distinct = list({outcome.identity: outcome for outcome in in_order}.values())
    by_kind = {kind: [outcome for outcome in distinct if outcome.kind == kind] for kind in _KINDS}
    subject = _subject_of_one(distinct[0]) if len(distinct) == 1 else _subject_of_many(by_kind)
    paragraphs = [_paragraph(kind, found) for kind, found in by_kind.items() if found]
    return Email(_ascii(subject), "\n\n".join(paragraphs) + "\n")


def _subject_of_many(by_kind: dict[str, list[Outcome]]) -> str:
    counts = [f"{len(found)} {kind.lower()}" for kind, found in by_kind.items() if found]
    return f"Retake: {', '.join(counts)}"


def _subject_of_one(outcome: Outcome) -> str:
    if not outcome.job:
        what = "clips continue" if outcome.kind == "Resumed" else "all clips are held"
        return f"Retake: {what} ({outcome.hold_reason[:20]})"
    room = MAX_SUBJECT_CHARACTERS - len(f"Retake:  {outcome.kind}")
    clip = outcome.clip if len(outcome.clip) <= room else "..." + outcome.clip[3 - room :]
    return f"Retake: {clip} {outcome.kind.lower()}"


def _paragraph(name: str, outcomes: Sequence[Outcome]) -> str:
    kind = _KINDS[name]
    lines = list(_fitting_lines(outcomes))
    left = len(outcomes) - len(lines)
    lines.insert(0, f"{len(outcomes)} {kind.heading}")
    if usd := sum(outcome.usd for outcome in outcomes):
        lines.append(f"Cost: {usd:.2f} USD.")
    if left:
        lines.append(f"  and {left} more: {kind.command}")
    if kind.advice:
        lines.append(kind.advice)
    return "\n".join(lines)


def _fitting_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    room = MAX_KIND_BYTES
    for outcome in outcomes[:MAX_LINES]:
        line = f"  {outcome.line}"
        room -= len(line.encode()) + 1
        if room < 0:
            return
        yield line


def _usd(detail: dict[str, Any]) -> float:
    """Return what a job cost, or was estimated to cost."""
    for name in ("cost_usd", "estimate_usd"):
        usd = detail.get(name)
        if isinstance(usd, int | float) and usd is not True and 0 < usd < 1e6:
            return float(usd)
    return 0.0


def _text(content: dict[str, Any], name: str) -> str:
    """Return a field as one line of harmless text, whatever it is."""
    return printable(content.get(name) or "")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()

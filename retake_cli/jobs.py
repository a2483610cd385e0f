"""Reads many jobs and waiting files at once, selects some, and says what follows from them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from retake.aws.dynamodb import pages
from retake.aws.follow_ups import FollowUps, entry_from_item
from retake.domain import status_file
from retake.domain.admission import PRICE_USD
from retake.domain.intake import InputRecord
from retake.domain.job import MAY_BE_PAID, TERMINAL, Job, State
from retake.domain.status_file import printable

from .console import CommandError, now

Entry = Job | InputRecord  # a job, or a file that waits to be part of one

SHORT_ID_CHARACTERS = 8  # that name a job
USUAL_JOBS = 50  # recent jobs that say how long the next one may take


def read_all(table: Any) -> list[Entry]:
    """Read all jobs and waiting files, newest first."""
    items = pages(
        table.scan,
        FilterExpression="sk = :job OR (sk = :input AND attribute_exists(waiting_for))",
        ExpressionAttributeValues={":job": "job", ":input": "input"},
    )
    return _newest_first(map(entry_from_item, items))


def read_unfinished(follow_ups: FollowUps) -> list[Entry]:
    """Read what is still followed up, newest first, without reading the rest."""
    return _newest_first(entry for entry in follow_ups.all() if entry.state not in TERMINAL)


def jobs_of(entries: Iterable[Entry]) -> list[Job]:
    """Return the jobs among some entries."""
    return [entry for entry in entries if isinstance(entry, Job)]


def select(
    entries: Iterable[Entry], states: Collection[State] = (), prefix: str = ""
) -> list[Entry]:
    """Return the entries in some states, or in any, and below a prefix."""
    return [
        entry
        for entry in entries
        if (not states or entry.state in states) and entry.key.startswith(prefix)
    ]


def find(entries: Sequence[Entry], name: str) -> list[Entry]:
    """Find the takes of a key, or one job by its id or the beginning of it.

    Parameters:
        entries: where to look, newest first.
        name: the key, the S3 URI, or at least the first 8 characters of a job's id.

    Returns:
        What was found, newest first; never empty.

    Raises:
        CommandError: nothing was found, or the beginning of an id matches several jobs.
    """
    if name.startswith("s3://"):
        name = name.removeprefix("s3://").partition("/")[2]
    found = [entry for entry in entries if entry.key == name]
    if found:
        return found
    by_id: list[Entry] = []
    if len(name) >= SHORT_ID_CHARACTERS:
        by_id += [job for job in jobs_of(entries) if job.id.startswith(name.lower())]
    if len(by_id) > 1:
        raise CommandError(f"{len(by_id)} jobs begin with {name}", "enter more of the job ID", 2)
    if by_id:
        return by_id
    similar = next((entry.key for entry in entries if entry.key.endswith(f"/{name}")), None)
    hint = f"did you mean {printable(similar)}?" if similar else "`retake ls` lists all jobs"
    raise CommandError(f"there is no job {name}", hint, 2)


def identity(entry: Entry) -> str:
    """Return what tells an entry from all others: a job's id, or a waiting file's key."""
    return entry.id if isinstance(entry, Job) else entry.key


def began(entry: Entry) -> datetime:
    """Return when a job was claimed, or when a file began to wait."""
    return min(entry.entered.values())


def took_seconds(entry: Entry) -> float:
    """Return the seconds from the claim to the end, or until now."""
    end = entry.entered.get(entry.state) if entry.state in TERMINAL else None
    return seconds_since(began(entry), end)


def seconds_since(moment: datetime, until: datetime | None = None) -> float:
    """Return the seconds from one moment to another, or to now."""
    return ((until or now()) - moment).total_seconds()


def paid_usd(entry: Entry) -> float:
    """Return what a job costs; unknown costs count with the price that is booked for them."""
    if not isinstance(entry, Job) or entry.state not in MAY_BE_PAID:
        return 0.0
    return PRICE_USD if entry.cost_usd is None else entry.cost_usd


def usual_seconds(entries: Iterable[Entry]) -> float | None:
    """Return how long the next job may take, from its submit to its delivery.

    It is the median of recent jobs; `None` while there are none.
    """
    spans = [
        seconds_since(job.entered[State.SUBMITTING], job.entered[State.DELIVERED])
        for job in jobs_of(entries)
        if job.state is State.DELIVERED and State.SUBMITTING in job.entered
    ]
    return median(spans[:USUAL_JOBS]) if spans else None


def explanation(entry: Entry) -> str:
    """Return why an entry is not done; empty if there is nothing to say."""
    if entry.state is State.DELIVERED:
        return ""
    text = entry.explanation or ""
    if isinstance(entry, Job) and entry.state is State.HELD:
        return f"{entry.hold_reason}: {text}"
    return text


def needs_attention(entry: Entry) -> bool:
    """Tell whether an entry continues only after a person has looked at it."""
    return isinstance(entry, Job) and entry.needs_attention


def as_json(entry: Entry) -> dict[str, Any]:
    """Return everything about an entry, for programs."""
    if isinstance(entry, InputRecord):
        return status_file.of_waiting(entry) | {"key": entry.key}
    took = round(took_seconds(entry), 1)
    return status_file.of_job(entry) | {"key": entry.key, "took_seconds": took}


def _newest_first(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=began, reverse=True)

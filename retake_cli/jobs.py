"""Reads many jobs and waiting files at once, selects some, and says what follows from them.

Only `read_all` reads the whole table. Everything else reads no more than it needs: without a prefix
and with a limit, the same however many jobs there are.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from itertools import chain, islice
from statistics import median
from typing import Any

from retake.aws.dynamodb import (
    LISTED_AT_ATTRIBUTE,
    LISTING_ATTRIBUTE,
    NEWEST_INDEX,
    PREFIX_CHARACTERS,
    TAKES_INDEX,
    Item,
    get_many,
    pages,
)
from retake.aws.follow_ups import FollowUps, entry_from_item
from retake.domain import status_file
from retake.domain.cost_sum import of_job
from retake.domain.intake import InputRecord
from retake.domain.job import TERMINAL, FollowUpQueue, Job, Listing, State, listing_of
from retake.domain.limits import MAX_KEY_BYTES
from retake.domain.status_file import printable

from .console import CommandError, now

Entry = Job | InputRecord  # a job, or a file that waits to be part of one

SHORT_ID_CHARACTERS = PREFIX_CHARACTERS  # that name a job
USUAL_JOBS = 50  # recent jobs that say how long the next one may take
MAX_HELD = 500  # held jobs that are watched
PAGE = 100  # entries of an index that are read at once


def read_all(table: Any, track: Callable[[Iterable[Item]], Iterable[Item]] = iter) -> list[Entry]:
    """Read all jobs and waiting files, newest first.

    Parameters:
        table: a boto3 Table.
        track: sees the items pass as they are read.
    """
    items = pages(
        table.scan,
        FilterExpression="attribute_exists(#listing)",
        ExpressionAttributeNames={"#listing": LISTING_ATTRIBUTE},
    )
    return _newest_first(map(entry_from_item, track(items)))


def read_newest(
    table: Any, states: Collection[State] = (), prefix: str = "", limit: int | None = None
) -> list[Entry]:
    """Read the newest entries in some states, or in any, and below a prefix.

    Parameters:
        table: a boto3 Table.
        states: the states; empty for any.
        prefix: what their keys begin with.
        limit: how many are enough; `None` for all of them.

    Returns:
        The entries, newest first.
    """
    listed = list_newest(table, _listings_of(states), prefix)
    batch_size = PAGE if limit is None else min(limit, PAGE)
    found: list[Entry] = []
    while limit is None or len(found) < limit:
        batch = list(islice(listed, batch_size))
        found += select(_read(table, batch), states, prefix)
        if len(batch) < batch_size:
            break
    return found[:limit]


def list_newest(
    table: Any, listings: Iterable[Listing] = Listing, prefix: str = ""
) -> Iterator[Item]:
    """Yield what the index of the newest records says, newest first.

    It lags: what it yields may have changed or gone meanwhile.

    Parameters:
        table: a boto3 Table.
        listings: the partitions that are read.
        prefix: what the keys begin with.
    """
    partitions = [_list_partition(table, listing, prefix) for listing in listings]
    seen: set[tuple[str, str]] = set()  # one that changes its partition may be in both
    for item in heapq.merge(*partitions, key=lambda item: item[LISTED_AT_ATTRIBUTE], reverse=True):
        name = item["pk"], item["sk"]
        if name not in seen:
            seen.add(name)
            yield item


def read_unfinished(follow_ups: FollowUps, prefix: str = "") -> list[Entry]:
    """Read what is still followed up below a prefix, newest first, without reading the rest.

    Of all held jobs, the first in line are enough; of those below a prefix, none may be missed.
    """
    due = follow_ups.all([FollowUpQueue.DUE])
    held = follow_ups.all([FollowUpQueue.HELD]) if prefix else follow_ups.held(MAX_HELD)
    found = [entry for entry in chain(due, held) if entry.state not in TERMINAL]
    return _newest_first(select(found, (), prefix))


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


def find(table: Any, name: str) -> list[Entry]:
    """Find the takes of a key, or one job by its id or the beginning of it.

    Parameters:
        table: a boto3 Table.
        name: the key, the S3 URI, or at least the first 8 characters of a job's id.

    Returns:
        What was found, newest first; never empty.

    Raises:
        CommandError: nothing was found, or the beginning of an id matches several jobs.
    """
    if name.startswith("s3://"):
        name = name.removeprefix("s3://").partition("/")[2]
    if 0 < len(name.encode()) <= MAX_KEY_BYTES:
        if takes := _takes_of(table, name):
            return takes
        by_id = _jobs_that_begin_with(table, name.lower())
        if len(by_id) > 1:
            what = f"{len(by_id)} jobs begin with {name}"
            raise CommandError(what, "enter more of the job ID", 2)
        if by_id:
            return by_id
    newest = (str(item["key"]) for item in islice(list_newest(table), PAGE))
    similar = next((key for key in newest if key.endswith(f"/{name}")), None)
    hint = f"did you mean {printable(similar)}?" if similar else "`retake ls` lists all jobs"
    raise CommandError(f"there is no job {name}", hint, 2)


def identity(entry: Entry) -> str:
    """Return what tells an entry from all others: a job's id, or a waiting file's key."""
    return entry.id if isinstance(entry, Job) else entry.key


def took_seconds(entry: Entry) -> float:
    """Return the seconds from the claim to the end, or until now."""
    end = entry.entered.get(entry.state) if entry.state in TERMINAL else None
    return seconds_since(entry.began, end)


def seconds_since(moment: datetime, until: datetime | None = None) -> float:
    """Return the seconds from one moment to another, or to now."""
    return ((until or now()) - moment).total_seconds()


def paid_usd(entry: Entry) -> float:
    """Return what a job costs; unknown costs count with their estimates."""
    return of_job(entry).usd if isinstance(entry, Job) else 0.0


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
    return sorted(entries, key=lambda entry: entry.began, reverse=True)


def _listings_of(states: Collection[State]) -> set[Listing]:
    """Return where entries in some states, or in any, are listed."""
    listings = {listing_of(state) for state in states or State}
    return listings | {Listing.ATTENTION} if Listing.HELD in listings else listings


def _list_partition(table: Any, listing: Listing, prefix: str) -> Iterator[Item]:
    query: dict[str, Any] = {
        "IndexName": NEWEST_INDEX,
        "KeyConditionExpression": "#listing = :listing",
        "ExpressionAttributeNames": {"#listing": LISTING_ATTRIBUTE},
        "ExpressionAttributeValues": {":listing": listing},
        "ScanIndexForward": False,
    }
    if prefix:  # most may be filtered out, so pages are as long as they can be
        query["FilterExpression"] = "begins_with(#key, :prefix)"
        query["ExpressionAttributeNames"]["#key"] = "key"
        query["ExpressionAttributeValues"][":prefix"] = prefix
    else:
        query["Limit"] = PAGE
    return pages(table.query, **query)


def _takes_of(table: Any, key: str) -> list[Entry]:
    """Read the jobs of a key, and its file if that waits, newest first."""
    listed = pages(
        table.query,
        IndexName=TAKES_INDEX,
        KeyConditionExpression="#key = :key",
        ExpressionAttributeNames={"#key": "key"},
        ExpressionAttributeValues={":key": key},
    )
    return _read(table, listed)


def _jobs_that_begin_with(table: Any, beginning: str) -> list[Entry]:
    """Read the jobs whose ids begin with at least 8 characters."""
    if len(beginning) < PREFIX_CHARACTERS:
        return []
    items = pages(
        table.query,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :beginning)",
        ExpressionAttributeValues={
            ":pk": f"job#{beginning[:PREFIX_CHARACTERS]}",
            ":beginning": beginning,
        },
        ConsistentRead=True,
    )
    return _newest_first(map(entry_from_item, items))


def _read(table: Any, listed: Iterable[Item]) -> list[Entry]:
    """Read what an index has listed, as it is now, newest first."""
    keys = [{"pk": item["pk"], "sk": item["sk"]} for item in listed]
    items = (item for item in get_many(table, keys) if LISTING_ATTRIBUTE in item)
    return _newest_first(map(entry_from_item, items))

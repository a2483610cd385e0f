"""The follow-up index: what somebody must look at again, and which jobs are held."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..domain.intake import InputRecord
from ..domain.job import FollowUpQueue, Job
from . import dynamodb
from .dynamodb import AT_ATTRIBUTE, FOLLOW_UP_INDEX, QUEUE_ATTRIBUTE, Item
from .input_store import record_from_item
from .job_store import job_from_item

Entry = TypeVar("Entry")
MAX_COUNT_PAGES = 20  # of 1 MB each, which is about 1,000 records


class FollowUps:
    """Queries the index; its reads are eventually consistent.

    Parameters:
        table: a boto3 Table.
    """

    def __init__(self, *, table: Any) -> None:
        self._table = table

    def due(self, now: float, limit: int) -> list[Job | InputRecord]:
        """List at most `limit` records that are due, the longest first."""
        query = self._query(FollowUpQueue.DUE, "#at <= :at", int(now))
        return _readable(entry_from_item, self._first_page(query, limit))

    def held(self, limit: int) -> list[Job]:
        """List at most `limit` held jobs, oldest first."""
        return _readable(job_from_item, self._first_page(self._query(FollowUpQueue.HELD), limit))

    def all(self, queues: Iterable[FollowUpQueue] = FollowUpQueue) -> Iterator[Job | InputRecord]:
        """Yield every record that is followed up, or that is in some of the queues."""
        for queue in queues:
            yield from map(entry_from_item, dynamodb.pages(self._table.query, **self._query(queue)))

    def count(self, queue: FollowUpQueue, before: float) -> int:
        """Count the records of a queue that were due before a second, over a few pages."""
        query = self._query(queue, "#at < :at", int(before))
        counted = 0
        for _ in range(MAX_COUNT_PAGES):
            page = self._table.query(Select="COUNT", **query)
            counted += int(page["Count"])
            if "LastEvaluatedKey" not in page:
                break
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        return counted

    def _query(
        self, queue: FollowUpQueue, condition: str = "", at: int | None = None
    ) -> dict[str, Any]:
        query: dict[str, Any] = {
            "IndexName": FOLLOW_UP_INDEX,
            "KeyConditionExpression": "#queue = :queue",
            "ExpressionAttributeNames": {"#queue": QUEUE_ATTRIBUTE},
            "ExpressionAttributeValues": {":queue": queue},
        }
        if condition:
            query["KeyConditionExpression"] += f" AND {condition}"
            query["ExpressionAttributeNames"]["#at"] = AT_ATTRIBUTE
            query["ExpressionAttributeValues"][":at"] = at
        return query

    def _first_page(self, query: dict[str, Any], limit: int) -> list[Item]:
        items: list[Item] = self._table.query(**query, Limit=limit)["Items"]
        return items


def _readable(read: Callable[[Item], Entry], items: list[Item]) -> list[Entry]:
    """Read items; one that this version cannot read must not stop the others."""
    entries: list[Entry] = []
    for item in items:
        try:
            entries.append(read(item))
        except (KeyError, TypeError, ValueError):
            logging.getLogger(__name__).exception("unreadable record %s", item.get("pk"))
    return entries


def entry_from_item(item: Item) -> Job | InputRecord:
    """Read a job or an input record from its item."""
    return job_from_item(item) if item["pk"].startswith("job#") else record_from_item(item)

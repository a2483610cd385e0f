"""How long the last renders took and what they cost, in DynamoDB.

Poll schedules and prices are learned from it.
"""

from typing import Any

from ..domain import prices
from ..domain.poll_schedule import RENDER_WINDOW
from ..domain.prices import Cost, Work
from . import dynamodb
from .dynamodb import Item

_PK = "renders"


class PastJobs:
    """Reads and extends what is known about past jobs.

    Parameters:
        table: a boto3 Table.
    """

    def __init__(self, *, table: Any) -> None:
        self._table = table

    def render_seconds(self) -> list[float]:
        """Return the seconds that the last renders took, oldest first."""
        return [float(seconds) for seconds in self._read()["seconds"]]

    def costs(self) -> list[Cost]:
        """Return what the last jobs cost, oldest first."""
        return _costs(self._read())

    def add(self, render_seconds: float | None, cost: Cost | None) -> list[Cost]:
        """Add a job; one that cannot be written at once is dropped.

        Parameters:
            render_seconds: how long its render took, if that is known.
            cost: what it cost, if that is known. The cost of a job is kept once.

        Returns:
            The costs, with this one.
        """
        item = self._read()
        seconds, costs = item["seconds"], _costs(item)
        if render_seconds is not None:
            seconds = [*seconds, render_seconds][-RENDER_WINDOW:]
        if cost:
            costs = prices.add(costs, cost)
        added = dynamodb.key(_PK) | {
            "version": item["version"] + 1,
            "seconds": dynamodb.to_attribute([float(each) for each in seconds]),
            "costs": dynamodb.to_attribute(
                [[each.job, each.work.seconds, each.work.megapixels, each.usd] for each in costs]
            ),
        }
        condition = "attribute_not_exists(pk) OR version = :before"
        dynamodb.put_if(self._table, added, condition, before=item["version"])
        return costs

    def _read(self) -> Item:
        empty: Item = {"version": 0, "seconds": [], "costs": []}
        return empty | (dynamodb.get(self._table, _PK) or {})


def _costs(item: Item) -> list[Cost]:
    return [
        Cost(str(job), Work(float(seconds), float(megapixels)), float(usd))
        for job, seconds, megapixels, usd in item["costs"]
    ]

"""How long the last renders took, in DynamoDB; poll schedules are learned from it."""

from typing import Any

from ..domain.poll_schedule import RENDER_WINDOW
from . import dynamodb

_PK = "renders"


class RenderTimes:
    """Reads and extends the list of render times.

    Parameters:
        table: a boto3 Table.
    """

    def __init__(self, *, table: Any) -> None:
        self._table = table

    def recent(self) -> list[float]:
        """Return the seconds that the last renders took, oldest first."""
        item = dynamodb.get(self._table, _PK) or {}
        return [float(seconds) for seconds in item.get("seconds", ())]

    def add(self, seconds: float) -> None:
        """Add a render; one that cannot be written at once is dropped."""
        item = dynamodb.get(self._table, _PK) or {"version": 0, "seconds": []}
        newest = [*item["seconds"], dynamodb.to_attribute(float(seconds))][-RENDER_WINDOW:]
        added = dynamodb.key(_PK) | {"version": item["version"] + 1, "seconds": newest}
        condition = "attribute_not_exists(pk) OR version = :before"
        dynamodb.put_if(self._table, added, condition, before=item["version"])

"""When the last email digest was sent, in DynamoDB."""

from typing import Any

from . import dynamodb

_PK = "email"


class EmailLog:
    """Reads and writes the time of the last email digest.

    Parameters:
        table: a boto3 Table.
    """

    def __init__(self, *, table: Any) -> None:
        self._table = table

    def last_sent_at(self) -> float:
        """Return when the last email was sent, in seconds since the epoch; 0 if never."""
        return float((dynamodb.get(self._table, _PK) or {}).get("sent_at", 0))

    def record(self, sent_at: float) -> None:
        """Record that an email was sent."""
        self._table.put_item(Item=dynamodb.key(_PK) | {"sent_at": int(sent_at)})

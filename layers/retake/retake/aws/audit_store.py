"""How far the audit of the input bucket is, in DynamoDB."""

from typing import Any

from ..domain.audit import Audit
from . import dynamodb

_PK = "audit"


class AuditStore:
    """Reads and writes the audit's cursor.

    Two sweeps at once may list the same page; ingesting an object twice does no harm.

    Parameters:
        table: a boto3 Table.
    """

    def __init__(self, *, table: Any) -> None:
        self._table = table

    def read(self) -> Audit:
        """Read how far the audit is."""
        item = dynamodb.get(self._table, _PK)
        return dynamodb.from_item(Audit, item) if item else Audit()

    def write(self, audit: Audit) -> None:
        """Write how far the audit is."""
        self._table.put_item(Item=dynamodb.to_item(audit) | dynamodb.key(_PK))

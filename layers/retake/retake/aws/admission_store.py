"""The state of admission control in DynamoDB: one item, changed by conditional writes."""

from collections.abc import Callable
from typing import Any

from ..domain.admission import Admission, Denial
from ..domain.job import HoldReason
from . import dynamodb

MAX_TRIES = 30
_PK = "admission"


class AdmissionStore:
    """Reads and changes the state of admission control.

    Parameters:
        table: a boto3 Table.
    """

    def __init__(self, *, table: Any) -> None:
        self._table = table

    def read(self) -> Admission:
        """Read the state."""
        return self._read()[0]

    def change(self, step: Callable[[Admission], Admission | Denial]) -> Denial | None:
        """Apply a step in one conditional write, again if another function was faster.

        Returns:
            `None` when the step was applied, else why not.
        """
        for _ in range(MAX_TRIES):
            admission, version = self._read()
            after = step(admission)
            if isinstance(after, Denial):
                return after
            if after == admission or self._write(after, version):
                return None
        return Denial(HoldReason.RATE, "too many functions ask for admission at once", 2)

    def _read(self) -> tuple[Admission, int]:
        item = dynamodb.get(self._table, _PK)
        if item is None:
            return Admission(), 0
        return dynamodb.from_item(Admission, item), int(item["version"])

    def _write(self, admission: Admission, before: int) -> bool:
        item = dynamodb.to_item(admission) | dynamodb.key(_PK) | {"version": before + 1}
        condition = "attribute_not_exists(pk) OR version = :before"
        return dynamodb.put_if(self._table, item, condition, before=before)

"""The state of admission control in DynamoDB: one item, changed by conditional writes."""

import time
from collections.abc import Callable
from typing import Any

from ..domain.admission import Admission, Denial
from ..domain.job import HoldReason, Job
from . import dynamodb
from .dynamodb import Item
from .job_store import job_from_item, job_name

MAX_TRIES = 30
FRESH_SECONDS = 1.0  # that a state counts as recent; most calls of a function take less
_PK = "admission"


class AdmissionStore:
    """Reads and changes the state of admission control.

    A change first tries the state that was read or written a moment ago, which saves a read: a
    write holds only if that is still the state, and what writes nothing is decided by a new read.

    Parameters:
        table: a boto3 Table.
        clock: returns seconds since the epoch, which go on while Lambda has frozen the function.
    """

    def __init__(self, *, table: Any, clock: Callable[[], float] = time.time) -> None:
        self._table, self._clock = table, clock
        self._last: tuple[Admission, int] | None = None
        self._last_at = 0.0
        self._is_unused = False  # it was read for the next change

    def read(self) -> Admission:
        """Read the state."""
        return self._read()[0]

    def read_recent(self) -> Admission:
        """Return the state as it was a moment ago: a hint, not a decision."""
        return (self._recent() or self._read())[0]

    def read_with_job(self, job_id: str) -> Job | None:
        """Read a job, and in the same call the state for a change that follows at once."""
        found = dynamodb.get_named(self._table, [job_name(job_id), _PK])
        self._remember(found.get(_PK))
        self._is_unused = True
        item = found.get(job_name(job_id))
        return job_from_item(item) if item else None

    def change(self, step: Callable[[Admission], Admission | Denial]) -> Denial | None:
        """Apply a step in one conditional write, again if another function was faster.

        Returns:
            `None` when the step was applied, else why not.
        """
        recent = self._recent()
        decides = self._is_unused
        self._is_unused = False
        for _ in range(MAX_TRIES):
            decides = decides or recent is None
            admission, version = recent or self._read()
            after = step(admission)
            if not isinstance(after, Denial) and after != admission:
                if self._write(after, version):
                    return None
            elif decides:
                return after if isinstance(after, Denial) else None
            recent = None
        return Denial(HoldReason.RATE, "too many functions ask for admission at once", 2)

    def _read(self) -> tuple[Admission, int]:
        return self._remember(dynamodb.get(self._table, _PK))

    def _write(self, admission: Admission, before: int) -> bool:
        item = dynamodb.to_item(admission) | dynamodb.key(_PK) | {"version": before + 1}
        condition = "attribute_not_exists(pk) OR version = :before"
        if not dynamodb.put_if(self._table, item, condition, before=before):
            return False
        self._last, self._last_at = (admission, before + 1), self._clock()
        return True

    def _remember(self, item: Item | None) -> tuple[Admission, int]:
        state = (Admission(), 0)
        if item is not None:
            state = (dynamodb.from_item(Admission, item), int(item["version"]))
        self._last, self._last_at = state, self._clock()
        return state

    def _recent(self) -> tuple[Admission, int] | None:
        return self._last if self._clock() < self._last_at + FRESH_SECONDS else None

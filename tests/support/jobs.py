"""Jobs for tests of what stores them."""

from datetime import UTC, datetime
from typing import Any

from retake.domain.input_files import Drop, InputFile
from retake.domain.job import Job, State

DROPPED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def new_job(job_id: str = "j", state: State = State.CLAIMED, **fields: Any) -> Job:
    """Create a job that is not stored yet."""
    given: dict[str, Any] = {
        "bucket": "b",
        "key": "k.mp4",
        "drop_version": "v",
        "clip": InputFile("k.mp4", "e", 1, DROPPED_AT),
        "entered": {state: DROPPED_AT},
    }
    return Job(id=job_id, state=state, **given | fields)


def drop_of(key: str = "k.mp4", at: datetime = DROPPED_AT) -> Drop:
    """Create the drop of a clip that was written at a time."""
    return Drop("b", InputFile(key, "e", 1, at))

"""Events as EventBridge delivers them to a queue."""

import json
from typing import Any


def account_event(name: str, time: Any = "2026-11-01T12:04:05Z", **detail: Any) -> str:
    """Create an event about the account, such as `Retake Held`."""
    event = {"id": "e", "source": "retake", "detail-type": f"Retake {name}"}
    return json.dumps(event | {"time": time, "detail": detail})


def job_event(name: str, number: int = 0, key: str = "", **changes: Any) -> str:
    """Create an event about the job of one of many clips.

    Parameters:
        name: such as `Failed`.
        number: the clip's.
        key: its key, if it is special.
        changes: other fields of the detail, or `time`.
    """
    key = key or f"shoot/clip-{number}.mp4"
    detail = {
        "job": f"{number:032x}",
        "clip": f"s3://input/{key}",
        "state": name.upper(),
        "message": "what happened",
    }
    if name == "Delivered":
        detail["result"] = f"s3://output/{key}"
    return account_event(name, **detail | changes)

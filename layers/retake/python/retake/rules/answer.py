"""What people and programs read about a job: the two files beside its result, and its event."""

import json
from typing import Any

from .states import PAID, Held, State

JOB_SUFFIX = ".job.json"
ERROR_SUFFIX = ".error.json"

_DO_NOW = {
    State.LOST: "Keep the request id and ask Segmind's support; drop the clip with a higher rerun for another take.",
    State.FAILED: "Change what the reason names, or drop the same files again to try once more.",
    State.REFUSED: "Mend it and drop the files again.",
}
_MEANS = {
    State.CLAIMED: "Checked and taken; it will be sent to Segmind.",
    State.HELD: "Fit to go, kept back for now; it goes on by itself.",
    State.SUBMITTING: "On its way to Segmind.",
    State.SUBMIT_UNKNOWN: "Segmind's answer never came; its history decides before anything is sent again.",
    State.RENDERING: "Segmind is rendering it.",
    State.DELIVERING: "Rendered; the result is being copied.",
    State.DELIVERED: "Done.",
}


def suffix(state: State) -> str:
    """Name the file that tells this state: final failures and refusals have their own."""
    return ERROR_SUFFIX if state in _DO_NOW else JOB_SUFFIX


def of_job(job: dict[str, Any]) -> dict[str, Any]:
    """Say all that a person may want to know of a job; `job` is its record."""
    state = State(job["state"])
    told: dict[str, Any] = {
        "state": state,
        "job": job["id"],
        "clip": f"s3://{job['bucket']}/{job['key']}",
        "message": job.get("reason") if state in _DO_NOW else _MEANS[state],
    }
    if state in _DO_NOW:
        told["do_now"] = job.get("cure") or _DO_NOW[state]
        told["field"] = job.get("field")
        told["paid"] = state in PAID
    elif job.get("reason"):
        told["reason"] = job["reason"]
    if state is State.HELD:
        told["held"] = job["held"]
        if job["held"] == Held.ATTENTION:
            told["message"] = "A person must look at it."
    names = ("prompt", "mode", "first_frame", "first_frame_url", "rerun", "seconds", "request_id", "result", "cost_usd", "times")
    told |= {name: job[name] for name in names if name in job}
    return {name: value for name, value in told.items() if value is not None}


def of_waiting(bucket: str, key: str, waits: str, since: str) -> dict[str, Any]:
    """Say what a file that is not yet part of a job waits for."""
    return {"state": State.WAITING, "file": f"s3://{bucket}/{key}", "message": f"{key} {waits}", "times": {State.WAITING: since}}


def plain(text: object) -> str:
    """Make a name or a prompt safe to show: what could steer a terminal or turn the direction of writing is spelled out."""
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in str(text))

"""The status files beside the results, which are also the details of the events."""

import json
from typing import Any

from .intake import InputRecord
from .job import PAID, HoldReason, Job, State

JOB_SUFFIX = ".job.json"
ERROR_SUFFIX = ".error.json"
SUFFIXES = (JOB_SUFFIX, ERROR_SUFFIX)

# Final failures: what to do now.
_CURES = {
    State.LOST: "Keep the request id and contact Segmind's support. "
    "To pay for another take, drop the clip with a higher rerun.",
    State.FAILED: "Fix what the message names, or drop the same files again to retry.",
    State.REFUSED: "Fix the problem and drop the files again.",
}
_MESSAGES = {
    State.CLAIMED: "Checked and accepted; it will be sent to Segmind.",
    State.HELD: "Ready, but held for now; it continues automatically.",
    State.SUBMITTING: "Being sent to Segmind.",
    State.SUBMIT_UNKNOWN: "Segmind's response was lost; its history decides before a resubmit.",
    State.RENDERING: "Segmind is rendering it.",
    State.FETCHING: "Rendered; the result is being copied.",
    State.FINISHING: "Rendered and secured; the film is being finished.",
    State.DELIVERED: "Done.",
}


def suffix(state: State) -> str:
    """Return the suffix of the status file for a state; final failures have their own."""
    return ERROR_SUFFIX if state in _CURES else JOB_SUFFIX


def of_job(job: Job) -> dict[str, Any]:
    """Return the content of a job's status file."""
    failed = job.state in _CURES
    status: dict[str, Any] = {
        "state": job.state,
        "job": job.id,
        "clip": f"s3://{job.bucket}/{job.key}",
        "message": job.explanation if failed else _MESSAGES[job.state],
    }
    if failed:
        status["do_now"] = (job.refusal and job.refusal.cure) or _CURES[job.state]
        status["field"] = job.refusal and job.refusal.field
        status["paid"] = job.state in PAID
    else:
        status["reason"] = job.reason
    if job.state is State.HELD:
        status["held"] = job.hold_reason
        if job.hold_reason is HoldReason.ATTENTION:
            status["message"] = "A person must look at it."
    status |= job.sidecar.as_fields() if job.sidecar else {}
    status |= {
        "found": job.footage.describe() if job.footage else None,
        "seconds": job.footage.seconds if job.footage else None,
        "done": list(job.prepared.steps) or None if job.prepared else None,
        "request_id": job.request_id,
        "result": job.result,
        "warnings": list(job.warnings) or None,
        "estimate_usd": job.estimate.usd if job.estimate else None,
        "rate": job.estimate.rate if job.estimate else None,
        "cost_usd": job.cost_usd,
        "times": _times(job),
    }
    return {name: value for name, value in status.items() if value is not None}


def of_waiting(record: InputRecord) -> dict[str, Any]:
    """Return the content of the status file of a file that is not part of a job yet."""
    return {
        "state": record.state,
        "file": f"s3://{record.bucket}/{record.key}",
        "message": f"{record.key} {record.explanation}",
        "times": _times(record),
    }


def printable(text: object, keep: str = "") -> str:
    """Escape what could control a terminal or turn the direction of writing.

    Parameters:
        text: anything that is shown as text.
        keep: characters that are not escaped.
    """
    text = str(text)
    if text.translate(dict.fromkeys(map(ord, keep))).isprintable():  # nearly always, and fast
        return text
    return "".join(
        character if character.isprintable() or character in keep else json.dumps(character)[1:-1]
        for character in text
    )


def _times(entry: Job | InputRecord) -> dict[str, str]:
    return {
        state: moment.isoformat(timespec="milliseconds") for state, moment in entry.entered.items()
    }

"""What the live check found, and what of it is a problem."""

from typing import Any
from urllib.parse import urlsplit

from retake.domain.job import TERMINAL, State
from retake.segmind.json_values import parse_json

Report = dict[str, dict[str, Any]]  # findings by name, in sections


def problems(report: Report, max_usd: float) -> list[str]:
    """Say what is not as expected."""
    job, cost = report["job"], report["job"].get("cost_usd")
    found = []
    if job["state"] != State.DELIVERED:
        found.append(_not_delivered(job))
    if cost is not None and cost > max_usd:
        advice = "drop no other clip before you know Segmind's price"
        found.append(f"it cost {cost:.2f} USD, more than {max_usd:g} USD; {advice}")
    if report.get("file") and not report["file"].get("same"):
        found.append("the render in the staging bucket differs from the file that Segmind serves")
    if "history" in report and not report["history"]["would_be_found"]:
        cause = "a lost response would not be found in the history"
        found.append(f"{cause}: see layers/retake/retake/segmind/history.py")
    return found


def _not_delivered(job: dict[str, Any]) -> str:
    state = job["state"] or "not even accepted"
    reason = job.get("reason", "no reason yet")
    where = "its .error.json file says what to do"
    if job["state"] not in TERMINAL:
        where = "it continues automatically; see its .job.json file"
    return f"not delivered but {state}: {reason}; {where}"


def outline(value: Any) -> Any:
    """Return the shape of a value.

    Names are kept, lists keep their first item, and texts become their type, or the host of
    their URL.
    """
    if isinstance(value, dict):
        return {str(name)[:60]: outline(item) for name, item in list(value.items())[:40]}
    if isinstance(value, list):
        return [outline(item) for item in value[:1]]
    if isinstance(value, str):
        inner = parse_json(value) if value.lstrip()[:1] in ("{", "[") else None
        if inner is not None:
            return {"text of": outline(inner)}
        if value.lower().startswith(("http://", "https://")):
            return f"URL at {urlsplit(value).hostname}"
    return type(value).__name__

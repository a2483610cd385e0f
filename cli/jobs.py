"""Reads many jobs at once, and says what follows from their records."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from statistics import median
from typing import Any

from retake.adapters.jobs import DUE, HELD, QUEUE_INDEX, Row
from retake.rules.gate import PRICE
from retake.rules.states import ENDED, PAID, Held, State

from .console import now

USUAL = 50  # jobs whose time is looked at for what the next one may take
_BATCH = 100  # rows DynamoDB gives in one batch
_MAY_BE_PAID = PAID | {State.SUBMITTING, State.SUBMIT_UNKNOWN}


def everything(table: Any) -> list[Row]:
    """List all jobs and all files that wait, newest first; one scan, page by page."""
    wanted = "sk = :job OR (sk = :place AND attribute_exists(waits))"
    scan = {"FilterExpression": wanted, "ExpressionAttributeValues": {":job": "job", ":place": "place"}}
    return sorted(_pages(table.scan, scan), key=began, reverse=True)


def unfinished(table: Any) -> list[Row]:
    """List what somebody must still look after, newest first, without reading the rest."""
    rows = (row for queue in (DUE, HELD) for row in _pages(table.query, _of_queue(queue)))
    return sorted((row for row in rows if State(row["state"]) not in ENDED), key=began, reverse=True)


def by_id(table: Any, ids: Iterable[str]) -> dict[str, Row]:
    """Read the records of some jobs; those that are not there yet are left out."""
    keys = [{"pk": f"job#{job}", "sk": "job"} for job in dict.fromkeys(ids)]
    found: dict[str, Row] = {}
    while keys:
        asked, keys = keys[:_BATCH], keys[_BATCH:]
        answer = table.meta.client.batch_get_item(RequestItems={table.name: {"Keys": asked, "ConsistentRead": True}})
        found |= {row["id"]: row for row in map(_row, answer["Responses"].get(table.name, []))}
        keys += answer.get("UnprocessedKeys", {}).get(table.name, {}).get("Keys", [])
    return found


def began(row: Row) -> str:
    """Tell when a job was claimed, or a file began to wait."""
    return str(min(row["times"].values()))


def took(row: Row) -> float:
    """Tell the seconds from the claim to the end, or until now."""
    end = row["times"].get(row["state"]) if State(row["state"]) in ENDED else None
    return seconds_since(began(row), datetime.fromisoformat(end) if end else None)


def seconds_since(moment: str, until: datetime | None = None) -> float:
    """Count the seconds from a recorded time to another, or to now."""
    return ((until or now()) - datetime.fromisoformat(moment)).total_seconds()


def paid(row: Row) -> float:
    """Tell what a job has cost in USD; what is under way, or has no known cost, counts with the price that the gate books."""
    return float(row.get("cost_usd", PRICE)) if State(row["state"]) in _MAY_BE_PAID else 0.0


def usual_seconds(rows: list[Row]) -> float | None:
    """Tell how long the next job may take, from submit to delivery: the median of recent ones; `None` while there are none."""
    done = [row["times"] for row in rows if row["state"] == State.DELIVERED and State.SUBMITTING in row["times"]][:USUAL]
    spans = [seconds_since(times[State.SUBMITTING], datetime.fromisoformat(times[State.DELIVERED])) for times in done]
    return median(spans) if spans else None


def reason(row: Row) -> str:
    """Say why a job is not done, if there is something to say."""
    held = f"{row['held']}: " if row["state"] == State.HELD else ""
    return held + str(row.get("reason") or "") if held or State(row["state"]) is not State.DELIVERED else ""


def needs_a_person(row: Row) -> bool:
    """Tell whether a job goes on only after somebody has looked at it."""
    return row["state"] == State.HELD and row.get("held") == Held.ATTENTION


def _of_queue(queue: str) -> dict[str, Any]:
    condition = {"KeyConditionExpression": "#q = :q", "ExpressionAttributeNames": {"#q": "queue"}}
    return {"IndexName": QUEUE_INDEX, "ExpressionAttributeValues": {":q": queue}} | condition


def _pages(read: Any, asked: dict[str, Any]) -> Iterator[Row]:
    while True:
        page = read(**asked)
        yield from map(_row, page["Items"])
        if "LastEvaluatedKey" not in page:
            return
        asked = asked | {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _row(item: Row) -> Row:
    """Make a record of what DynamoDB gives; a place whose file waits reads like a job."""
    row: Row = json.loads(json.dumps(item, default=_number))
    if row["sk"] == "place":
        row |= {"id": "", "state": State.WAITING, "reason": row.get("waits", ""), "times": {State.WAITING: row.get("since", "")}}
    return row


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)

"""DynamoDB: the jobs, the places in the bucket they belong to, and the gate; every write is conditional."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from ..rules.drop import Drop
from ..rules.gate import Gate, Hold, Shut
from ..rules.planner import WINDOW
from ..rules.sidecar import Sidecar
from ..rules.states import Held, State, before

QUEUE_INDEX = "queue"
DUE, HELD = "due", "held"  # the two partitions of that index
STEP = 120  # seconds that the next step of a job may take before it is looked after
GATE_TRIES = 30
Row = dict[str, Any]


class JobsTable:
    """One table. `table` is a boto3 Table; `clock()` gives seconds since the epoch.

    A row of a job has `pk = job#<id>`; a row of a place in the bucket has `pk = place#<bucket>/<key>`; a first frame points to the
    clips that name it (`pk = frame#…`, `sk` = the clip's key). Rows somebody must look after again are in the index `queue`:
    under `due` from the second `at` on, or under `held`, oldest first.
    """

    def __init__(self, table: Any, clock: Callable[[], float] = time.time) -> None:
        self._table, self._clock = table, clock

    def job(self, job_id: str) -> Row | None:
        """Read a job's record."""
        return self._get(f"job#{job_id}")

    def place(self, bucket: str, key: str) -> Row:
        """Read what is known of a key in the input bucket; empty when nothing is."""
        return self._get(f"place#{bucket}/{key}") or {}

    def add(self, job: Mapping[str, Any], replaces: Row | None) -> Row | None:
        """Write the row of a new job, or of one that starts again in place of `replaces`.

        Returns the row; `None` when somebody else was first.
        """
        run, version = (replaces["run"] + 1, replaces["v"] + 1) if replaces else (0, 1)
        row = {**job, "pk": f"job#{job['id']}", "sk": "job", "run": run, "v": version, "queue": DUE, "at": int(self._clock() + STEP)}
        row["times"] = {job["state"]: self._now()}
        condition = "v = :v" if replaces else "attribute_not_exists(pk)"
        values = {":v": replaces["v"]} if replaces else None
        try:
            self._table.put_item(Item=_storable(row), ConditionExpression=condition, **_given(ExpressionAttributeValues=values))
        except ClientError as error:
            _lost_race(error)
            return None
        return row

    def advance(self, job: Row, to: State, within: float = STEP, insist: bool = False, **fields: Any) -> Row | None:
        """Move a job forward, if nobody has touched it since `job` was read and it stands where it may.

        Parameters: `within`, the seconds after which the row is to be looked after if nothing more happens; `insist`, whether to go on
        when the row was touched but still is about the same request; `fields`, what else is set, `None` removes.
        Returns the new row; `None` when somebody else was faster, or the state may not follow.
        """
        sets = {"state": to, "queue": DUE, "at": int(self._clock() + within)} | fields
        now: Row | None = job
        while now and State(now["state"]) in before(to) and now.get("request_id") == job.get("request_id"):
            if (moved := self._update(now, sets, stamp=to)) or not insist:
                return moved
            now = self.job(job["id"])
        return None

    def note(self, job: Row, **fields: Any) -> Row | None:
        """Set fields of a job that nobody has touched since `job` was read; its state stays. `None` when somebody has."""
        return self._update(job, fields)

    def waiting(self, bucket: str, key: str, waits: str, due: float, firm: bool = False) -> Row:
        """Record that a dropped file is not part of a job yet, and from when it is to be looked at again; gives its place's row.

        `firm` tells whether `due` holds even if another time is recorded.
        """
        given = {"bucket": bucket, "key": key, "waits": waits, "since": self._now(), "queue": DUE, "at": int(due)}
        looks = "#q = :queue, #at = :at" if firm else "#q = if_not_exists(#q, :queue), #at = if_not_exists(#at, :at)"
        after = self._table.update_item(
            Key={"pk": f"place#{bucket}/{key}", "sk": "place"},
            UpdateExpression=f"SET #b = :bucket, #k = :key, waits = :waits, since = if_not_exists(since, :since), {looks}",
            ExpressionAttributeNames={"#b": "bucket", "#k": "key", "#q": "queue", "#at": "at"},
            ExpressionAttributeValues={f":{name}": value for name, value in given.items()},
            ReturnValues="ALL_NEW",
        )
        return _row(after["Attributes"])

    def told(self, place: Row) -> None:
        """Take a waiting file off the list of things to look at: its answer is written. If another time was set meanwhile, that holds."""
        self._change_place(place["bucket"], place["key"], "REMOVE #q, #t", "#t = :at", {":at": place.get("at", 0)})

    def look_later(self, place: Row, due: float) -> None:
        """Put off the next look at a waiting file."""
        self._change_place(place["bucket"], place["key"], "SET #t = :at, #q = #q", "attribute_exists(#q)", {":at": int(due)})

    def paired(self, bucket: str, key: str) -> None:
        """Forget that a sidecar or first frame was alone."""
        self._table.delete_item(Key={"pk": f"place#{bucket}/{key}", "sk": "place"})

    def take_place(self, dropped: Drop, job_id: str, accepted: bool, note: Sidecar | None = None) -> Row | None:
        """Make a job the newest of its key, and keep the note that these very files are taken with, for whoever looks at them later.

        Parameters: `accepted`, whether it may bring a video; `note`, `None` when there is none that can be read.
        Returns the place's row as it was before; `None` when a newer drop has the place, or these files have been taken with another note.
        """
        bucket, key, dropped_at = dropped.bucket, dropped.video.key, dropped.dropped_at
        sets = "SET newest = :job, dropped_at = :at, #b = :bucket, #k = :key" + (", accepted = :job" if accepted else "")
        values = {":job": job_id, ":at": dropped_at.isoformat(timespec="milliseconds"), ":bucket": bucket, ":key": key}
        condition = "(attribute_not_exists(dropped_at) OR dropped_at <= :at OR newest = :job)"
        if note:
            sets += ", own = :own, note = :note"
            values |= {":own": dropped.own, ":note": json.dumps(_storable(vars(note)), ensure_ascii=False)}  # escaped, 64 KB could be 400
            condition += " AND (attribute_not_exists(own) OR own <> :own OR note = :note)"
        return self._change_place(bucket, key, f"{sets} REMOVE waits, since, #q, #t", condition, values, "ALL_OLD")

    def own_request(self, request_id: str, mark: str) -> bool:
        """Make one of Segmind's requests belong to one submit, for ever; false when it belongs to another."""
        row = {"pk": f"request#{request_id}", "sk": "request", "mark": mark}
        try:
            self._table.put_item(
                Item=row, ConditionExpression="attribute_not_exists(pk) OR mark = :mark", ExpressionAttributeValues={":mark": mark}
            )
        except ClientError as error:
            _lost_race(error)
            return False
        return True

    def owner(self, request_id: str) -> str | None:
        """Tell which submit a request belongs to; `None` when to none of ours."""
        row = self._get(f"request#{request_id}")
        return row["mark"] if row else None

    def names_frame(self, bucket: str, frame_key: str, video_key: str) -> None:
        """Remember that a clip's sidecar names a first frame; its arrival then brings the clip back."""
        self._table.put_item(Item={"pk": f"frame#{bucket}/{frame_key}", "sk": video_key})

    def clips_of_frame(self, bucket: str, frame_key: str) -> list[str]:
        """Give the keys of the clips whose sidecars name a first frame."""
        named = {":pk": f"frame#{bucket}/{frame_key}"}
        rows = self._query(KeyConditionExpression="pk = :pk", ExpressionAttributeValues=named, ConsistentRead=True)
        return [row["sk"] for row in rows]

    def learn(self, seconds: float) -> None:
        """Remember how long a render took, as the newest of the last `WINDOW`; what cannot be written at once is let go."""
        row = self._get("renders") or {"v": 0, "seconds": []}
        newest = [*row["seconds"], seconds][-WINDOW:]
        with suppress(self._table.meta.client.exceptions.ConditionalCheckFailedException):
            self._table.put_item(
                Item=_storable({"pk": "renders", "sk": "renders", "v": row["v"] + 1, "seconds": newest}),
                ConditionExpression="attribute_not_exists(pk) OR v = :v",
                ExpressionAttributeValues={":v": row["v"]},
            )

    def renders(self) -> list[float]:
        """Give the seconds that the last renders took, oldest first."""
        return [float(seconds) for seconds in (self._get("renders") or {}).get("seconds", ())]

    def due(self, now: float, most: int) -> list[Row]:
        """List rows that nobody has looked after in time, longest first."""
        return self._queued("#q = :q AND #at <= :now", {":q": DUE, ":now": int(now)}, most)

    def held(self, most: int) -> list[Row]:
        """List held jobs, oldest first."""
        return self._queued("#q = :q", {":q": HELD}, most)

    def count(self, queue: str, before: float) -> int:
        """Count the rows of one partition of the queue index whose second `at` is earlier than `before`."""
        counted = self._table.query(
            IndexName=QUEUE_INDEX,
            Select="COUNT",
            KeyConditionExpression="#q = :q AND #at < :before",
            ExpressionAttributeNames={"#q": "queue", "#at": "at"},
            ExpressionAttributeValues={":q": queue, ":before": int(before)},
        )
        return int(counted["Count"])

    def gate(self) -> tuple[Gate, int]:
        """Read the gate and its version."""
        row = self._get("gate") or {}
        hold = row.get("hold")
        known = {
            name: row[name] for name in ("leases", "paused_until", "day", "spent_usd", "parked", "lifted", "lost", "news") if name in row
        }
        requests = {int(second): count for second, count in row.get("requests", {}).items()}
        return Gate(**known, requests=requests, hold=Hold(**hold | {"held": Held(hold["held"])}) if hold else None), row.get("v", 0)

    def at_gate(self, step: Callable[[Gate], Gate | Shut]) -> Shut | None:
        """Change the gate in one conditional write, again on what is there now if somebody else was faster; tells why it is shut."""
        for _ in range(GATE_TRIES):
            gate, version = self.gate()
            after = step(gate)
            if isinstance(after, Shut):
                return after
            if after == gate:
                return None
            row = {"pk": "gate", "sk": "gate", "v": version + 1} | asdict(after)
            row["requests"] = {str(second): count for second, count in after.requests.items()}
            try:
                self._table.put_item(
                    Item=_storable(row), ConditionExpression="attribute_not_exists(pk) OR v = :v", ExpressionAttributeValues={":v": version}
                )
                return None
            except ClientError as error:
                _lost_race(error)
        return Shut(Held.RATE, "too many others are at the gate", 2)

    def mailed_at(self) -> float:
        """Tell the second at which the last mail went out."""
        return float((self._get("mail") or {}).get("sent_at", 0))

    def mailed(self, second: float) -> None:
        """Note that a mail went out."""
        self._table.put_item(Item={"pk": "mail", "sk": "mail", "sent_at": int(second)})

    def _change_place(
        self, bucket: str, key: str, update: str, condition: str, values: Row | None = None, gives: str = "NONE"
    ) -> Row | None:
        names = {"#b": "bucket", "#k": "key", "#q": "queue", "#t": "at"}
        try:
            changed = self._table.update_item(
                Key={"pk": f"place#{bucket}/{key}", "sk": "place"},
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={name: word for name, word in names.items() if name in update + condition},
                **_given(ExpressionAttributeValues=values),
                ReturnValues=gives,
            )
        except ClientError as error:
            _lost_race(error)
            return None
        return _row(changed.get("Attributes", {}))

    def _queued(self, condition: str, values: Mapping[str, Any], most: int) -> list[Row]:
        names = {"#q": "queue"} | ({"#at": "at"} if "#at" in condition else {})
        found = self._query(
            IndexName=QUEUE_INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            most=most,
        )
        return list(found)

    def _query(self, most: int | None = None, **query: Any) -> Iterable[Row]:
        while True:
            page = self._table.query(**query, **_given(Limit=most))
            yield from map(_row, page["Items"])
            if most or "LastEvaluatedKey" not in page:
                return
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _get(self, pk: str) -> Row | None:
        sk = pk.partition("#")[0]
        item = self._table.get_item(Key={"pk": pk, "sk": sk}, ConsistentRead=True).get("Item")
        return _row(item) if item else None

    def _update(self, job: Row, fields: Mapping[str, Any], stamp: State | None = None) -> Row | None:
        mine = uuid4().hex
        fields = {**fields, "touch": mine}
        sets = {name: value for name, value in fields.items() if value is not None}
        removes = [f"#{name}" for name, value in fields.items() if value is None]
        names = {f"#{name}": name for name in fields} | {"#v": "v", "#state": "state"}
        bound = {f":{name}": value for name, value in sets.items()} | {":was": job["v"], ":one": 1, ":stood": job["state"]}
        expression = "SET " + ", ".join([f"#{name} = :{name}" for name in sets] + ["#v = #v + :one"])
        if stamp:
            expression += ", #times.#stamp = :now"
            names |= {"#times": "times", "#stamp": stamp}
            bound[":now"] = self._now()
        if removes:
            expression += " REMOVE " + ", ".join(removes)
        try:
            after = self._table.update_item(
                Key={"pk": job["pk"], "sk": "job"},
                UpdateExpression=expression,
                ConditionExpression="#v = :was AND #state = :stood",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=_storable(bound),
                ReturnValues="ALL_NEW",
            )
        except ClientError as error:
            _lost_race(error)
            now = self.job(job["id"])  # the write may have been made, its answer lost, and the repetition refused
            return now if now and now.get("touch") == mine else None
        return _row(after["Attributes"])

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")


def _lost_race(error: ClientError) -> None:
    """Swallow the one error that is an answer: the condition did not hold."""
    if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
        raise error


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def _storable(value: Any) -> Any:
    """Make a value fit for DynamoDB: numbers as decimals, nothing that is `None`."""
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, dict):
        return {name: _storable(item) for name, item in value.items() if item is not None}
    return [_storable(item) for item in value] if isinstance(value, list | tuple) else value


def _row(item: Row) -> Row:
    """Undo `_storable`: decimals become numbers again."""
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return _row(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value

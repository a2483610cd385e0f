"""What is known about the keys of the input bucket, in DynamoDB."""

import json
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from ..domain.input_files import Drop
from ..domain.intake import InputRecord, Waiting
from ..domain.job import FollowUpQueue, Job, Listing
from ..domain.preparation import Preparation
from ..domain.sidecar import Sidecar
from . import dynamodb
from .dynamodb import Item
from .job_store import job_from_item, job_name

_WAITING = "waiting_for, waiting_since, preparing, #queue, #at, #listing, #listed"
# DynamoDB reserves `bucket` and `key`; the keys of the indexes are long.
_NAMES = {
    "#bucket": "bucket",
    "#key": "key",
    "#queue": dynamodb.QUEUE_ATTRIBUTE,
    "#at": dynamodb.AT_ATTRIBUTE,
    "#listing": dynamodb.LISTING_ATTRIBUTE,
    "#listed": dynamodb.LISTED_AT_ATTRIBUTE,
}


class InputStore:
    """Reads and writes input records, and which clips name a first frame.

    Parameters:
        table: a boto3 Table.
        bucket: the input bucket's name.
        clock: returns seconds since the epoch.
    """

    def __init__(self, *, table: Any, bucket: str, clock: Callable[[], float] = time.time) -> None:
        self._table, self._bucket, self._clock = table, bucket, clock

    def get(self, key: str) -> InputRecord:
        """Read what is known about a key; an empty record when nothing is."""
        return self._record(key, dynamodb.get(self._table, self._pk(key)))

    def get_many(self, keys: Collection[str]) -> dict[str, InputRecord]:
        """Read what is known about some keys, in one call."""
        found = dynamodb.get_named(self._table, map(self._pk, keys))
        return {key: self._record(key, found.get(self._pk(key))) for key in keys}

    def get_with_job(self, key: str, job_id: str) -> tuple[InputRecord, Job | None]:
        """Read what is known about a key, and a job, in one call."""
        found = dynamodb.get_named(self._table, [self._pk(key), job_name(job_id)])
        item = found.get(job_name(job_id))
        return self._record(key, found.get(self._pk(key))), job_from_item(item) if item else None

    def wait(
        self,
        key: str,
        message: str,
        *,
        due_at: float,
        overrides: bool = False,
        preparing: str = "",
    ) -> InputRecord:
        """Record that a file is not part of a job yet.

        Parameters:
            key: its key.
            message: what it waits for.
            due_at: when it is followed up, in seconds since the epoch.
            overrides: whether `due_at` replaces a time that is recorded already.
            preparing: what prepare was asked for; empty if nothing.

        Returns:
            The record as it is stored.
        """
        values = {
            ":bucket": self._bucket,
            ":key": key,
            ":message": message,
            ":now": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            ":queue": FollowUpQueue.DUE,
            ":at": int(due_at),
            ":listing": Listing.WAITING,
        }
        follow_up = "#queue = :queue, #at = :at"
        if not overrides:
            follow_up = "#queue = if_not_exists(#queue, :queue), #at = if_not_exists(#at, :at)"
        asked = " REMOVE preparing"
        if preparing:
            values[":preparing"] = preparing
            follow_up, asked = f"{follow_up}, preparing = :preparing", ""
        after = self._table.update_item(
            Key=dynamodb.key(self._pk(key)),
            UpdateExpression="SET #bucket = :bucket, #key = :key, waiting_for = :message, "
            "waiting_since = if_not_exists(waiting_since, :now), #listing = :listing, "
            f"#listed = if_not_exists(#listed, :now), {follow_up}{asked}",
            ExpressionAttributeNames=_NAMES,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        return record_from_item(after["Attributes"])

    def stop_following(self, record: InputRecord) -> None:
        """Stop following up a waiting file, unless another time was recorded meanwhile."""
        at = record.follow_up.at if record.follow_up else 0
        self._update(record.key, "REMOVE #queue, #at", "#at = :at", {":at": at})

    def postpone(self, record: InputRecord, due_at: float) -> None:
        """Postpone the next follow-up of a waiting file."""
        condition = "attribute_exists(#queue)"
        self._update(record.key, "SET #at = :at REMOVE preparing", condition, {":at": int(due_at)})

    def begin_preparing(self, record: InputRecord, made_of: str) -> int:
        """Count that prepare begins, and return how often it has begun, from 1.

        Parameters:
            record: what is known about the clip.
            made_of: what is prepared, see `Candidate.to_prepare`; something else counts anew.
        """
        times = record.begun_times + 1 if record.begun == made_of else 1
        self._set(record.key, begun=made_of, begun_times=times)
        return times

    def prepared(self, key: str, preparation: Preparation) -> None:
        """Store what prepare made of a clip; its attempts count anew."""
        self._set(key, preparation=dynamodb.to_attribute(preparation), begun_times=0)

    def remove(self, key: str) -> None:
        """Forget a sidecar, preset or first frame that no longer waits."""
        self._table.delete_item(Key=dynamodb.key(self._pk(key)))

    def own(
        self, drop: Drop, job_id: str, *, accepted: bool, sidecar: Sidecar | None = None
    ) -> InputRecord | None:
        """Make a job the newest of its key.

        Parameters:
            drop: the files; the instructions they are accepted with are kept for later looks.
            job_id: the job.
            accepted: whether it may bring a video.
            sidecar: the instructions; `None` when there are none that can be read.

        Returns:
            The record as it was before; `None` when a newer drop owns the key, or this pair was
            accepted with other instructions.
        """
        sets = "SET newest_job = :job, dropped_at = :at, etags = :etags"
        sets += ", #bucket = :bucket, #key = :key"
        condition = "(attribute_not_exists(dropped_at) OR dropped_at <= :at OR newest_job = :job)"
        values: dict[str, Any] = {
            ":job": job_id,
            ":at": drop.dropped_at.isoformat(timespec="milliseconds"),
            ":etags": drop.etags,
            ":bucket": drop.bucket,
            ":key": drop.clip.key,
        }
        if accepted:
            sets += ", accepted_job = :job"
        if sidecar:
            sets += ", pair_version = :pair, sidecar = :sidecar"
            values |= {":pair": drop.pair_version, ":sidecar": sidecar.canonical()}
            condition += " AND (attribute_not_exists(pair_version)"
            condition += " OR pair_version <> :pair OR sidecar = :sidecar)"
        update = f"{sets} REMOVE {_WAITING}"
        before = self._update(drop.clip.key, update, condition, values, "ALL_OLD")
        if before is None:
            return None
        return record_from_item(before | {"bucket": drop.bucket, "key": drop.clip.key})

    def link_first_frame(self, frame_key: str, clip_key: str) -> None:
        """Remember that a clip names a first frame; dropping that wakes the clip."""
        self._table.put_item(Item={"pk": self._frame_pk(frame_key), "sk": clip_key})

    def clips_of_first_frame(self, frame_key: str) -> list[str]:
        """Return the keys of the clips that name a first frame."""
        linked = dynamodb.pages(
            self._table.query,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": self._frame_pk(frame_key)},
            ConsistentRead=True,
        )
        return [str(item["sk"]) for item in linked]

    def _record(self, key: str, item: Item | None) -> InputRecord:
        return record_from_item(item) if item else InputRecord(bucket=self._bucket, key=key)

    def _pk(self, key: str) -> str:
        return f"input#{self._bucket}/{key}"

    def _frame_pk(self, frame_key: str) -> str:
        return f"frame#{self._bucket}/{frame_key}"

    def _set(self, key: str, **values: Any) -> None:
        values = {"#bucket": self._bucket, "#key": key, **values}
        self._table.update_item(
            Key=dynamodb.key(self._pk(key)),
            UpdateExpression="SET " + ", ".join(f"{name} = :{name.strip('#')}" for name in values),
            ExpressionAttributeNames={name: _NAMES[name] for name in ("#bucket", "#key")},
            ExpressionAttributeValues={
                f":{name.strip('#')}": value for name, value in values.items()
            },
        )

    def _update(
        self,
        key: str,
        update: str,
        condition: str,
        values: dict[str, Any],
        returned: str = "NONE",
    ) -> Item | None:
        used = update + condition
        try:
            changed = self._table.update_item(
                Key=dynamodb.key(self._pk(key)),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={
                    name: word for name, word in _NAMES.items() if name in used
                },
                ExpressionAttributeValues=values,
                ReturnValues=returned,
            )
        except ClientError as error:
            dynamodb.raise_unless_lost_race(error)
            return None
        found: Item = changed.get("Attributes", {})
        return found


def record_from_item(item: Item) -> InputRecord:
    """Read an input record from its item."""
    without = {name: value for name, value in item.items() if name != "sidecar"}
    record = dynamodb.from_item(InputRecord, without)
    if "sidecar" in item:
        # Merged with a preset, it can be longer than a file may be, so it is not parsed as one.
        record = replace(record, sidecar=Sidecar.from_fields(json.loads(item["sidecar"])))
    if "waiting_for" in item:
        since = datetime.fromisoformat(item["waiting_since"])
        record = replace(record, waiting=Waiting(item["waiting_for"], since))
    return record

"""The jobs in DynamoDB; every write is conditional."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from ..domain import cost_sum
from ..domain.job import FollowUp, FollowUpQueue, Job, State, predecessors
from . import cost_sums, dynamodb
from .dynamodb import Item

STEP_SECONDS = 120  # that the next step of a job may take before it is followed up


class JobStore:
    """Reads and writes jobs.

    Parameters:
        table: a boto3 Table.
        clock: returns seconds since the epoch.
    """

    def __init__(self, *, table: Any, clock: Callable[[], float] = time.time) -> None:
        self._table, self._clock = table, clock

    def get(self, job_id: str) -> Job | None:
        """Read a job."""
        item = dynamodb.get(self._table, job_name(job_id))
        return job_from_item(item) if item else None

    def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Read some jobs by their ids; those that do not exist are left out."""
        found = dynamodb.get_named(self._table, map(job_name, job_ids))
        return {item["id"]: job_from_item(item) for item in found.values()}

    def create(self, job: Job, *, replaces: Job | None = None) -> Job | None:
        """Write a new job, or one that starts again in place of `replaces`.

        Returns:
            The job as it is stored; `None` when another function was first.
        """
        created = replace(
            job,
            entered={job.state: self._now()},
            run=replaces.run + 1 if replaces else 0,
            version=replaces.version + 1 if replaces else 1,
            follow_up=self._due_in(STEP_SECONDS),
        )
        item = item_of_job(created)
        if replaces:
            condition, before = "version = :before", {"before": replaces.version}
        else:
            condition, before = "attribute_not_exists(pk)", {}
        return created if dynamodb.put_if(self._table, item, condition, **before) else None

    def advance(
        self,
        job: Job,
        state: State,
        *,
        due_in: float = STEP_SECONDS,
        insist: bool = False,
        **changes: Any,
    ) -> Job | None:
        """Move a job to another state, if nobody has written it since `job` was read.

        Parameters:
            job: the job as it was read.
            state: the new state.
            due_in: seconds after which the job is followed up if nothing more happens.
            insist: whether to try again when the job was written meanwhile and still is about
                the same request.
            changes: other fields of the job that change.

        Returns:
            The job as it is stored; `None` when another function was faster, or the state
            cannot follow.
        """
        changes = {"follow_up": self._due_in(due_in), **changes}
        current: Job | None = job
        while (
            current
            and current.state in predecessors(state)
            and current.request_id == job.request_id
        ):
            entered = {**current.entered, state: self._now()}
            moved = self._write(current, replace(current, state=state, entered=entered, **changes))
            if moved or not insist:
                return moved
            current = self.get(job.id)
        return None

    def update(self, job: Job, *, due_in: float | None = None, **changes: Any) -> Job | None:
        """Change fields of a job whose state stays, if nobody has written it since it was read.

        Parameters:
            job: the job as it was read.
            due_in: seconds after which it is followed up; `None` leaves that as it is.
            changes: the fields that change.

        Returns:
            The job as it is stored; `None` when another function was faster.
        """
        if due_in is not None:
            changes["follow_up"] = self._due_in(due_in)
        return self._write(job, replace(job, **changes))

    def settle(self, job: Job) -> Job | None:
        """Stop following up a job that has ended, and add what it cost to the sums.

        Both are one write, so a cost is added exactly once: a job that was paid for never starts
        again, and its cost does not change any more.

        Returns:
            The job as it is stored; `None` when another function was faster.
        """
        cost = cost_sum.of_job(job)
        added = [cost_sums.addition(cost)] if cost.jobs else []
        return self._write(job, replace(job, follow_up=None), *added)

    def price(self, job: Job, cost_usd: float) -> Job | None:
        """Store the cost of a settled job that was unknown, and correct the sums.

        Returns:
            The job as it is stored; `None` when another function was faster.
        """
        priced = replace(job, cost_usd=cost_usd)
        return self._write(job, priced, cost_sums.addition(cost_sum.correction(priced)))

    def claim_request(self, request_id: str, correlation_id: str) -> bool:
        """Give one of Segmind's requests to one submit, permanently.

        Returns:
            Whether it belongs to this submit; false when it belongs to another.
        """
        item = dynamodb.key(f"request#{request_id}") | {"correlation_id": correlation_id}
        condition = "attribute_not_exists(pk) OR correlation_id = :mine"
        return dynamodb.put_if(self._table, item, condition, mine=correlation_id)

    def request_owner(self, request_id: str) -> str | None:
        """Return the correlation ID of the submit that a request belongs to, if it is ours."""
        item = dynamodb.get(self._table, f"request#{request_id}")
        return str(item["correlation_id"]) if item else None

    def _write(self, before: Job, after: Job, *others: Item) -> Job | None:
        """Write the difference between two versions of a job, together with other updates."""
        after = replace(after, version=before.version + 1, write_id=uuid4().hex)
        old, new = item_of_job(before), item_of_job(after)
        sets = {name: value for name, value in new.items() if old.get(name) != value}
        removes = old.keys() - new.keys()
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in sets)
        if removes:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in sorted(removes))
        names = {f"#{name}": name for name in {*sets, *removes, "version", "state"}}
        values: Mapping[str, Any] = {f":{name}": value for name, value in sets.items()}
        update = {
            "Key": dynamodb.key(job_name(before.id)),
            "UpdateExpression": expression,
            "ConditionExpression": "#version = :before AND #state = :stood",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                **values,
                ":before": before.version,
                ":stood": before.state,
            },
        }
        try:
            if others:
                dynamodb.update_together(self._table, update, *others)
            else:
                self._table.update_item(**update)
        except ClientError as error:
            dynamodb.raise_unless_lost_race(error)
            # The write may have succeeded, its response been lost, and the retry been refused.
            now = self.get(before.id)
            return now if now and now.write_id == after.write_id else None
        return after

    def _due_in(self, seconds: float) -> FollowUp:
        return FollowUp(FollowUpQueue.DUE, int(self._clock() + seconds))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def job_name(job_id: str) -> str:
    """Return the name of a job's record."""
    return f"job#{job_id}"


def item_of_job(job: Job) -> Item:
    """Return the item of a job."""
    listed = {
        dynamodb.LISTING_ATTRIBUTE: job.listing,
        dynamodb.LISTED_AT_ATTRIBUTE: dynamodb.to_attribute(job.began),
    }
    return dynamodb.to_item(job) | listed | dynamodb.key(job_name(job.id))


def job_from_item(item: Item) -> Job:
    """Read a job from its item."""
    return dynamodb.from_item(Job, item)

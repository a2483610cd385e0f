"""What jobs cost is summed up once for each job, whatever happens while it is settled."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from retake.aws import cost_sums, dynamodb
from retake.aws.job_store import JobStore
from retake.domain.cost_sum import CostSum
from retake.domain.job import Job, State
from retake.domain.prices import FLAT_USD
from tests.support.drops import deliver, drop_again
from tests.support.jobs import new_job
from tests.support.stand_ins import Clock
from tests.support.world import World

SUBMITTED_AT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
DAY = "2026-03-01"


@pytest.fixture
def jobs(table: Any) -> JobStore:
    return JobStore(table=table, clock=Clock())


class SharedTable:
    """A table that tells what comes before and after each transaction.

    Attributes:
        before: runs before the next transaction, once.
        after: runs after it, once.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []
        self.transactions = 0
        self.meta = SimpleNamespace(client=self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def transact_write_items(self, **options: Any) -> Any:
        self.transactions += 1
        if self.before:
            self.before.pop(0)()
        done = self._table.meta.client.transact_write_items(**options)
        if self.after:
            self.after.pop(0)()
        return done


def fail_with(*reasons: str) -> Callable[[], None]:
    """Return what fails as a transaction does that is canceled for some reasons."""

    def fail() -> None:
        codes = [{"Code": reason} for reason in reasons]
        response: Any = {
            "Error": {"Code": "TransactionCanceledException"},
            "CancellationReasons": codes,
        }
        raise ClientError(response, "TransactWriteItems")

    return fail


def ended(jobs: JobStore, job_id: str = "j", state: State = State.DELIVERED, **fields: Any) -> Job:
    """Create a job that has ended and is not settled."""
    entered = {State.SUBMITTING: SUBMITTED_AT, state: SUBMITTED_AT + timedelta(hours=1)}
    created = jobs.create(new_job(job_id, state, **fields))
    assert created
    job = jobs.update(created, entered=entered)
    assert job
    return job


def test_jobs_are_summed_up_by_the_utc_day_of_their_submit_and_by_folder(
    jobs: JobStore, table: Any
) -> None:
    folder = "x" * 1000 + "/"
    assert jobs.settle(ended(jobs, "j1", key="a/1.mp4", cost_usd=0.5))
    assert jobs.settle(ended(jobs, "j2", key="a/2.mp4", cost_usd=0.7))
    assert jobs.settle(ended(jobs, "j3", State.LOST, key="top.mp4"))
    assert jobs.settle(ended(jobs, "j4", key=f"{folder}1.mp4", cost_usd=0.1))
    sums = {each.folder: each for each in cost_sums.read(table)}
    same: Any = {"day": DAY, "mode": "adhere_1", "size": "1080"}
    assert sums == {
        "a/": CostSum(folder="a/", jobs=2, estimated_usd=1.2, billed_usd=1.2, **same),
        "/": CostSum(
            folder="/", jobs=1, estimated_usd=0.6, unpriced_jobs=1, unpriced_usd=0.6, **same
        ),
        folder: CostSum(folder=folder, jobs=1, estimated_usd=0.6, billed_usd=0.1, **same),
    }
    assert sums["/"].usd == FLAT_USD


@pytest.mark.parametrize(
    ("state", "fields"),
    [(State.FAILED, {}), (State.REFUSED, {}), (State.DELIVERED, {"cost_usd": 0.0})],
)
def test_what_costs_nothing_is_not_summed_up(
    jobs: JobStore, table: Any, state: State, fields: dict[str, Any]
) -> None:
    settled = jobs.settle(ended(jobs, state=state, **fields))
    assert settled
    assert settled.follow_up is None
    assert jobs.get("j") == settled
    assert cost_sums.read(table) == []


def test_of_two_functions_that_settle_a_job_one_adds_its_cost(jobs: JobStore, table: Any) -> None:
    job = ended(jobs, cost_usd=0.5)
    shared = SharedTable(table)
    shared.before.append(lambda: jobs.settle(job))
    assert JobStore(table=shared, clock=Clock()).settle(job) is None
    assert [each.jobs for each in cost_sums.read(table)] == [1]


def test_a_transaction_that_meets_another_is_tried_again(
    jobs: JobStore, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb.time, "sleep", lambda seconds: None)
    shared = SharedTable(table)
    shared.before += [fail_with("None", "TransactionConflict")] * 2
    job = JobStore(table=shared, clock=Clock()).settle(ended(jobs, cost_usd=0.5))
    assert job == jobs.get("j")
    assert shared.transactions == 3
    assert [each.jobs for each in cost_sums.read(table)] == [1]


def test_a_transaction_that_always_meets_another_is_left_to_sweep(
    jobs: JobStore, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb.time, "sleep", lambda seconds: None)
    shared = SharedTable(table)
    shared.before += [fail_with("TransactionConflict", "None")] * 100
    with pytest.raises(ClientError):
        JobStore(table=shared, clock=Clock()).settle(ended(jobs, cost_usd=0.5))
    assert shared.transactions < 10
    job = jobs.get("j")
    assert job
    assert job.follow_up
    assert cost_sums.read(table) == []


def test_a_transaction_whose_response_was_lost_has_added_the_cost_once(
    jobs: JobStore, table: Any
) -> None:
    shared = SharedTable(table)
    shared.after.append(fail_with("ConditionalCheckFailed", "None"))
    settled = JobStore(table=shared, clock=Clock()).settle(ended(jobs, cost_usd=0.5))
    assert settled == jobs.get("j")
    assert [each.jobs for each in cost_sums.read(table)] == [1]


def test_a_job_that_failed_and_ran_again_is_summed_up_once(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="no")
    world.app.settlement.settle("j1")
    drop_again(world)
    world.submit("j1")
    assert world.state() is State.RENDERING
    deliver(world, "j1")
    world.app.settlement.settle("j1")
    (costs,) = cost_sums.read(world.table)
    assert (costs.jobs, costs.unpriced_jobs) == (1, 1)

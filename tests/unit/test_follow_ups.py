"""The follow-up index lists what is due, the longest first, and what is held, oldest first."""

from typing import Any

import pytest

from retake.aws.follow_ups import FollowUps
from retake.aws.input_store import InputStore
from retake.aws.job_store import JobStore
from retake.domain.intake import InputRecord
from retake.domain.job import FollowUp, FollowUpQueue, Job
from tests.support.jobs import new_job
from tests.support.stand_ins import Clock


@pytest.fixture
def jobs(table: Any) -> JobStore:
    return JobStore(table=table, clock=Clock())


@pytest.fixture
def follow_ups(table: Any, jobs: JobStore) -> FollowUps:
    """The index with three jobs that are due, and three that are held."""
    for number in (3, 1, 2):
        for queue in FollowUpQueue:
            job = jobs.create(new_job(f"{queue}{number}"))
            assert job
            assert jobs.update(job, follow_up=FollowUp(queue, number))
    return FollowUps(table=table)


def ids(entries: list[Job | InputRecord]) -> list[str]:
    return [entry.id for entry in entries if isinstance(entry, Job)]


def test_what_is_due_comes_longest_first(follow_ups: FollowUps) -> None:
    assert ids(follow_ups.due(2, 9)) == ["due1", "due2"]
    assert ids(follow_ups.due(99, 1)) == ["due1"]


def test_held_jobs_come_oldest_first(follow_ups: FollowUps) -> None:
    assert [job.id for job in follow_ups.held(2)] == ["held1", "held2"]


def test_records_of_a_queue_are_counted_up_to_a_time(follow_ups: FollowUps) -> None:
    assert follow_ups.count(FollowUpQueue.DUE, 3) == 2
    assert follow_ups.count(FollowUpQueue.HELD, 99) == 3


def test_jobs_and_waiting_files_are_listed_together(follow_ups: FollowUps, table: Any) -> None:
    records = InputStore(table=table, bucket="b", clock=Clock())
    waiting = records.wait("k.mp4", "waits for its sidecar", due_at=0)
    assert follow_ups.due(99, 1) == [waiting]
    everything = list(follow_ups.all())
    assert len(everything) == 7
    assert waiting in everything


def test_a_settled_job_is_not_followed_up(follow_ups: FollowUps, jobs: JobStore) -> None:
    first, *_ = follow_ups.held(1)
    assert jobs.update(first, follow_up=None)
    assert [job.id for job in follow_ups.held(9)] == ["held2", "held3"]

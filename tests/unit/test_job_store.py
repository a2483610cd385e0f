"""Every write of a job is conditional; whoever comes second learns it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from retake.aws import dynamodb
from retake.aws.job_store import STEP_SECONDS, JobStore
from retake.domain.input_files import InputFile
from retake.domain.job import (
    TRANSITIONS,
    FollowUp,
    FollowUpQueue,
    HistorySearch,
    HoldReason,
    Job,
    SearchResult,
    State,
    SubmitAttempt,
)
from retake.domain.preparation import Preparation
from retake.domain.prices import Estimate, FolderCap
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from tests.support.aws.dynamodb import Table
from tests.support.jobs import DROPPED_AT, new_job
from tests.support.stand_ins import NOW, AtomicTable, Clock

COMPLETE = Job(
    id="j",
    bucket="b",
    key="k.mp4",
    drop_version="v1 v2",
    clip=InputFile("k.mp4", "e", 7, DROPPED_AT, "v1"),
    first_frame=InputFile("look.png", "f", 8, DROPPED_AT + timedelta(seconds=1.5)),
    sidecar=Sidecar(prompt="ink", first_frame="look.png", rerun=2),
    prepared=Preparation(made_of="v1 1080", expires_at=7, clip="prepared/k.mp4"),
    state=State.SUBMIT_UNKNOWN,
    entered={State.CLAIMED: DROPPED_AT, State.SUBMIT_UNKNOWN: DROPPED_AT},
    run=3,
    version=9,
    write_id="w",
    follow_up=FollowUp(FollowUpQueue.HELD, 12),
    reason="why",
    refusal=Refusal("why", "what to do", "prompt"),
    hold_reason=HoldReason.ATTENTION,
    held_since=5,
    rejected_at=6,
    cap=FolderCap("a/", 5.0),
    estimate=Estimate(0.6, "0.6 USD per clip", True),
    attempt=SubmitAttempt({"mode": "adhere_1"}, 2),
    search=HistorySearch(SearchResult.ABSENT, 2, 3, 4, 5),
    request_id="r-1",
    submitted_at=7,
    result_url="https://x/r.mp4",
    cost_usd=0.6,
    render_seconds=150.5,
    fetch_attempts=2,
    finish_attempts=1,
    warnings=("the render has another shape",),
    result="s3://output/k.mp4",
    result_bytes=5,
)


@pytest.fixture
def jobs(table: Any) -> JobStore:
    return JobStore(table=table, clock=Clock())


def create(jobs: JobStore, job_id: str = "j", state: State = State.CLAIMED, **values: Any) -> Job:
    job = jobs.create(new_job(job_id, state, **values))
    assert job
    return job


def read(jobs: JobStore, job_id: str = "j") -> Job:
    job = jobs.get(job_id)
    assert job
    return job


def test_a_job_is_read_back_as_it_was_written(jobs: JobStore) -> None:
    untouched = [field.name for field in fields(Job) if getattr(COMPLETE, field.name) is None]
    assert untouched == [], "this job has every field"
    created = jobs.create(COMPLETE)
    assert created
    assert read(jobs) == created
    stamped = {"entered", "run", "version", "follow_up"}
    for field in fields(Job):
        if field.name not in stamped:
            assert getattr(created, field.name) == getattr(COMPLETE, field.name), field.name
    updated = jobs.update(created, entered=COMPLETE.entered, follow_up=COMPLETE.follow_up)
    assert updated
    assert read(jobs) == updated
    expected = replace(COMPLETE, run=0, version=2, write_id=updated.write_id)
    assert updated == expected


def test_a_job_is_created_once(jobs: JobStore, table: Table) -> None:
    create(jobs, sidecar=Sidecar(prompt="first"), result_bytes=5)
    assert jobs.create(new_job(sidecar=Sidecar(prompt="second"))) is None
    job = read(jobs)
    assert job.sidecar
    assert (job.sidecar.prompt, job.result_bytes, job.refusal) == ("first", 5, None)
    assert "refusal" not in table.get_item(Key=dynamodb.key("job#j"))["Item"]


def test_a_new_job_is_followed_up_when_its_next_step_takes_too_long(jobs: JobStore) -> None:
    follow_up = create(jobs).follow_up
    assert follow_up == FollowUp(FollowUpQueue.DUE, int(NOW) + STEP_SECONDS)


def test_a_job_starts_again_once_with_the_next_run(jobs: JobStore) -> None:
    ended = create(jobs, state=State.FAILED, request_id="old")
    again = [jobs.create(new_job(), replaces=ended) for _ in range(2)]
    assert [job and job.run for job in again] == [1, None]
    assert read(jobs).request_id is None


def test_a_job_advances_only_along_the_transitions(jobs: JobStore) -> None:
    for earlier in State:
        for later in State:
            job = create(jobs, f"{earlier}-{later}", earlier)
            advanced = jobs.advance(job, later)
            assert (advanced is not None) is (later in TRANSITIONS[earlier]), job.id


def test_a_job_that_does_not_exist_does_not_advance(jobs: JobStore) -> None:
    assert jobs.advance(new_job("nobody", version=1), State.SUBMITTING) is None
    assert jobs.get("nobody") is None


def test_advancing_sets_removes_and_stamps(jobs: JobStore) -> None:
    attempt = SubmitAttempt({"mode": "adhere_1", "prompt": "ink"})
    job = jobs.advance(
        create(jobs, reason="old", cost_usd=0.6), State.SUBMITTING, reason=None, attempt=attempt
    )
    assert job
    assert (job.state, job.version) == (State.SUBMITTING, 2)
    assert (job.reason, job.cost_usd, job.attempt) == (None, 0.6, attempt)
    assert set(job.entered) == {State.CLAIMED, State.SUBMITTING}
    assert job == read(jobs)


def test_an_update_is_made_only_to_what_was_read(jobs: JobStore) -> None:
    job = create(jobs)
    assert jobs.update(job, run=1)
    assert jobs.update(job, run=2) is None
    assert read(jobs).run == 1


def test_a_job_advances_only_from_what_was_read(jobs: JobStore) -> None:
    """A state that is entered again (held, sent, held again) is not the same as before."""
    submitting = jobs.advance(create(jobs), State.SUBMITTING)
    assert submitting
    held = jobs.advance(submitting, State.HELD)
    assert held
    assert jobs.advance(held, State.SUBMITTING)
    assert jobs.advance(submitting, State.SUBMIT_UNKNOWN) is None


def test_of_many_functions_that_advance_a_job_at_once_one_succeeds(table: Any) -> None:
    jobs = JobStore(table=AtomicTable(table), clock=Clock())
    job = create(jobs)
    with ThreadPoolExecutor(8) as pool:
        advanced = list(pool.map(lambda _: jobs.advance(job, State.SUBMITTING), range(16)))
    assert sum(result is not None for result in advanced) == 1


def test_a_write_that_insists_continues_from_what_is_stored_now(jobs: JobStore) -> None:
    job = create(jobs, state=State.FINISHING, request_id="r")
    assert jobs.update(job, due_in=7)
    assert jobs.advance(job, State.DELIVERED) is None
    delivered = jobs.advance(job, State.DELIVERED, insist=True, result_bytes=5)
    assert delivered
    assert delivered.state is State.DELIVERED
    assert (delivered.result_bytes, delivered.version) == (5, 3)


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"state": State.LOST, "request_id": "r"},
        {"state": State.FINISHING, "request_id": "other"},
    ],
)
def test_a_write_that_insists_yields_to_an_end_and_to_another_request(
    jobs: JobStore, meanwhile: dict[str, Any]
) -> None:
    job = create(jobs, state=State.FINISHING, request_id="r")
    jobs.update(job, **meanwhile)
    assert jobs.advance(job, State.DELIVERED, insist=True) is None
    assert read(jobs).state is meanwhile["state"]


def test_a_request_belongs_to_the_submit_that_claims_it_first(jobs: JobStore) -> None:
    assert jobs.request_owner("r-1") is None
    assert [jobs.claim_request("r-1", "j-0.mp4") for _ in range(2)] == [True, True]
    assert not jobs.claim_request("r-1", "j-1.mp4")
    assert jobs.request_owner("r-1") == "j-0.mp4"


@pytest.mark.slow
def test_many_jobs_are_read_in_batches_and_missing_ones_are_left_out(jobs: JobStore) -> None:
    for number in range(103):
        create(jobs, f"j{number}")
    found = jobs.get_many([*(f"j{number}" for number in range(103)), "j7", "nobody"])
    assert found == {f"j{number}": read(jobs, f"j{number}") for number in range(103)}

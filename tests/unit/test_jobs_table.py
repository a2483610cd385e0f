"""Every write is conditional; whoever comes second is told so."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retake.adapters.jobs import DUE, HELD, JobsTable, Row
from retake.rules.drop import Drop, File
from retake.rules.gate import Limits, Shut
from retake.rules.states import NEXT, State

from .conftest import Clock, OneAtATime

THEN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def jobs(table: Any) -> JobsTable:
    return JobsTable(table, Clock())


def put(jobs: JobsTable, job_id: str = "j", state: State = State.CLAIMED, **fields: Any) -> Row:
    row = jobs.add({"id": job_id, "state": state} | fields, None)
    assert row
    return row


def dropped(at: datetime) -> Drop:
    return Drop("b", File("k", "e", 1, at))


def test_a_job_is_added_once(jobs: JobsTable) -> None:
    put(jobs, prompt="first", seconds=1.5, cure=None)
    assert jobs.add({"id": "j", "state": State.CLAIMED, "prompt": "second"}, None) is None
    job = jobs.job("j")
    assert job is not None
    assert (job["prompt"], job["seconds"], "cure" in job) == ("first", 1.5, False)


def test_a_job_starts_again_once_with_the_next_run(jobs: JobsTable) -> None:
    ended = put(jobs, state=State.FAILED, request_id="old")
    again = [jobs.add({"id": "j", "state": State.CLAIMED}, ended) for _ in range(2)]
    assert [row and row["run"] for row in again] == [1, None]
    assert "request_id" not in (jobs.job("j") or {})


def test_a_job_moves_only_along_the_table(jobs: JobsTable) -> None:
    for earlier in State:
        for later in State:
            job = f"{earlier}-{later}"
            assert bool(jobs.advance(put(jobs, job, earlier), later)) is (later in NEXT[earlier]), job


def test_a_job_that_is_not_there_does_not_move(jobs: JobsTable) -> None:
    nobody = {"pk": "job#nobody", "id": "nobody", "state": "CLAIMED", "v": 1}
    assert jobs.advance(nobody, State.SUBMITTING) is None
    assert jobs.job("nobody") is None


def test_moving_sets_removes_and_stamps(jobs: JobsTable) -> None:
    row = jobs.advance(put(jobs, reason="old", cost_usd=0.6), State.SUBMITTING, reason=None, result={"a": [1, 0.5]})
    assert row is not None
    assert (row["state"], row["v"], "reason" in row, row["cost_usd"], row["result"]) == ("SUBMITTING", 2, False, 0.6, {"a": [1, 0.5]})
    assert set(row["times"]) == {"CLAIMED", "SUBMITTING"}
    assert row == jobs.job("j")


def test_a_note_is_taken_only_on_what_was_read(jobs: JobsTable) -> None:
    read = put(jobs)
    assert jobs.note(read, run=1)
    assert jobs.note(read, run=2) is None
    assert (jobs.job("j") or {})["run"] == 1


def test_a_move_is_taken_only_on_what_was_read(jobs: JobsTable) -> None:
    """A state that comes back (held, sent, held again) is another one."""
    read = jobs.advance(put(jobs), State.SUBMITTING)
    assert read
    held = jobs.advance(read, State.HELD)
    assert held
    assert jobs.advance(held, State.SUBMITTING)
    assert jobs.advance(read, State.SUBMIT_UNKNOWN) is None


def test_of_many_that_move_a_job_at_once_one_does(table: Any) -> None:
    jobs = JobsTable(OneAtATime(table), Clock())
    read = put(jobs)
    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(lambda _: jobs.advance(read, State.SUBMITTING), range(16)))
    assert sum(row is not None for row in moved) == 1


def test_a_crowd_at_the_gate_gets_no_more_than_the_limit(table: Any) -> None:
    jobs, limits, now = JobsTable(OneAtATime(table), Clock()), Limits(10), 1000.0
    with ThreadPoolExecutor(6) as pool:
        shut = list(pool.map(lambda n: jobs.at_gate(lambda gate: gate.admit(f"j{n % 9}", limits, now)), range(18)))
    gate, _ = jobs.gate()
    let_in = shut.count(None)
    assert 0 < sum(gate.requests.values()) <= let_in <= 18
    assert sum(gate.requests.values()) <= 10
    assert len(gate.leases) <= min(limits.in_flight, let_in)


def test_a_step_that_is_refused_or_changes_nothing_writes_nothing(jobs: JobsTable) -> None:
    jobs.at_gate(lambda gate: gate.admit("j", Limits(1), 100))
    before = jobs.gate()
    assert isinstance(jobs.at_gate(lambda gate: gate.ask(Limits(1), 100)), Shut)
    assert jobs.at_gate(lambda gate: gate.release("nobody", 100)) is None
    assert jobs.gate() == before


def test_a_newer_drop_takes_the_place_and_an_older_one_does_not(jobs: JobsTable) -> None:
    assert jobs.take_place(dropped(THEN), "new", True) == {}
    assert not jobs.take_place(dropped(THEN - timedelta(seconds=1)), "old", True)
    before = jobs.take_place(dropped(THEN), "same second", False)
    assert before
    assert before["newest"] == "new"
    place = jobs.place("b", "k")
    assert (place["newest"], place["accepted"]) == ("same second", "new")
    assert not jobs.take_place(dropped(THEN - timedelta(milliseconds=1)), "older", True)
    assert jobs.place("b", "other") == {}


def test_a_waiting_file_is_due_from_its_first_drop_until_it_is_told(jobs: JobsTable) -> None:
    first = jobs.waiting("b", "k", "waits for its sidecar", due=500)
    again = jobs.waiting("b", "k", "waits for its first frame", due=900)
    assert (again["since"], again["at"], again["waits"]) == (first["since"], 500, "waits for its first frame")
    assert [row["key"] for row in jobs.due(500, 9)] == ["k"]
    jobs.look_later(again, 700)
    assert jobs.due(699, 9) == []
    jobs.told(again)
    assert [row["at"] for row in jobs.due(9999, 9)] == [700], "another time was set meanwhile"
    jobs.told(jobs.place("b", "k"))
    assert jobs.due(9999, 9) == []
    jobs.look_later(again, 800)
    assert jobs.due(9999, 9) == []


def test_a_place_that_is_taken_waits_no_longer(jobs: JobsTable) -> None:
    place = jobs.waiting("b", "k", "waits", due=500)
    jobs.take_place(dropped(THEN), "j", True)
    jobs.told(place)
    assert {"waits", "since", "queue", "at"}.isdisjoint(jobs.place("b", "k"))


def test_a_half_that_is_paired_is_forgotten_for_good(jobs: JobsTable) -> None:
    place = jobs.waiting("b", "k", "waits", due=500)
    jobs.paired("b", "k")
    jobs.told(place)
    assert jobs.place("b", "k") == {}


def test_a_first_frame_knows_all_the_clips_that_name_it(jobs: JobsTable) -> None:
    for key in ("b.mp4", "a.mp4", "b.mp4"):
        jobs.names_frame("b", "look.png", key)
    assert list(jobs.clips_of_frame("b", "look.png")) == ["a.mp4", "b.mp4"]
    assert list(jobs.clips_of_frame("b", "other.png")) == []


def test_what_is_due_comes_longest_first_and_what_is_held_oldest_first(jobs: JobsTable) -> None:
    for number in (3, 1, 2):
        job = put(jobs, f"due{number}")
        jobs.note(job, queue=DUE, at=number)
        job = put(jobs, f"held{number}")
        jobs.note(job, queue=HELD, at=number)
    assert [row["id"] for row in jobs.due(2, 9)] == ["due1", "due2"]
    assert [row["id"] for row in jobs.due(99, 1)] == ["due1"]
    assert [row["id"] for row in jobs.held(2)] == ["held1", "held2"]


def test_who_insists_goes_on_from_what_is_there_now(jobs: JobsTable) -> None:
    read = put(jobs, state=State.DELIVERING, request_id="r")
    assert jobs.note(read, at=7)
    assert jobs.advance(read, State.DELIVERED) is None
    moved = jobs.advance(read, State.DELIVERED, insist=True, bytes=5)
    assert moved is not None
    assert (moved["state"], moved["bytes"], moved["v"]) == ("DELIVERED", 5, 3)


@pytest.mark.parametrize("meanwhile", [{"state": State.LOST, "request_id": "r"}, {"state": State.DELIVERING, "request_id": "other"}])
def test_who_insists_still_gives_way_to_an_end_and_to_another_request(jobs: JobsTable, meanwhile: Row) -> None:
    read = put(jobs, state=State.DELIVERING, request_id="r")
    jobs.note(read, **meanwhile)
    assert jobs.advance(read, State.DELIVERED, insist=True) is None
    assert (jobs.job("j") or {})["state"] == meanwhile["state"]


def test_a_request_belongs_to_the_submit_that_names_it_first(jobs: JobsTable) -> None:
    assert jobs.owner("r-1") is None
    assert [jobs.own_request("r-1", "j-0.mp4") for _ in range(2)] == [True, True]
    assert not jobs.own_request("r-1", "j-1.mp4")
    assert jobs.owner("r-1") == "j-0.mp4"

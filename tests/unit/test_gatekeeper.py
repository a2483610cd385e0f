"""The gate in the table: each step is one conditional write, whoever else is there, and says what it has changed."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from retake.adapters.jobs import JobsTable
from retake.gatekeeper import Gatekeeper
from retake.rules.gate import LEASE, PRICE, Gate, Hold, Limits, Shut
from retake.rules.states import Held

from .conftest import Clock, CrowdedGate, OneAtATime


def keeper(table: Any, clock: Clock | None = None, limits: Limits | None = None) -> Gatekeeper:
    clock = clock or Clock()
    return Gatekeeper(JobsTable(table, clock), limits or Limits(50, 25), clock)


def test_the_gate_survives_the_table_whole(table: Any) -> None:
    jobs = JobsTable(table, Clock())
    whole = Gate(
        {"j": 5},
        {100: 2, 101: 1},
        7,
        Hold(Held.KEY, "no", 9, 120),
        "2027-01-01",
        1.25,
        "2026-12-31",
        3,
        2,
        [{"what": "Held", "held": "key"}],
    )
    for gate in (whole, Gate(spent_usd=0.1), Gate()):
        assert jobs.at_gate(lambda _, after=gate: after) is None
        assert jobs.gate()[0] == gate


def test_a_job_is_let_in_and_out_once_however_often_that_is_asked(table: Any) -> None:
    gate, jobs = keeper(table), JobsTable(table, Clock())
    assert [gate.admit("j") for _ in range(3)] == [None] * 3
    assert jobs.gate()[0].spent_usd == PRICE
    assert [gate.release("j", 0.5) for _ in range(3)] == [True] * 3
    assert (jobs.gate()[0].leases, jobs.gate()[0].spent_usd) == ({}, 0.5)


def test_whether_a_job_would_be_let_in_can_be_told_without_a_trace(table: Any) -> None:
    gate, jobs = keeper(table, limits=Limits(1)), JobsTable(table, Clock())
    assert gate.would_admit("j") is None
    assert jobs.gate() == (Gate(), 0)
    gate.admit("j")
    before, shut = jobs.gate(), gate.would_admit("other")
    assert shut
    assert (shut.held, jobs.gate()) == (Held.CAPACITY, before)


def test_a_hold_its_end_and_a_reached_budget_are_news_once(table: Any) -> None:
    clock = Clock()
    gate = keeper(table, clock)
    gate.lift()
    assert not gate.lifted_since(clock.now)
    gate.keep_back(Held.KEY, "no")
    gate.keep_back(Held.KEY, "no")
    gate.lift()
    gate.lift()
    gate.park("used up")
    gate.park("used up")
    assert [(event["what"], event["held"]) for event in gate.news()] == [("Held", "key"), ("Resumed", "key"), ("Held", "budget")]
    assert gate.lifted_since(clock.now)
    for event in gate.news():
        gate.told(event)
    assert gate.news() == []
    clock.now += 86400
    gate.park("used up")
    assert len(gate.news()) == 1


def test_a_pause_holds_requests_for_everybody(table: Any) -> None:
    clock = Clock()
    keeper(table, clock).pause(30)
    shut = keeper(table, clock).ask()
    assert shut
    assert (shut.held, shut.wait) == (Held.RATE, 30)
    clock.now += 30
    assert keeper(table, clock).ask() is None


def test_what_is_free_is_counted_on_what_is_there_now(table: Any) -> None:
    clock = Clock()
    gate, limits = keeper(table, clock, Limits(10)), Limits(10)
    assert gate.free() == limits.in_flight
    gate.admit("j")
    assert gate.free() == limits.in_flight - 1
    clock.now += LEASE
    assert gate.free() == limits.in_flight


def test_at_a_crowded_gate_nothing_is_let_in_lifted_or_given_back(table: Any) -> None:
    keeper(table).admit("j")
    crowded = keeper(CrowdedGate(table))
    shut = crowded.admit("other")
    assert isinstance(shut, Shut)
    assert shut.held is Held.RATE
    assert crowded.release("j") is False
    crowded.keep_back(Held.KEY, "no")
    gate, _ = JobsTable(table, Clock()).gate()
    assert (list(gate.leases), gate.hold) == (["j"], None)


@pytest.mark.parametrize("limits", [Limits(50, 2.5), Limits(5, 25)])
def test_a_crowd_spends_no_more_than_the_budget_and_books_each_job_once(table: Any, limits: Limits) -> None:
    atomic = OneAtATime(table)
    with ThreadPoolExecutor(6) as pool:
        shut = list(pool.map(lambda number: keeper(atomic, limits=limits).admit(f"j{number % 7}"), range(21)))
    gate, _ = JobsTable(table, Clock()).gate()
    assert gate.spent_usd == pytest.approx(PRICE * len(gate.leases))
    assert gate.spent_usd <= limits.daily_budget_usd
    assert 0 < len(gate.leases) <= shut.count(None)

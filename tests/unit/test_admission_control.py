"""Admission control in the table: each step is one conditional write, whoever else changes it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from retake.aws.admission_store import FRESH_SECONDS, AdmissionStore
from retake.domain.admission import (
    LEASE_SECONDS,
    AccountEvent,
    Admission,
    Budget,
    Circuit,
    Denial,
    Leases,
    OpenCircuit,
    Quotas,
    RequestRate,
)
from retake.domain.job import HoldReason
from retake.domain.prices import FLAT_USD
from retake.domain.sidecar import Sidecar
from retake.services.admission_control import AdmissionControl
from tests.support.jobs import new_job
from tests.support.stand_ins import AtomicTable, Clock, ContendedAdmission
from tests.support.world import World

COMPLETE = Admission(
    leases=Leases({"j": 5}),
    rate=RequestRate({100: 2, 101: 1}, paused_until=7),
    budget=Budget(day="2027-01-01", spent_usd=1.25, exhausted_on="2026-12-31"),
    circuit=Circuit(
        opened=OpenCircuit(HoldReason.KEY, "no", probe_at=9, probe_seconds=120),
        closed_at=3,
        lost_responses=2,
    ),
    outbox=(AccountEvent("Held", HoldReason.KEY, "no"),),
)


def control_of(
    table: Any, clock: Clock | None = None, quotas: Quotas | None = None
) -> AdmissionControl:
    return AdmissionControl(
        store=AdmissionStore(table=table),
        quotas=quotas or Quotas(50, 25),
        clock=clock or Clock(),
    )


def state_in(table: Any) -> Admission:
    return AdmissionStore(table=table).read()


class CountingTable:
    """A table that counts how often the state is read."""

    def __init__(self, table: Any) -> None:
        self._table, self.reads = table, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def get_item(self, **request: Any) -> Any:
        self.reads += 1
        return self._table.get_item(**request)


@pytest.mark.parametrize("state", [COMPLETE, Admission(budget=Budget(spent_usd=0.1)), Admission()])
def test_the_state_is_read_back_as_it_was_written(table: Any, state: Admission) -> None:
    store = AdmissionStore(table=table)
    assert store.change(lambda _: COMPLETE) is None
    assert store.change(lambda _: state) is None
    assert store.read() == state


def test_a_step_that_is_denied_or_changes_nothing_writes_nothing(table: Any) -> None:
    store = AdmissionStore(table=table)
    store.change(lambda admission: admission.admit(new_job("j"), Quotas(1), 100))
    before = table.scan()["Items"]
    denial = store.change(lambda admission: admission.request(Quotas(1), 100))
    assert isinstance(denial, Denial)
    assert store.change(lambda admission: admission.release("nobody", 100)) is None
    assert table.scan()["Items"] == before


def test_concurrent_functions_get_no_more_requests_than_the_limit(table: Any) -> None:
    store, quotas, now = AdmissionStore(table=AtomicTable(table)), Quotas(10), 1000.0

    def admit(number: int) -> Denial | None:
        return store.change(
            lambda admission: admission.admit(new_job(f"j{number % 9}"), quotas, now)
        )

    with ThreadPoolExecutor(6) as pool:
        denials = list(pool.map(admit, range(18)))
    admission, admitted = store.read(), denials.count(None)
    requests = sum(admission.rate.counts.values())
    assert 0 < requests <= admitted <= 18
    assert requests <= 10
    assert len(admission.leases.expire_at) <= min(quotas.max_in_flight, admitted)


def test_a_job_is_admitted_and_released_once_however_often_that_is_repeated(table: Any) -> None:
    control = control_of(table)
    assert [control.admit(new_job("j")) for _ in range(3)] == [None] * 3
    assert state_in(table).budget.booked(Clock().now) == FLAT_USD
    assert [control.release("j", 0.5) for _ in range(3)] == [True] * 3
    admission = state_in(table)
    assert (admission.leases.expire_at, admission.budget.booked(Clock().now)) == ({}, 0.5)


def test_checking_whether_a_job_would_be_admitted_changes_nothing(table: Any) -> None:
    control = control_of(table, quotas=Quotas(1))
    assert control.check(new_job("j", sidecar=Sidecar())) is None
    assert table.scan()["Items"] == []
    control.admit(new_job("j"))
    before = table.scan()["Items"]
    denial = control.check(new_job("other", sidecar=Sidecar()))
    assert isinstance(denial, Denial)
    assert denial.reason is HoldReason.CAPACITY
    assert table.scan()["Items"] == before


def test_an_open_circuit_its_end_and_an_exhausted_budget_are_announced_once(table: Any) -> None:
    clock = Clock()
    control = control_of(table, clock)
    control.close_circuit()
    assert not control.closed_since(clock.now)
    for _ in range(2):
        control.open_circuit(HoldReason.KEY, "no")
    for _ in range(2):
        control.close_circuit()
    for _ in range(2):
        control.exhaust_budget("used up")
    assert [(event.name, event.hold_reason) for event in control.outbox()] == [
        ("Held", HoldReason.KEY),
        ("Resumed", HoldReason.KEY),
        ("Held", HoldReason.BUDGET),
    ]
    assert control.closed_since(clock.now)
    for event in control.outbox():
        control.published(event)
    assert control.outbox() == ()
    clock.now += 86400
    control.exhaust_budget("used up")
    assert len(control.outbox()) == 1


def test_a_pause_applies_to_all_functions(table: Any) -> None:
    clock = Clock()
    control_of(table, clock).pause(30)
    denial = control_of(table, clock).request()
    assert denial
    assert (denial.reason, denial.retry_seconds) == (HoldReason.RATE, 30)
    clock.now += 30
    assert control_of(table, clock).request() is None


def test_free_slots_are_counted_from_the_state_as_it_is_now(table: Any) -> None:
    clock, quotas = Clock(), Quotas(10)
    control = control_of(table, clock, quotas)
    assert control.free_slots() == quotas.max_in_flight
    control.admit(new_job("j"))
    assert control.free_slots() == quotas.max_in_flight - 1
    clock.now += LEASE_SECONDS
    assert control.free_slots() == quotas.max_in_flight


@pytest.mark.slow
def test_under_contention_nothing_is_admitted_released_or_opened(table: Any) -> None:
    control_of(table).admit(new_job("j"))
    contended = control_of(ContendedAdmission(table))
    denial = contended.admit(new_job("other"))
    assert isinstance(denial, Denial)
    assert denial.reason is HoldReason.RATE
    assert contended.release("j") is False
    contended.open_circuit(HoldReason.KEY, "no")
    admission = state_in(table)
    assert (list(admission.leases.expire_at), admission.circuit.opened) == (["j"], None)


@pytest.mark.parametrize("quotas", [Quotas(50, 2.5), Quotas(5, 25)])
def test_concurrent_functions_keep_to_the_budget_and_book_each_job_once(
    table: Any, quotas: Quotas
) -> None:
    atomic = AtomicTable(table)

    def admit(number: int) -> Denial | None:
        return control_of(atomic, quotas=quotas).admit(new_job(f"j{number % 7}"))

    with ThreadPoolExecutor(6) as pool:
        denials = list(pool.map(admit, range(21)))
    admission = state_in(table)
    leases = len(admission.leases.expire_at)
    assert admission.budget.booked(Clock().now) == pytest.approx(FLAT_USD * leases)
    assert admission.budget.booked(Clock().now) <= quotas.daily_budget_usd
    assert 0 < leases <= denials.count(None)


# ─── A state that was read a moment ago ───────────────────────────────────────────────────────


def test_a_state_that_was_just_written_is_not_read_again(table: Any) -> None:
    counting = CountingTable(table)
    store = AdmissionStore(table=counting, clock=Clock())
    for job_id in ("a", "b", "c"):
        assert store.change(lambda state, job_id=job_id: with_lease(state, job_id)) is None
    assert store.read_recent().leases.expire_at == {"a": 1, "b": 1, "c": 1}
    assert counting.reads == 1


def test_a_state_that_is_no_longer_recent_is_read_again(table: Any) -> None:
    clock, counting = Clock(), CountingTable(table)
    store = AdmissionStore(table=counting, clock=clock)
    store.read()
    clock.now += FRESH_SECONDS
    store.read_recent()
    store.change(lambda state: with_lease(state, "a"))
    assert counting.reads == 2


def test_a_recent_state_that_another_function_changed_is_not_written_over(table: Any) -> None:
    mine, other = AdmissionStore(table=table, clock=Clock()), AdmissionStore(table=table)
    mine.read()
    other.change(lambda state: with_lease(state, "theirs"))
    mine.change(lambda state: with_lease(state, "mine"))
    assert state_in(table).leases.expire_at == {"theirs": 1, "mine": 1}


def test_a_denial_is_never_decided_by_an_old_state(table: Any) -> None:
    mine, other = AdmissionStore(table=table, clock=Clock()), AdmissionStore(table=table)
    mine.change(lambda state: with_lease(state, "j"))
    other.change(lambda _: Admission())
    full = Denial(HoldReason.CAPACITY, "full")
    denied = mine.change(lambda state: full if state.leases.expire_at else with_lease(state, "i"))
    assert denied is None
    assert state_in(table).leases.expire_at == {"i": 1}


def test_a_step_that_changes_nothing_is_never_decided_by_an_old_state(table: Any) -> None:
    mine, other = AdmissionStore(table=table, clock=Clock()), AdmissionStore(table=table)
    mine.read()
    other.change(lambda state: with_lease(state, "j"))
    mine.change(lambda _: Admission())  # as it was when `mine` read it
    assert state_in(table) == Admission()


def test_a_state_that_is_read_with_a_job_decides_once(world: World) -> None:
    world.claimed("j1")
    counting = CountingTable(world.table)
    store = AdmissionStore(table=counting, clock=Clock())
    assert store.read_with_job("j1") == world.job("j1")
    for _ in range(2):
        assert store.change(lambda state: state) is None
    assert counting.reads == 1
    assert store.read_with_job("nobody") is None


def with_lease(state: Admission, job_id: str) -> Admission:
    return replace(state, leases=Leases({**state.leases.expire_at, job_id: 1}))

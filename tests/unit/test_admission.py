"""Admission control bounds the requests a minute, the jobs in flight and the money of a day."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain.admission import (
    LEASE_SECONDS,
    LONG_LEASE_SECONDS,
    LOOK_UP_SECONDS,
    MAX_BOOKINGS,
    MAX_LOST_RESPONSES,
    Admission,
    Booking,
    Budget,
    Circuit,
    Denial,
    Leases,
    OpenCircuit,
    Quotas,
    RequestRate,
)
from retake.domain.job import HoldReason
from retake.domain.limits import DAY_SECONDS
from retake.domain.preparation import Preparation
from retake.domain.prices import FLAT_USD, Basis, FolderCap, Prices
from retake.domain.sidecar import Sidecar
from tests.support.jobs import new_job
from tests.support.stand_ins import FOOTAGE

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
MAX_ITEM_BYTES = 400_000  # of DynamoDB
LEASE_BYTES = 32 + 11  # a job's id, and the second at which its lease expires
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "request", "release"]),
        st.integers(0, 9),
        st.floats(0, 30),
        st.floats(-1, 0),
    ),
    max_size=80,
)

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC).timestamp()
MIDNIGHT = NOON + 12 * 3600
WIDE = Quotas(500)


def admit_all(admission: Any, *job_ids: str, quotas: Quotas = WIDE, now: float = NOON) -> Admission:
    """Admit some jobs, none of which may be denied."""
    for job_id in job_ids:
        admission = admission.admit(new_job(job_id), quotas, now)
        assert isinstance(admission, Admission), admission
    return admission


# ─── Leases and requests ──────────────────────────────────────────────────────────────────────


@given(st.integers(1, 12), STEPS)
def test_no_minute_has_more_requests_than_allowed_and_leases_stay_bounded(
    per_minute: int, steps: Any
) -> None:
    """The clocks of the functions differ by up to a second; time itself never runs backward."""
    admission, quotas = Admission(), Quotas(per_minute)
    true_time, requested = 1000.0, []
    for step, number, later, skew in steps:
        true_time += later if later > 15 else 0  # half of the steps happen at the same time
        now = true_time + skew
        if step == "release":
            admission = admission.release(f"j{number}", now)
            continue
        if step == "admit":
            after = admission.admit(new_job(f"j{number}"), quotas, now)
        else:
            after = admission.request(quotas, now)
        if not isinstance(after, Denial):
            admission = after
            requested.append(true_time)
        assert len(admission.leases.expire_at) <= quotas.max_in_flight
        assert len(admission.rate.counts) <= 64
        assert sum(true_time - 60 < at <= true_time for at in requested) <= per_minute


def test_a_denied_request_is_admitted_after_the_stated_time() -> None:
    admission: Any = Admission()
    quotas, now = Quotas(3), 5000.7
    for _ in range(3):
        admission = admission.request(quotas, now)
    denial = admission.request(quotas, now + 10)
    assert denial.reason is HoldReason.RATE
    after = admission.request(quotas, now + 10 + denial.retry_seconds)
    assert isinstance(after, Admission)


def test_admitting_a_job_again_acquires_no_second_lease() -> None:
    admission = admit_all(Admission(), *["j"] * 5, quotas=Quotas(50), now=100)
    assert len(admission.leases.expire_at) == 1


def test_without_a_free_lease_only_jobs_that_have_one_are_admitted() -> None:
    quotas = Quotas(10)
    jobs = [f"j{number}" for number in range(quotas.max_in_flight)]
    admission: Any = admit_all(Admission(), *jobs, quotas=quotas, now=100)
    assert admission.free_slots(quotas, 100) == 0
    assert admission.admit(new_job("other"), quotas, 200).reason is HoldReason.CAPACITY
    assert isinstance(admission.admit(new_job("j0"), quotas, 200), Admission)


def test_releasing_is_idempotent_and_an_expired_lease_is_free() -> None:
    quotas = Quotas(5)
    admission: Any = Admission().admit(new_job("j"), quotas, 100)
    released = admission.release("j", 101)
    assert released == released.release("j", 101)
    assert admission.free_slots(quotas, 100 + LEASE_SECONDS + 1) == quotas.max_in_flight
    assert admission.release("x", 100) == admission


def test_a_lease_that_a_restarted_job_renewed_is_not_forgotten() -> None:
    later = NOON + LONG_LEASE_SECONDS
    admission = admit_all(admit_all(Admission(), "settled", "restarted"), "restarted", now=later)
    left = admission.release_forgotten(["settled", "restarted"], later)
    assert (set(left.leases.expire_at), left.budget.booked(NOON)) == ({"restarted"}, FLAT_USD)


def test_a_denied_job_acquires_no_lease() -> None:
    admission: Any = Admission()
    for _ in range(5):
        admission = admission.request(Quotas(5), 100)
    assert isinstance(admission.admit(new_job("j"), Quotas(5), 100), Denial)
    assert admission.leases.expire_at == {}


@pytest.mark.parametrize("per_minute", [3, 5, 50, 500, 5000])
def test_the_jobs_in_flight_can_be_followed_within_the_request_rate(per_minute: int) -> None:
    assert 1 <= Quotas(per_minute).max_in_flight <= max(2, per_minute)


def test_the_state_fits_into_one_item_at_every_rate_that_the_template_allows() -> None:
    parameter = TEMPLATE.read_text().partition("RequestsPerMinute:")[2]
    most = int(parameter.partition("MaxValue:")[2].split()[0])
    assert Quotas(most).max_in_flight * LEASE_BYTES < MAX_ITEM_BYTES


def test_gaps_between_polls_grow_while_requests_are_scarce() -> None:
    def stretch(counts: dict[int, int], now: float = 101) -> float:
        return Admission(rate=RequestRate(counts)).stretch(Quotas(10), now)

    assert [stretch({}), stretch({100: 4, 101: 4})] == [1, 1]
    assert stretch({100: 9}) == pytest.approx(1.5)
    assert stretch({100: 10, 101: 5}) == 2
    assert stretch({100: 10}, now=165) == 1


def test_during_a_pause_no_request_and_no_job_is_admitted() -> None:
    admission = Admission().pause(90, NOON)
    denials = [admission.request(WIDE, NOON + 30), admission.admit(new_job("j"), WIDE, NOON + 30)]
    for denial in denials:
        assert isinstance(denial, Denial)
        assert (denial.reason, denial.retry_seconds) == (HoldReason.RATE, 60)
    admit_all(admission, "j", now=NOON + 90)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    admission = Admission().pause(90, NOON)
    assert admission.pause(10, NOON) == admission


def test_during_a_pause_there_is_no_free_slot() -> None:
    assert Admission().pause(90, NOON).free_slots(WIDE, NOON + 30) == 0


# ─── The circuit breaker ──────────────────────────────────────────────────────────────────────


def test_an_open_circuit_denies_every_job_with_its_reason_until_the_first_probe() -> None:
    admission = Admission().open_circuit(HoldReason.KEY, "invalid_api_key", NOON)
    for later in (0, 59):
        denial = admission.admit(new_job("j"), WIDE, NOON + later)
        assert isinstance(denial, Denial)
        assert (denial.reason, denial.message) == (HoldReason.KEY, "invalid_api_key")
    assert isinstance(admission.admit(new_job("j"), WIDE, NOON + 60), Admission)


def test_one_job_at_a_time_probes_an_open_circuit() -> None:
    opened = Admission().open_circuit(HoldReason.CREDITS, "402", NOON)
    admission = admit_all(opened, "probe", now=NOON + 60)
    assert admission.circuit.opened
    assert admission.circuit.opened.reason is HoldReason.CREDITS
    for job_id in ("other", "probe"):
        assert isinstance(admission.admit(new_job(job_id), WIDE, NOON + 61), Denial)


def test_probes_become_less_frequent_but_come_at_least_every_15_minutes() -> None:
    admission, now = Admission().open_circuit(HoldReason.KEY, "no", NOON), NOON
    gaps: list[float] = []
    while len(gaps) < 8:
        assert admission.circuit.opened
        probe_at = admission.circuit.opened.probe_at
        gaps.append(probe_at - now)
        now = probe_at
        released = admit_all(admission, "j", now=now).release("j", now, 0)
        admission = released.open_circuit(HoldReason.KEY, "no", now)
    assert gaps == [60, 60, 120, 240, 480, 900, 900, 900]


@pytest.mark.parametrize(
    ("quotas", "now", "reason"),
    [
        (Quotas(1), NOON, HoldReason.CAPACITY),
        (Quotas(50, 0.9), NOON, HoldReason.BUDGET),
        (Quotas(1), NOON + LEASE_SECONDS + 1, HoldReason.RATE),
    ],
)
def test_a_probe_that_is_denied_for_another_reason_uses_up_none(
    quotas: Quotas, now: float, reason: HoldReason
) -> None:
    admission: Any = admit_all(Admission(), "first", quotas=quotas)
    if reason is HoldReason.RATE:
        admission = admission.request(quotas, now)
    admission = admission.open_circuit(HoldReason.KEY, "no", now - 60)
    assert admission.admit(new_job("probe"), quotas, now).reason is reason
    assert admission.free_slots(quotas, now) == 1


def test_the_same_trouble_leaves_an_open_circuit_as_it_is_and_another_one_opens_it_anew() -> None:
    opened = Admission().open_circuit(HoldReason.KEY, "no", NOON)
    first = admit_all(opened, "j", now=NOON + 60)
    assert first.open_circuit(HoldReason.KEY, "no", NOON + 70) == first
    other = first.open_circuit(HoldReason.CREDITS, "402", NOON + 70)
    assert other.circuit.opened == OpenCircuit(HoldReason.CREDITS, "402", int(NOON) + 130)


def test_the_first_success_closes_the_circuit_for_all() -> None:
    admission = Admission().open_circuit(HoldReason.KEY, "no", NOON).close_circuit(NOON + 9)
    assert admission.circuit == Circuit(closed_at=int(NOON) + 9)
    assert admission.close_circuit(NOON + 99) == admission
    assert [event.name for event in admission.outbox] == ["Held", "Resumed"]
    admit_all(admission, "a", "b")


def test_an_open_circuit_does_not_stop_polls_of_paid_jobs() -> None:
    admission = Admission().open_circuit(HoldReason.KEY, "no", NOON)
    assert isinstance(admission.request(WIDE, NOON), Admission)


def test_an_open_circuit_has_one_free_slot_when_a_probe_is_due() -> None:
    admission = Admission().open_circuit(HoldReason.KEY, "no", NOON)
    assert [admission.free_slots(WIDE, NOON + later) for later in (0, 59, 60)] == [0, 0, 1]


def test_responses_lost_in_a_row_open_the_circuit_and_one_that_arrives_closes_it() -> None:
    admission = Admission(circuit=Circuit(lost_responses=MAX_LOST_RESPONSES - 2))
    admission = admission.lose_response("reset", NOON)
    assert admission.circuit.opened is None
    assert admission.close_circuit(NOON).lose_response("reset", NOON).circuit.opened is None
    opened = admission.lose_response("reset", NOON)
    assert opened.circuit.opened
    assert opened.circuit.opened.reason is HoldReason.RATE
    assert opened.close_circuit(NOON).circuit.opened is None


def test_lost_responses_do_not_replace_the_reason_of_an_account_in_trouble() -> None:
    admission = Admission(circuit=Circuit(lost_responses=MAX_LOST_RESPONSES - 1))
    in_trouble = admission.open_circuit(HoldReason.KEY, "no", NOON)
    assert in_trouble.lose_response("reset", NOON).circuit.opened == in_trouble.circuit.opened


# ─── The daily budget ─────────────────────────────────────────────────────────────────────────


def test_the_daily_budget_admits_what_it_covers_and_holds_the_rest_until_midnight() -> None:
    quotas = Quotas(500, 1.8)
    admission = admit_all(Admission(), "a", "b", "c", quotas=quotas)
    denial = admission.admit(new_job("d"), quotas, NOON)
    assert isinstance(denial, Denial)
    assert denial.reason is HoldReason.BUDGET
    assert "1.8 USD" in denial.message
    assert (admission.budget.booked(NOON), admission.left_usd(quotas, NOON)) == (1.8, 0)
    assert isinstance(admission.admit(new_job("d"), quotas, MIDNIGHT - 1), Denial)
    assert admission.left_usd(quotas, MIDNIGHT) == 1.8
    tomorrow = admit_all(admission, "d", quotas=quotas, now=MIDNIGHT)
    assert tomorrow.budget.booked(MIDNIGHT) == FLAT_USD


def test_without_a_budget_no_job_is_admitted() -> None:
    assert isinstance(Admission().admit(new_job("j"), Quotas(50, 0), NOON), Denial)
    assert Admission().left_usd(Quotas(50, 0), NOON) == 0


@pytest.mark.parametrize(("cost", "booked"), [(0, 0), (0.25, 0.25), (3.5, 3.5), (None, FLAT_USD)])
def test_the_real_cost_replaces_the_price_once(cost: float | None, booked: float) -> None:
    admission = admit_all(Admission(), "a", "a", "b")
    for _ in range(3):
        admission = admission.release("a", NOON + 100, cost)
    assert admission.budget.booked(NOON) == pytest.approx(FLAT_USD + booked)


def test_a_price_that_was_booked_yesterday_is_not_returned_to_todays_budget() -> None:
    yesterday = admit_all(Admission(), "late", now=MIDNIGHT - 30)
    today = admit_all(yesterday, "early", now=MIDNIGHT + 30)
    assert today.release("late", MIDNIGHT + 60, 0).budget.booked(MIDNIGHT + 60) == FLAT_USD


def test_a_lease_that_is_renewed_after_midnight_keeps_todays_budget_correct() -> None:
    yesterday = admit_all(Admission(), "late", now=MIDNIGHT - 30)
    today = admit_all(yesterday, "early", now=MIDNIGHT + 30)
    renewed = admit_all(today, "late", now=MIDNIGHT + 40).release("late", MIDNIGHT + 60, 0)
    assert renewed.budget.booked(MIDNIGHT + 60) == FLAT_USD


def test_a_price_that_is_booked_in_the_last_second_of_a_day_belongs_to_that_day() -> None:
    yesterday = admit_all(Admission(), "late", now=MIDNIGHT - 0.5)
    today = admit_all(yesterday, "early", now=MIDNIGHT + 30)
    assert today.release("late", MIDNIGHT + 60, 0).budget.booked(MIDNIGHT + 60) == FLAT_USD


def test_a_clock_that_is_slow_at_midnight_does_not_reset_the_budget() -> None:
    first = admit_all(Admission(), "a", now=MIDNIGHT + 0.2)
    second = admit_all(first, "b", now=MIDNIGHT - 0.2)
    third = admit_all(second, "c", now=MIDNIGHT + 0.4)
    assert third.budget.booked(MIDNIGHT) >= 2 * FLAT_USD


def test_a_budget_that_is_a_multiple_of_the_price_is_used_completely() -> None:
    quotas = Quotas(500, 25.2)
    admission = admit_all(Admission(), *(f"j{n}" for n in range(41)), quotas=quotas)
    full = admit_all(admission, "last", quotas=quotas)
    assert isinstance(full.admit(new_job("more"), quotas, NOON), Denial)


COSTS = st.none() | st.integers(0, 200).map(lambda cents: cents / 100)
VISITS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "release"]),
        st.integers(0, 9),
        COSTS,
        st.floats(0, 40),
    ),
    max_size=80,
)


@given(st.floats(0, 6), VISITS)
def test_the_booked_amount_is_the_sum_over_the_jobs_and_never_exceeds_the_budget(
    limit: float, visits: Any
) -> None:
    """Every step may happen twice, in any order, and a job may start again."""
    admission, quotas, now = Admission(), Quotas(500, limit), NOON
    spent, booked, running = 0.0, set[str](), set[str]()
    for step, number, cost, later in visits:
        now, job_id = now + later, f"j{number}"
        if step == "release":
            admission = admission.release(job_id, now, cost)
            running.discard(job_id)
            if job_id in booked and cost is not None:
                booked.remove(job_id)
                spent += cost
        else:
            after = admission.admit(new_job(job_id), quotas, now)
            if isinstance(after, Admission):
                admission = after
                if job_id not in booked:
                    assert spent + FLAT_USD * (len(booked) + 1) <= limit + 1e-6
                booked.add(job_id)
                running.add(job_id)
        assert admission.budget.booked(now) == pytest.approx(spent + FLAT_USD * len(booked))
        assert set(admission.leases.expire_at) == running


@given(st.sampled_from([1, 3, 5, 50]), st.integers(0, 30), st.integers(0, 30))
def test_as_many_slots_are_free_as_jobs_are_admitted(
    per_minute: int, active: int, expired: int
) -> None:
    expire_at = {f"a{n}": int(NOON) + 1 for n in range(active)}
    expire_at |= {f"e{n}": int(NOON) for n in range(expired)}
    admission = Admission(leases=Leases(expire_at))
    quotas, admitted = Quotas(per_minute), 0
    free = admission.free_slots(quotas, NOON)
    after = admission.admit(new_job("n0"), quotas, NOON)
    while isinstance(after, Admission):
        admitted += 1
        after = after.admit(new_job(f"n{admitted}"), quotas, NOON)
    assert free == admitted


def test_an_exhausted_budget_is_announced_once_a_day() -> None:
    admission = Admission().exhaust_budget("used up", NOON)
    assert admission.exhaust_budget("used up", NOON + 3600) == admission
    assert admission.exhaust_budget("used up", MIDNIGHT) != admission


def test_events_stay_in_the_outbox_until_they_are_published() -> None:
    admission = Admission().open_circuit(HoldReason.KEY, "no", NOON).close_circuit(NOON)
    first, second = admission.outbox
    assert admission.published(first).outbox == (second,)
    assert admission.published(first).published(first).outbox == (second,)


def test_metrics_describe_the_state() -> None:
    admission = admit_all(Admission(), "a", "b", now=NOON)
    quotas = replace(WIDE, daily_budget_usd=1.5)
    assert admission.open_circuit(HoldReason.KEY, "no", NOON).metrics(quotas, NOON) == {
        "JobsInFlight": 2,
        "CircuitOpen": 1,
        "SpentTodayUsd": 1.2,
        "BudgetExhausted": 1,
        "PriceDriftPercent": 0,
    }
    assert admission.metrics(quotas, MIDNIGHT)["BudgetExhausted"] == 0


# ─── Bookings ─────────────────────────────────────────────────────────────────────────────────


SIDECAR = Sidecar(prompt="ink")
PREPARED = Preparation(made_of="v1 1080", expires_at=0, footage=FOOTAGE)


def learned(usd: float) -> Admission:
    return Admission(prices=Prices({Basis.CLIP: usd}, 20))


def admit_clips(
    admission: Any, *job_ids: str, quotas: Quotas = WIDE, now: float = NOON
) -> Admission:
    """Admit jobs whose clips were looked at."""
    for job_id in job_ids:
        job = new_job(job_id, sidecar=SIDECAR, prepared=PREPARED)
        admission = admission.admit(job, quotas, now)
        assert isinstance(admission, Admission), admission
    return admission


def test_a_job_that_is_held_longer_than_its_lease_is_booked_once() -> None:
    admission = admit_all(Admission(), "j")
    later = admit_all(admission, "j", now=NOON + LEASE_SECONDS + 1)
    assert later.budget.booked(NOON + LEASE_SECONDS + 1) == FLAT_USD


def test_the_real_cost_is_booked_after_the_lease_has_expired() -> None:
    admission = admit_all(Admission(), "j").release("j", NOON + 2 * LEASE_SECONDS, 0.25)
    assert admission.budget.booked(NOON + 2 * LEASE_SECONDS) == 0.25


def test_an_unknown_cost_stays_booked_and_is_looked_up_again_and_again() -> None:
    admission = admit_all(Admission(), "j")
    assert admission.bookings_to_check(NOON) == {}, "it is in flight"
    waiting = admission.release("j", NOON + 60)
    assert (waiting.budget.booked(NOON + 60), waiting.bookings_to_check(NOON + 60)) == (0.6, {})
    due = NOON + 60 + LOOK_UP_SECONDS
    assert [*waiting.bookings_to_check(due)] == ["j"]
    assert waiting.release("j", due).bookings_to_check(due) == {}
    found = waiting.release("j", due, 2.5)
    assert (found.budget.booked(due), found.bookings_to_check(due)) == (2.5, {})


def test_a_cost_that_is_found_tomorrow_does_not_change_the_budget_of_that_day() -> None:
    yesterday = admit_all(Admission(), "late", now=MIDNIGHT - 60).release("late", MIDNIGHT - 30)
    today = admit_all(yesterday, "early", now=MIDNIGHT + 30)
    assert [*today.bookings_to_check(MIDNIGHT + 400)] == ["late"]
    assert today.release("late", MIDNIGHT + 400, 9.0).budget.booked(MIDNIGHT + 400) == FLAT_USD


def test_bookings_are_forgotten_after_a_day() -> None:
    admission = admit_all(Admission(), "j", now=MIDNIGHT - 60)
    assert admission.budget.at(MIDNIGHT + 1).bookings
    assert not admission.budget.at(MIDNIGHT + DAY_SECONDS + 1).bookings


def test_not_more_bookings_wait_for_a_cost_than_the_item_can_hold() -> None:
    booking = Booking("2027-01-01", 0.5, look_at=1)
    many = Budget(day="2027-01-01", bookings={f"b{n}": booking for n in range(MAX_BOOKINGS)})
    admission = admit_all(Admission(budget=many), "one more").release("one more", NOON + 1)
    assert len(admission.budget.bookings) == MAX_BOOKINGS
    assert admission.budget.booked(NOON + 1) == pytest.approx(0.5 * MAX_BOOKINGS + FLAT_USD)


def test_estimates_are_booked_and_keep_the_budget() -> None:
    quotas = Quotas(500, 25)
    admission = admit_clips(learned(8.0), "a", "b", "c", quotas=quotas)
    denial = admission.admit(new_job("d", sidecar=SIDECAR, prepared=PREPARED), quotas, NOON)
    assert isinstance(denial, Denial)
    assert (denial.reason, admission.budget.booked(NOON)) == (HoldReason.BUDGET, 24)
    cheaper = admission.release("a", NOON + 60, 0.5)
    admit_clips(cheaper, "d", quotas=quotas, now=NOON + 61)


def test_a_folder_with_a_cap_is_held_alone() -> None:
    cap = FolderCap("a/", 1.3)
    admission = Admission()
    for job_id in ("a1", "a2"):
        after = admission.admit(new_job(job_id, cap=cap), WIDE, NOON)
        assert isinstance(after, Admission)
        admission = after
    denial = admission.admit(new_job("a3", cap=cap), WIDE, NOON)
    assert isinstance(denial, Denial)
    assert (denial.reason, "1.3 USD a day for a/" in denial.message) == (
        HoldReason.FOLDER_BUDGET,
        True,
    )
    admission = admit_all(admission, "elsewhere").release("a1", NOON + 1, 0.1)
    assert isinstance(admission.admit(new_job("a3", cap=cap), WIDE, NOON + 2), Admission)
    tomorrow = admission.admit(new_job("a4", cap=cap), WIDE, MIDNIGHT + 1)
    assert isinstance(tomorrow, Admission)
    assert tomorrow.budget.booked(MIDNIGHT + 1, "a/") == FLAT_USD


def test_costs_are_compared_with_estimates_that_were_learned() -> None:
    admission, assumed = learned(1.0), Admission()
    for number in range(5):
        assert admission.budget.drift() == 0
        admission = admit_clips(admission, f"j{number}").release(f"j{number}", NOON, 1.3)
        assumed = admit_clips(assumed, f"j{number}").release(f"j{number}", NOON, 1.3)
    assert admission.budget.drift() == pytest.approx(0.3)
    assert admission.metrics(WIDE, NOON)["PriceDriftPercent"] == 30
    assert admission.metrics(WIDE, MIDNIGHT)["PriceDriftPercent"] == 0
    assert assumed.budget.drift() == 0


def test_what_failed_or_was_not_sent_is_not_compared() -> None:
    admission = learned(1.0)
    for number in range(5):
        admission = admit_clips(admission, f"j{number}").release(f"j{number}", NOON, 0)
    assert (admission.budget.compared, admission.budget.booked(NOON)) == (0, 0)


def test_a_forgotten_lease_of_a_job_whose_cost_is_unknown_keeps_what_is_booked() -> None:
    late = NOON + LONG_LEASE_SECONDS
    waiting = admit_all(Admission(), "j").release("j", NOON + 1)
    again = admit_all(waiting, "j", now=NOON + 2).release_forgotten(["j"], late + 3)
    assert (again.leases.active(late + 3), again.budget.booked(late + 3)) == ({}, FLAT_USD)

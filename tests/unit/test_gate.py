"""Never more requests than the account allows, never more clips under way than can be followed, never more money than the day has."""

from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.rules.gate import LEASE, MOST_LOST, PRICE, Gate, Hold, Limits, Shut
from retake.rules.states import Held

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
ITEM_BYTES, LEASE_BYTES = 400_000, 32 + 11  # DynamoDB's longest item; a job's id and the number of a second
STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "admit", "ask", "release"]), st.integers(0, 9), st.floats(0, 30), st.floats(-1, 0)), max_size=80
)


@given(st.integers(1, 12), STEPS)
def test_no_minute_sees_more_requests_than_allowed_and_leases_stay_bounded(per_minute: int, steps: Any) -> None:
    """The clocks of the functions differ by up to a second; time itself does not run backwards."""
    gate, limits, truth, made = Gate(), Limits(per_minute), 1000.0, []
    for step, job, later, skew in steps:
        truth += later if later > 15 else 0  # half of the steps come all at once
        seen = truth + skew
        if step == "release":
            gate = gate.release(f"j{job}", seen)
            continue
        after = gate.admit(f"j{job}", limits, seen) if step == "admit" else gate.ask(limits, seen)
        if not isinstance(after, Shut):
            gate = after
            made.append(truth)
        assert len(gate.leases) <= limits.in_flight
        assert len(gate.requests) <= 64
        assert sum(truth - 60 < at <= truth for at in made) <= per_minute


def test_a_gate_that_is_shut_opens_again_after_the_time_it_tells() -> None:
    gate: Any = Gate()
    limits, now = Limits(3), 5000.7
    for _ in range(3):
        gate = gate.ask(limits, now)
    shut = gate.ask(limits, now + 10)
    assert shut.held is Held.RATE
    assert isinstance(gate.ask(limits, now + 10 + shut.wait), Gate)


def test_admitting_a_job_again_takes_no_second_lease() -> None:
    gate: Any = Gate()
    for _ in range(5):
        gate = gate.admit("j", Limits(50), 100)
    assert len(gate.leases) == 1


def test_a_full_house_says_so_and_still_lets_in_who_has_a_lease() -> None:
    gate: Any = Gate()
    limits = Limits(10)
    for number in range(limits.in_flight):
        gate = gate.admit(f"j{number}", limits, 100)
    assert gate.free(limits, 100) == 0
    assert gate.admit("other", limits, 200).held is Held.CAPACITY
    assert isinstance(gate.admit("j0", limits, 200), Gate)


def test_releasing_is_idempotent_and_an_expired_lease_is_free() -> None:
    gate: Any = Gate().admit("j", Limits(5), 100)
    assert gate.release("j", 101) == gate.release("j", 101).release("j", 101)
    assert gate.free(Limits(5), 100 + LEASE + 1) == Limits(5).in_flight
    assert gate.release("x", 100) == gate


def test_a_shut_gate_takes_no_lease() -> None:
    gate: Any = Gate()
    for _ in range(5):
        gate = gate.ask(Limits(5), 100)
    assert isinstance(gate.admit("j", Limits(5), 100), Shut)
    assert gate.leases == {}


@pytest.mark.parametrize("per_minute", [3, 5, 50, 500, 5000])
def test_what_is_under_way_can_be_followed_within_the_request_limit(per_minute: int) -> None:
    assert 1 <= Limits(per_minute).in_flight <= max(2, per_minute)


def test_the_gate_fits_into_one_item_at_every_limit_the_template_allows() -> None:
    parameter = TEMPLATE.read_text().partition("RequestsPerMinute:")[2]
    most = int(parameter.partition("MaxValue:")[2].split()[0])
    assert Limits(most).in_flight * LEASE_BYTES < ITEM_BYTES


def test_the_fewer_requests_are_left_the_longer_gaps_get() -> None:
    limits, gate = Limits(10), Gate(requests={100: 4, 101: 4})
    assert [Gate().stretch(limits, 101), gate.stretch(limits, 101)] == [1, 1]
    assert replace(gate, requests={100: 9}).stretch(limits, 101) == pytest.approx(1.5)
    assert replace(gate, requests={100: 10, 101: 5}).stretch(limits, 101) == 2
    assert replace(gate, requests={100: 10}).stretch(limits, 165) == 1


NOON = datetime(2027, 1, 1, 12, tzinfo=UTC).timestamp()
MIDNIGHT = NOON + 12 * 3600
WIDE = Limits(500)


def admitted(gate: Any, *jobs: str, limits: Limits = WIDE, now: float = NOON) -> Any:
    for job in jobs:
        gate = gate.admit(job, limits, now)
        assert isinstance(gate, Gate), gate
    return gate


def test_a_hold_keeps_every_job_back_with_its_reason_until_it_is_probed() -> None:
    gate = Gate().keep_back(Held.KEY, "invalid_api_key", NOON)
    for later in (0, 59):
        shut = gate.admit("j", WIDE, NOON + later)
        assert isinstance(shut, Shut)
        assert (shut.held, shut.reason) == (Held.KEY, "invalid_api_key")
    assert isinstance(gate.admit("j", WIDE, NOON + 60), Gate)


def test_one_job_at_a_time_probes_a_hold() -> None:
    gate = admitted(Gate().keep_back(Held.CREDITS, "402", NOON), "probe", now=NOON + 60)
    assert gate.hold.held is Held.CREDITS
    for job in ("other", "probe"):
        assert isinstance(gate.admit(job, WIDE, NOON + 61), Shut)


def test_probes_come_ever_more_rarely_but_at_least_every_quarter_of_an_hour() -> None:
    gate, now, gaps = Gate().keep_back(Held.KEY, "no", NOON), NOON, []
    while len(gaps) < 8:
        assert gate.hold
        gaps.append(gate.hold.probe_at - now)
        now = gate.hold.probe_at
        gate = admitted(gate, "j", now=now).release("j", now, 0).keep_back(Held.KEY, "no", now)
    assert gaps == [60, 60, 120, 240, 480, 900, 900, 900]


@pytest.mark.parametrize(
    ("limits", "now", "held"),
    [(Limits(1), NOON, Held.CAPACITY), (Limits(50, 0.9), NOON, Held.BUDGET), (Limits(1), NOON + LEASE + 1, Held.RATE)],
)
def test_a_probe_that_is_shut_out_for_another_reason_uses_none_up(limits: Limits, now: float, held: Held) -> None:
    gate: Any = admitted(Gate(), "first", limits=limits)
    if held is Held.RATE:
        gate = gate.ask(limits, now)
    gate = gate.keep_back(Held.KEY, "no", now - 60)
    assert gate.admit("probe", limits, now).held is held
    assert gate.free(limits, now) == 1


def test_the_same_trouble_met_again_leaves_the_hold_as_it_is_and_another_one_begins_anew() -> None:
    first = admitted(Gate().keep_back(Held.KEY, "no", NOON), "j", now=NOON + 60)
    assert first.keep_back(Held.KEY, "no", NOON + 70) == first
    assert first.keep_back(Held.CREDITS, "402", NOON + 70).hold == Hold(Held.CREDITS, "402", int(NOON) + 130)


def test_the_first_success_lifts_a_hold_for_all() -> None:
    gate = Gate().keep_back(Held.KEY, "no", NOON).lift(NOON + 9)
    assert (gate.hold, gate.lifted) == (None, NOON + 9)
    assert gate.lift(NOON + 99) == gate
    assert [event["what"] for event in gate.news] == ["Held", "Resumed"]
    admitted(gate, "a", "b")


def test_a_hold_does_not_stop_the_looks_at_what_is_paid() -> None:
    assert isinstance(Gate().keep_back(Held.KEY, "no", NOON).ask(WIDE, NOON), Gate)


def test_during_a_pause_nothing_is_asked_and_nobody_is_let_in() -> None:
    gate = Gate().pause(90, NOON)
    for shut in (gate.ask(WIDE, NOON + 30), gate.admit("j", WIDE, NOON + 30)):
        assert isinstance(shut, Shut)
        assert (shut.held, shut.wait) == (Held.RATE, 60)
    assert gate.pause(10, NOON) == gate, "a shorter pause does not end a longer one"
    admitted(gate, "j", now=NOON + 90)


def test_during_a_pause_no_place_is_free() -> None:
    assert Gate().pause(90, NOON).free(WIDE, NOON + 30) == 0


def test_the_days_budget_lets_in_what_it_covers_and_parks_the_rest_until_midnight() -> None:
    limits = Limits(500, 1.8)
    gate = admitted(Gate(), "a", "b", "c", limits=limits)
    shut = gate.admit("d", limits, NOON)
    assert (shut.held, "1.8 USD" in shut.reason, gate.spent_usd, gate.free(limits, NOON)) == (Held.BUDGET, True, 1.8, 0)
    assert isinstance(gate.admit("d", limits, MIDNIGHT - 1), Shut)
    assert gate.free(limits, MIDNIGHT) == 3
    assert admitted(gate, "d", limits=limits, now=MIDNIGHT).spent_usd == PRICE


def test_without_a_budget_nothing_is_let_in() -> None:
    assert isinstance(Gate().admit("j", Limits(50, 0), NOON), Shut)
    assert Gate().free(Limits(50, 0), NOON) == 0


@pytest.mark.parametrize(("cost", "booked"), [(0, 0), (0.25, 0.25), (3.5, 3.5), (None, PRICE)])
def test_the_real_cost_takes_the_place_of_the_price_once(cost: float | None, booked: float) -> None:
    gate = admitted(Gate(), "a", "a", "b")
    for _ in range(3):
        gate = gate.release("a", NOON + 100, cost)
    assert gate.spent_usd == pytest.approx(PRICE + booked)


def test_what_was_booked_yesterday_is_not_given_back_today() -> None:
    gate = admitted(admitted(Gate(), "late", now=MIDNIGHT - 30), "early", now=MIDNIGHT + 30)
    assert gate.release("late", MIDNIGHT + 60, 0).spent_usd == PRICE


def test_what_was_booked_yesterday_and_renewed_today_leaves_todays_ledger_true() -> None:
    gate = admitted(admitted(Gate(), "late", now=MIDNIGHT - 30), "early", now=MIDNIGHT + 30)
    renewed = admitted(gate, "late", now=MIDNIGHT + 40).release("late", MIDNIGHT + 60, 0)
    assert renewed.spent_usd == PRICE


def test_what_was_booked_in_the_last_moment_of_a_day_belongs_to_it() -> None:
    gate = admitted(admitted(Gate(), "late", now=MIDNIGHT - 0.5), "early", now=MIDNIGHT + 30)
    assert gate.release("late", MIDNIGHT + 60, 0).spent_usd == PRICE


def test_a_clock_that_is_late_at_midnight_does_not_empty_the_ledger() -> None:
    gate = admitted(admitted(Gate(), "a", now=MIDNIGHT + 0.2), "b", now=MIDNIGHT - 0.2)
    assert admitted(gate, "c", now=MIDNIGHT + 0.4).spent_usd >= 2 * PRICE


def test_a_budget_that_is_a_multiple_of_the_price_is_used_to_the_end() -> None:
    limits = Limits(500, 25.2)
    gate = admitted(Gate(), *(f"j{n}" for n in range(41)), limits=limits)
    assert gate.free(limits, NOON) == 1
    admitted(gate, "last", limits=limits)


COSTS = st.none() | st.integers(0, 200).map(lambda cents: cents / 100)
VISITS = st.lists(st.tuples(st.sampled_from(["admit", "admit", "release"]), st.integers(0, 9), COSTS, st.floats(0, 40)), max_size=80)


@given(st.floats(0, 6), VISITS)
def test_the_ledger_is_the_sum_over_the_jobs_and_no_admission_exceeds_the_budget(budget: float, visits: Any) -> None:
    """Whatever the interleaving and the repeats: every step may happen twice, and a job may start again."""
    gate, limits, now, booked, running = Gate(), Limits(500, budget), NOON, [], {}
    for step, number, cost, later in visits:
        now, job = now + later, f"j{number}"
        if step == "release":
            gate = gate.release(job, now, cost)
            if job in running and cost is not None:
                booked[running[job]] = cost
            running.pop(job, None)
        elif isinstance(after := gate.admit(job, limits, now), Gate):
            gate = after
            if job not in running:
                running[job] = len(booked)
                booked.append(PRICE)
                assert sum(booked) <= budget + 1e-9
        assert gate.spent_usd == pytest.approx(sum(booked))
        assert set(gate.leases) == set(running)


@given(st.sampled_from([1, 3, 5, 50]), st.integers(0, 900) | st.just(inf), st.integers(0, 900), st.integers(0, 30), st.integers(0, 30))
def test_as_many_jobs_are_free_as_are_let_in(per_minute: int, budget: float, spent: int, alive: int, expired: int) -> None:
    """The odd half of a cent keeps clear of sums that meet the budget exactly."""
    leases = {f"a{n}": int(NOON) + 1 for n in range(alive)} | {f"e{n}": int(NOON) for n in range(expired)}
    gate: Any = Gate(leases=leases, day="2027-01-01", spent_usd=spent / 100)
    limits, let_in = Limits(per_minute, budget / 100 + 0.005), 0
    free = gate.free(limits, NOON)
    while isinstance(after := gate.admit(f"n{let_in}", limits, NOON), Gate):
        gate, let_in = after, let_in + 1
    assert free == let_in


def test_while_a_hold_is_on_one_job_is_free_when_it_may_probe() -> None:
    gate = Gate().keep_back(Held.KEY, "no", NOON)
    assert [gate.free(WIDE, NOON + later) for later in (0, 59, 60)] == [0, 0, 1]


def test_reaching_the_budget_is_news_once_a_day() -> None:
    gate = Gate().park("used up", NOON)
    assert gate.park("used up", NOON + 3600) == gate
    assert gate.park("used up", MIDNIGHT) != gate


def test_answers_lost_in_a_row_keep_submits_back_and_one_that_comes_ends_it() -> None:
    gate = Gate(lost=MOST_LOST - 2).lose("reset", NOON)
    assert gate.hold is None
    assert gate.lift(NOON).lose("reset", NOON).hold is None
    shut = gate.lose("reset", NOON)
    assert shut.hold
    assert (shut.hold.held, shut.lift(NOON).hold) == (Held.RATE, None)
    assert gate.keep_back(Held.KEY, "no", NOON).lose("reset", NOON).hold == gate.keep_back(Held.KEY, "no", NOON).hold


def test_news_are_kept_until_they_were_told() -> None:
    gate = Gate().keep_back(Held.KEY, "no", NOON).lift(NOON)
    first, second = gate.news
    assert gate.told(first).news == [second]
    assert gate.told(first).told(first).news == [second]

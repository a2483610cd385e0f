"""Requests are the scarce good, lag is what people feel."""

from hypothesis import given
from hypothesis import strategies as st

from retake.rules.planner import LONGEST_GAP, Plan

PLANS = st.builds(Plan, st.integers(1, 600), st.integers(1, 120), st.floats(1, 2))


@given(PLANS, st.integers(1, 400), st.booleans())
def test_no_gap_is_longer_than_a_minute_nor_shorter_than_a_second(plan: Plan, polls: int, queued: bool) -> None:
    assert 1 <= plan.wait(polls, queued) <= LONGEST_GAP == 60


@given(PLANS, st.integers(1, 300))
def test_gaps_never_shrink_and_a_queued_job_waits_at_least_as_long(plan: Plan, polls: int) -> None:
    assert plan.wait(polls) <= plan.wait(polls + 1)
    assert plan.wait(polls) <= plan.wait(polls, queued=True)


@given(PLANS, st.floats(0, 1, exclude_max=True))
def test_jitter_moves_the_first_wait_alone_and_by_a_tenth_at_most(plan: Plan, fraction: float) -> None:
    jittered = plan.jittered(fraction)
    assert abs(jittered.first - plan.first) <= 0.1 * plan.first + 0.5
    assert (jittered.gap, jittered.growth) == (plan.gap, plan.growth)


@given(PLANS)
def test_a_plan_survives_the_executions_input(plan: Plan) -> None:
    assert Plan(**plan.as_input()) == plan  # type: ignore[arg-type]


def test_the_usual_render_costs_few_requests() -> None:
    elapsed, polls = Plan().wait(0), 1
    while elapsed < 164:
        elapsed += Plan().wait(polls)
        polls += 1
    assert polls <= 6
    assert elapsed - 164 < 20

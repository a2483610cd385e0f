"""What a job will cost is learned from what past jobs have cost, however Segmind bills."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain import prices
from retake.domain.admission import Quotas
from retake.domain.footage import Footage
from retake.domain.prices import (
    FLAT_USD,
    MEGAPIXEL_USD,
    MIN_COSTS,
    WINDOW,
    Basis,
    Cost,
    FolderCap,
    Prices,
    Work,
    believable,
)
from retake.domain.sidecar import Sidecar
from tests.support.stand_ins import FOOTAGE

Billing = Callable[[Work], float]
BILLINGS: dict[str, Billing] = {
    "flat": lambda work: 0.9,
    "by seconds": lambda work: 0.07 * work.seconds,
    "by pixels": lambda work: MEGAPIXEL_USD * work.megapixels,
    "by pixels, three times dearer": lambda work: 0.01582 * work.megapixels,
}
LIMITS = Quotas(50, 25, 5)


def clip(seconds: float, width: int = 1920, height: int = 1080) -> Footage:
    return replace(FOOTAGE, seconds=seconds, width=width, height=height)


def some_work(dice: Random) -> Work:
    size = dice.choice([(1920, 1080), (1280, 720), (960, 540), (1080, 1920)])
    return Work.of(clip(dice.uniform(2, 29), *size), 1080)


def costs_of(billing: Billing, number: int, dice: Random) -> list[Cost]:
    works = [some_work(dice) for _ in range(number)]
    return [Cost(f"{dice.random()}", work, billing(work)) for work in works]


def assert_right(learned: Prices, billing: Billing) -> None:
    dice = Random(99)
    for _ in range(30):
        work = some_work(dice)
        assert learned.estimate(work).usd == pytest.approx(billing(work), rel=0.1, abs=0.006)


# ─── What a clip costs ────────────────────────────────────────────────────────────────────────


def test_five_seconds_of_720p_cost_what_segmind_publishes() -> None:
    estimate = Prices().estimate(Work.of(clip(5, 1280, 720), 1080))
    assert (estimate.usd, estimate.is_learned) == (FLAT_USD, False)


@pytest.mark.parametrize(
    ("footage", "short_side", "usd"),
    [
        (clip(30), 1080, 8.12),
        (clip(30), 720, 3.61),
        (clip(30, 3840, 2160), 1080, 8.12),
        (clip(30, 3840, 2160), None, 32.49),
        (clip(30, 1080, 1920), 720, 3.61),
        (clip(1, 640, 360), 1080, FLAT_USD),
    ],
)
def test_before_anything_is_known_the_dearer_published_price_counts(
    footage: Footage, short_side: int | None, usd: float
) -> None:
    assert Prices().estimate(Work.of(footage, short_side)).usd == usd


def test_a_clip_that_was_not_looked_at_counts_with_the_mean() -> None:
    assert Prices().estimate(None).usd == FLAT_USD
    assert Prices({Basis.CLIP: 0.9}, 20).estimate(None).usd == 0.9


# ─── Learning ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", BILLINGS)
def test_twenty_costs_tell_how_segmind_bills(name: str) -> None:
    learned = Prices.learn(costs_of(BILLINGS[name], 20, Random(1)))
    assert_right(learned, BILLINGS[name])
    assert learned.costs == 20


@pytest.mark.parametrize("before", BILLINGS)
@pytest.mark.parametrize("after", BILLINGS)
def test_twenty_costs_tell_that_segmind_bills_otherwise_now(before: str, after: str) -> None:
    dice = Random(2)
    costs = costs_of(BILLINGS[before], 180, dice) + costs_of(BILLINGS[after], 20, dice)
    assert_right(Prices.learn(costs), BILLINGS[after])


@pytest.mark.parametrize("name", BILLINGS)
def test_missing_and_absurd_costs_do_not_disturb(name: str) -> None:
    dice = Random(3)
    costs = costs_of(BILLINGS[name], 40, dice)
    for absurd in (0, 0.0001, 900, 0, 30):
        place = dice.randrange(40)
        costs[place] = replace(costs[place], usd=absurd)
    assert_right(Prices.learn(costs), BILLINGS[name])


@pytest.mark.parametrize("name", BILLINGS)
def test_costs_that_scatter_are_averaged(name: str) -> None:
    dice = Random(4)
    costs = [
        replace(cost, usd=cost.usd * dice.uniform(0.9, 1.1))
        for cost in costs_of(BILLINGS[name], 200, dice)
    ]
    assert_right(Prices.learn(costs), BILLINGS[name])


def test_a_few_costs_say_nothing() -> None:
    costs = costs_of(BILLINGS["flat"], MIN_COSTS, Random(5))
    assert Prices.learn(costs[1:]) == Prices.learn([]) == Prices()
    assert Prices.learn(costs) != Prices()


def test_equal_clips_that_confirm_a_published_price_leave_no_other() -> None:
    work = Work.of(clip(28), 1080)
    costs = [Cost(f"{number}", work, MEGAPIXEL_USD * work.megapixels) for number in range(9)]
    assert [*Prices.learn(costs).rates] == [Basis.MEGAPIXEL]
    assert Prices.learn(costs).estimate(Work.of(clip(2, 960, 540), 1080)).usd < 0.2


def test_equal_clips_that_confirm_nothing_leave_the_dearest_price() -> None:
    work = Work.of(clip(10, 1280, 720), 1080)
    learned = Prices.learn([Cost(f"{number}", work, 2.5) for number in range(9)])
    assert {*learned.rates} == {*Basis}
    assert learned.estimate(Work.of(clip(5, 1280, 720), 1080)).usd == 2.5
    assert learned.estimate(Work.of(clip(20, 1280, 720), 1080)).usd == 5


@given(
    st.lists(
        st.tuples(st.floats(0, 1e9), st.floats(0, 700), st.floats(0, 1e6)),
        max_size=30,
    )
)
def test_an_estimate_is_always_a_price(found: list[tuple[float, float, float]]) -> None:
    costs = [Cost("j", Work(seconds, pixels), usd) for usd, seconds, pixels in found]
    estimate = Prices.learn(costs).estimate(Work(10, 500))
    assert 0.01 <= estimate.usd < inf


def test_the_cost_of_a_job_is_kept_once_and_the_oldest_are_forgotten() -> None:
    work = Work(1, 1)
    costs = [Cost(f"{number}", work, 1) for number in range(WINDOW)]
    again = prices.add(costs, Cost("7", work, 2))
    assert (len(again), again[-1].usd) == (WINDOW, 2)
    more = prices.add(again, Cost("new", work, 3))
    assert (len(more), more[0].job, more[-1].job) == (WINDOW, "1", "new")


@pytest.mark.parametrize(
    ("usd", "believed"), [(0.6, 0.6), (29, 29), (31, None), (0, None), (None, None), (nan, None)]
)
def test_a_cost_that_is_missing_zero_or_absurd_is_not_believed(
    usd: float | None, believed: float | None
) -> None:
    assert believable(usd, 0.2) == believed


# ─── What is too dear ─────────────────────────────────────────────────────────────────────────


def test_a_clip_over_the_cap_is_refused_with_its_price_at_each_size_and_the_line_to_write() -> None:
    refusal = Prices().refusal(clip(30), Sidecar(), LIMITS, None)
    assert refusal
    assert "about 8.12 USD, more than MaxJobUsd, 5 USD" in refusal.reason
    assert "2.03 at 540, 3.61 at 720, 8.12 at 1080" in refusal.reason
    assert '"max_usd": 9' in refusal.cure
    assert refusal.field == "max_usd"


def test_max_usd_of_a_sidecar_decides_instead_of_the_cap() -> None:
    assert Prices().refusal(clip(30), Sidecar(max_usd=9), LIMITS, None) is None
    refusal = Prices().refusal(clip(5, 1280, 720), Sidecar(max_usd=0.5), LIMITS, None)
    assert refusal
    assert "the max_usd in its sidecar, 0.5 USD" in refusal.reason
    assert Prices().refusal(clip(5, 1280, 720), Sidecar(max_usd=0.6), LIMITS, None) is None


def test_a_smaller_size_comes_under_the_cap() -> None:
    assert Prices().refusal(clip(30), Sidecar(size="720"), LIMITS, None) is None


@pytest.mark.parametrize(
    ("daily", "cap", "named"),
    [
        (2, None, "DailyBudgetUsd"),
        (25, FolderCap("shoot/", 2), "shoot/"),
        (25, FolderCap("", 2), "the bucket"),
    ],
)
def test_a_clip_that_no_day_can_pay_is_refused(
    daily: float, cap: FolderCap | None, named: str
) -> None:
    refusal = Prices().refusal(clip(12, 1920, 1080), Sidecar(), Quotas(50, daily, 5), cap)
    assert refusal
    assert named in refusal.reason


def test_a_budget_of_zero_only_holds() -> None:
    assert Prices().refusal(clip(5), Sidecar(), Quotas(50, 0, 5), None) is None


def test_a_clip_without_a_known_size_is_refused_with_its_price_alone() -> None:
    refusal = Prices({Basis.CLIP: 7}, 20).refusal(None, Sidecar(), LIMITS, None)
    assert refusal
    assert "by size" not in refusal.reason

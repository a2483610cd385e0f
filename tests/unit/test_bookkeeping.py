"""Unknown costs are found in the history, and then the books say what Segmind billed."""

from typing import Any

import pytest

from retake.aws import cost_sums
from retake.domain.admission import LEASE_SECONDS, LOOK_UP_SECONDS
from retake.domain.job import State
from retake.domain.prices import FLAT_USD
from retake.services.bookkeeping import MAX_LOOKS
from retake.services.settle import Settlement
from tests.support.drops import status_of
from tests.support.responses import RESULT_URL, completed, response, result
from tests.support.world import World


def row(request_id: str = "r-1", **fields: Any) -> Any:
    return response(200, {"request_id": request_id, "generation_url": RESULT_URL, **fields})


def end(world: World, job_id: str, cost: float | None = None) -> None:
    """Deliver a job whose result came with a cost, or without one."""
    metrics = {"total_time": 150.0} | ({} if cost is None else {"cost": cost})
    world.segmind.status_response, world.segmind.result_response = completed(**metrics), result()
    world.poll(job_id)
    world.advance(job_id, State.FINISHING)
    world.advance(job_id, State.DELIVERED, result="s3://output/clip.mp4")
    world.app.settlement.settle(job_id)


def sums(world: World) -> tuple[float, int, float]:
    """Return what is billed, and the number and estimates of what is not."""
    every = cost_sums.read(world.app.table)
    return (
        sum(each.billed_usd for each in every),
        sum(each.unpriced_jobs for each in every),
        sum(each.unpriced_usd for each in every),
    )


@pytest.mark.parametrize("cost", [None, 0, 10_000])
def test_an_unknown_cost_is_found_in_the_history(world: World, cost: float | None) -> None:
    end(world, world.rendering(), cost)
    assert (world.booked_usd, sums(world)) == (FLAT_USD, (0, 1, FLAT_USD))
    world.segmind.history_response = row(credits_deduction=2.25)
    world.sweep()
    assert world.booked_usd == FLAT_USD, "it is looked up later"
    world.clock.now += LOOK_UP_SECONDS
    world.sweep()
    assert (world.booked_usd, world.job().cost_usd, sums(world)) == (2.25, 2.25, (2.25, 0, 0))
    assert status_of(world, "clip.mp4")["cost_usd"] == 2.25
    assert [cost.usd for cost in world.app.past_jobs.costs()] == [2.25]
    world.clock.now += LOOK_UP_SECONDS
    world.sweep()
    assert (world.booked_usd, sums(world)) == (2.25, (2.25, 0, 0))


@pytest.mark.parametrize(
    "answer", [row(), row(credits_deduction=0), response(404), response(502, "<html>")]
)
def test_a_cost_that_is_not_found_stays_booked_and_is_looked_up_again(
    world: World, answer: Any
) -> None:
    end(world, world.rendering())
    world.segmind.history_response = answer
    world.clock.now += LOOK_UP_SECONDS
    world.sweep()
    assert (world.booked_usd, world.job().cost_usd) == (FLAT_USD, None)
    world.segmind.history_response = row(credits_deduction=0.75)
    world.clock.now += LOOK_UP_SECONDS
    world.sweep()
    assert (world.booked_usd, world.job().cost_usd) == (0.75, 0.75)


def test_a_cost_that_was_stored_before_a_function_died_is_booked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(world, world.rendering())
    world.segmind.history_response = row(credits_deduction=0.75)
    world.clock.now += LOOK_UP_SECONDS

    def die(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(Settlement, "correct", die)
        world.sweep()
    assert (world.booked_usd, world.job().cost_usd) == (FLAT_USD, 0.75)
    world.clock.now += LOOK_UP_SECONDS
    world.sweep()
    assert (world.booked_usd, sums(world)) == (0.75, (0.75, 0, 0))


def test_a_booking_of_a_job_that_was_settled_before_has_bought_nothing(world: World) -> None:
    end(world, world.rendering(), 0.5)
    assert world.app.admission.admit(world.job()) is None
    assert world.booked_usd == 0.5 + FLAT_USD
    world.clock.now += LEASE_SECONDS
    world.sweep()
    assert (world.booked_usd, world.job().cost_usd) == (0.5, 0.5)


def test_a_booking_of_a_job_that_failed_is_returned(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="no")
    world.app.settlement.settle("j1")
    assert world.app.admission.admit(world.job()) is None
    world.clock.now += LEASE_SECONDS
    world.sweep()
    assert world.booked_usd == 0


def test_a_job_that_renders_for_longer_than_its_lease_keeps_its_booking(world: World) -> None:
    world.rendering()
    world.clock.now += LEASE_SECONDS + 1
    world.app.bookkeeping.look_up_costs()
    assert world.booked_usd == FLAT_USD
    world.segmind.history_response = row(credits_deduction=0.5)
    end(world, "j1")
    assert world.booked_usd == 0.5


def test_one_sweep_looks_up_a_few_costs_the_oldest_first(world: World) -> None:
    for number in range(MAX_LOOKS + 2):
        end(world, world.rendering(f"j{number}"))
        world.clock.now += 1
    world.segmind.history_response = response(404)
    world.clock.now += LOOK_UP_SECONDS
    asked = len(world.segmind.rows_requested)
    world.app.bookkeeping.look_up_costs()
    assert len(world.segmind.rows_requested) == asked + MAX_LOOKS
    world.app.bookkeeping.look_up_costs()
    assert len(world.segmind.rows_requested) == asked + MAX_LOOKS + 2


def test_nothing_is_looked_up_while_requests_are_scarce(world: World) -> None:
    end(world, world.rendering())
    world.clock.now += LOOK_UP_SECONDS
    world.app.admission.pause(30)
    asked = len(world.segmind.rows_requested)
    world.app.bookkeeping.look_up_costs()
    assert len(world.segmind.rows_requested) == asked
    assert [*world.app.admission.bookings_to_check()] == ["j1"]

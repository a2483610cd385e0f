"""Whatever stopped half-way goes on, and nothing that goes on is stopped."""

import json
from typing import Any

import pytest

from retake.adapters.jobs import JobsTable, Row
from retake.observability import metrics
from retake.rules.states import Held, State

from .conftest import CrowdedGate, World


def test_a_claimed_job_that_nobody_took_on_is_sent_on(world: World) -> None:
    world.claimed()
    world.clock.now += 1000
    world.sweeping().sweep()
    assert world.queue.jobs == ["j1"]


def test_a_wait_loop_that_ended_is_started_anew_once(world: World) -> None:
    job = world.rendering()
    world.runs.alive.clear()
    for _ in range(2):
        world.clock.now += 1000
        world.sweeping().sweep()
    assert world.runs.alive == {(job, 1)}


def test_a_submit_that_never_ended_is_unknown(world: World) -> None:
    world.move(world.claimed(), State.SUBMITTING)
    world.clock.now += 1000
    world.sweeping().sweep()
    assert world.state() == "SUBMIT_UNKNOWN"


def test_a_job_that_ended_unsettled_is_settled_once(world: World) -> None:
    world.move(world.rendering(), State.FAILED, reason="no")
    world.clock.now += 1000
    for _ in range(2):
        world.sweeping().sweep()
    assert [kind for kind, _ in world.bus.told] == ["Retake Failed"]
    assert world.jobs.gate()[0].leases == {}


def test_held_jobs_are_woken_oldest_first_as_far_as_leases_are_free(world: World) -> None:
    for number in (3, 1, 2):
        job = world.claimed(f"j{number}", f"c{number}.mp4")
        world.move(job, State.HELD, queue="held", at=number, held="rate", reason="r", held_since=number)
    world.sweeping().sweep()
    assert world.queue.jobs == ["j1", "j2", "j3"]


class _IndexLags(JobsTable):
    """The table, with an index that shows what was there a moment ago."""

    def __init__(self, world: World, rows: list[Row]) -> None:
        super().__init__(world.table, world.clock)
        self._rows = rows

    def due(self, now: float, most: int) -> list[Row]:
        return self._rows


def test_an_index_that_lags_does_not_end_a_submit_that_has_just_begun(world: World) -> None:
    job = world.claimed()
    before = world.move(job, State.SUBMITTING)
    assert before
    world.move(job, State.HELD, held="rate", reason="r", held_since=1)
    world.move(job, State.SUBMITTING)
    world.sweeping(_IndexLags(world, [before])).sweep()
    assert world.state() == "SUBMITTING"


def test_one_row_that_cannot_be_moved_on_does_not_stop_the_others(world: World) -> None:
    world.move(world.rendering("bad"), State.FAILED, reason="no")
    world.clock.now += 1
    world.move(world.claimed("good", "good.mp4"), State.SUBMITTING)
    world.bus.broken = True
    world.clock.now += 1000
    _ignoring_errors(world.sweeping().sweep)
    assert world.state("good") == "SUBMIT_UNKNOWN"


def test_a_lease_that_could_not_be_given_back_is_given_back_later(world: World) -> None:
    world.move(world.rendering(), State.FAILED, reason="no")
    _ignoring_errors(lambda: world.settlement_with(JobsTable(CrowdedGate(world.table), world.clock)).settle("j1"))
    world.clock.now += 1000
    world.sweeping().sweep()
    assert world.jobs.gate()[0].leases == {}


@pytest.mark.parametrize("bus_is_broken", [False, True])
def test_a_mail_that_cannot_be_sent_stops_nothing_and_comes_last(world: World, bus_is_broken: bool) -> None:
    world.move(world.claimed(), State.SUBMITTING)
    world.gate.keep_back(Held.CREDITS, "none left")
    world.clock.now += 1000
    world.notices.broken, world.bus.broken = True, bus_is_broken
    _ignoring_errors(world.sweeping().sweep)
    assert (world.state(), world.notices.told) == ("SUBMIT_UNKNOWN", 1)
    assert world.events == ([] if bus_is_broken else ["Retake Held"])


def _ignoring_errors(step: Any) -> None:
    try:
        step()
    except RuntimeError:
        return


def test_each_sweep_tells_how_things_stand(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.rendering()
    alone = world.claimed("j2", "c2.mp4")
    held = world.claimed("j3", "c3.mp4")
    world.move(held, State.HELD, queue="held", at=1, held="credits", reason="none left", held_since=1)
    world.gate.keep_back(Held.CREDITS, "none left")
    world.clock.now += 2000
    assert alone
    metrics.clear_metrics()
    metrics.log_metrics(lambda event, context: world.sweeping().sweep())({}, None)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures = {name: told[name] for name in ("JobsHeld", "JobsOverdue", "JobsAtSegmind", "AccountHeld", "BudgetReached", "SpentTodayUsd")}
    assert figures == {
        "JobsHeld": [1],
        "JobsOverdue": [0],
        "JobsAtSegmind": [1],
        "AccountHeld": [1],
        "BudgetReached": [0],
        "SpentTodayUsd": [0.6],
    }

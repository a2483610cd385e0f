"""A sweep moves on what stopped halfway, and disturbs nothing that is in progress."""

import json
from contextlib import suppress
from typing import Any

import pytest

from retake.aws.follow_ups import FollowUps
from retake.domain.intake import InputRecord
from retake.domain.job import FollowUp, FollowUpQueue, HoldReason, Job, State
from retake.domain.prices import FLAT_USD
from retake.observability import metrics
from tests.support.drops import status_of
from tests.support.stand_ins import ContendedAdmission
from tests.support.world import World


class LaggingFollowUps(FollowUps):
    """An index that still shows what was there a moment ago."""

    def __init__(self, world: World, entries: list[Job | InputRecord]) -> None:
        super().__init__(table=world.table)
        self._entries = entries

    def due(self, now: float, limit: int) -> list[Job | InputRecord]:
        return self._entries


def hold(world: World, job_id: str, key: str, place: int, reason: HoldReason) -> None:
    """Create a held job at a place in the line."""
    world.advance(
        world.claimed(job_id, key),
        State.HELD,
        follow_up=FollowUp(FollowUpQueue.HELD, place),
        hold_reason=reason,
        reason="r",
        held_since=place,
    )


def test_a_claimed_job_that_no_function_submits_is_woken(world: World) -> None:
    world.claimed()
    world.clock.now += 1000
    world.sweep()
    assert world.queue.jobs == ["j1"]


def test_a_wait_loop_that_ended_is_replaced_once(world: World) -> None:
    job_id = world.rendering()
    world.executions.running.clear()
    for _ in range(2):
        world.clock.now += 1000
        world.sweep()
    assert world.executions.running == {(job_id, 1)}
    assert world.executions.started[-1].wait_seconds == 0


def test_a_submit_that_never_ended_is_unknown(world: World) -> None:
    world.advance(world.claimed(), State.SUBMITTING)
    world.clock.now += 1000
    world.sweep()
    assert world.state() is State.SUBMIT_UNKNOWN
    assert world.job().follow_up == FollowUp(FollowUpQueue.DUE, int(world.clock.now))
    status = status_of(world, "clip.mp4")
    assert status["state"] == State.SUBMIT_UNKNOWN
    assert status["reason"].startswith("the function ended before")


def test_a_job_that_ended_unsettled_is_settled_once(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="no")
    world.clock.now += 1000
    for _ in range(2):
        world.sweep()
    assert world.events == ["Failed"]
    assert world.admission.leases.expire_at == {}


def test_held_jobs_are_woken_oldest_first_while_leases_are_free(world: World) -> None:
    for number in (3, 1, 2):
        hold(world, f"j{number}", f"c{number}.mp4", number, HoldReason.RATE)
    world.sweep()
    assert world.queue.jobs == ["j1", "j2", "j3"]


def test_an_index_that_lags_does_not_end_a_submit_that_has_just_begun(world: World) -> None:
    job_id = world.claimed()
    before = world.advance(job_id, State.SUBMITTING)
    assert before
    world.advance(job_id, State.HELD, hold_reason=HoldReason.RATE, reason="r", held_since=1)
    world.advance(job_id, State.SUBMITTING)
    world.application(follow_ups=LaggingFollowUps(world, [before])).sweep.run()
    assert world.state() is State.SUBMITTING


def test_one_record_in_trouble_does_not_stop_the_others(world: World) -> None:
    world.advance(world.rendering("bad"), State.FAILED, reason="no")
    world.clock.now += 1
    world.advance(world.claimed("good", "good.mp4"), State.SUBMITTING)
    world.bus.broken = True
    world.clock.now += 1000
    with suppress(RuntimeError):
        world.sweep()
    assert world.state("good") is State.SUBMIT_UNKNOWN


def test_a_lease_that_could_not_be_released_is_released_later(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="no")
    contended = world.application(table=ContendedAdmission(world.table))
    with suppress(RuntimeError):
        contended.settlement.settle("j1")
    assert list(world.admission.leases.expire_at) == ["j1"]
    world.clock.now += 1000
    world.sweep()
    assert world.admission.leases.expire_at == {}


def test_leases_that_cannot_be_released_stop_no_sweep(world: World) -> None:
    class Broken:
        def release_forgotten(self) -> None:
            raise RuntimeError("DynamoDB is away")

    app = world.application(settlement=Broken())
    assert app.sweep.run() == 0
    assert world.digest.sent == 1


@pytest.mark.parametrize("bus_is_broken", [False, True])
def test_an_email_that_cannot_be_sent_stops_nothing_and_comes_last(
    world: World, bus_is_broken: bool
) -> None:
    world.advance(world.claimed(), State.SUBMITTING)
    world.app.admission.open_circuit(HoldReason.CREDITS, "none left")
    world.clock.now += 1000
    world.digest.broken, world.bus.broken = True, bus_is_broken
    with suppress(RuntimeError):
        world.sweep()
    assert (world.state(), world.digest.sent) == (State.SUBMIT_UNKNOWN, 1)
    assert world.events == ([] if bus_is_broken else ["Held"])


def test_each_sweep_publishes_metrics(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.rendering()
    world.claimed("j2", "c2.mp4")
    hold(world, "j3", "c3.mp4", 1, HoldReason.CREDITS)
    world.app.admission.open_circuit(HoldReason.CREDITS, "none left")
    world.clock.now += 2000
    metrics.clear_metrics()
    metrics.log_metrics(lambda event, context: world.sweep())({}, None)
    published = json.loads(capsys.readouterr().out.splitlines()[-1])
    expected = {
        "JobsHeld": [1],
        "JobsOverdue": [0],
        "JobsInFlight": [1],
        "CircuitOpen": [1],
        "BudgetExhausted": [0],
        "SpentTodayUsd": [0.6],
    }
    assert {name: published[name] for name in expected} == expected


def test_a_record_that_cannot_be_read_stops_no_sweep(world: World) -> None:
    unreadable = {"pk": "job#x", "sk": "job", "state": "OF_THE_FUTURE"}
    for queue in ("due", "held"):
        follow_up = {"follow_up": queue, "follow_up_at": 1}
        world.table.put_item(Item=unreadable | {"pk": f"job#{queue}"} | follow_up)
    world.claimed()
    world.sweep()
    world.submit("j1")
    assert world.state() == "RENDERING"


def test_one_sweep_moves_on_100_records(world: World) -> None:
    for number in range(101):
        world.records.wait(f"{number}.mp4", "waits", due_at=0)
    assert [world.sweep(), world.sweep(), world.sweep()] == [100, 1, 0]


@pytest.mark.parametrize(("seconds", "begun"), [(35, 2), (35.5, 1)])
def test_a_sweep_begins_no_other_record_after_35_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float, begun: int
) -> None:
    for number in range(3):
        world.records.wait(f"{number}.mp4", "waits", due_at=number)
    send_drop = world.queue.send_drop

    def send_slowly(bucket: str, key: str) -> None:
        world.clock.now += seconds
        send_drop(bucket, key)

    monkeypatch.setattr(world.queue, "send_drop", send_slowly)
    world.app.sweep.run()
    assert world.queue.keys == ["0.mp4", "1.mp4"][:begun]


def test_one_sweep_wakes_ten_held_jobs(world: World) -> None:
    for number in range(12):
        hold(world, f"j{number:02}", f"{number}.mp4", number, HoldReason.RATE)
    world.sweep()
    assert world.queue.jobs == [f"j{number:02}" for number in range(10)]


def test_a_job_is_woken_although_the_index_still_shows_ten_admitted_ones(table: Any) -> None:
    world = World(table, daily_budget_usd=11 * FLAT_USD)
    admitted = [f"j{number}" for number in range(10)]
    for place, job_id in enumerate([*admitted, "later"]):
        hold(world, job_id, f"{job_id}.mp4", place, HoldReason.RATE)
    for job_id in admitted:
        assert world.app.admission.admit(world.job(job_id)) is None
    world.sweep()
    assert world.queue.jobs == ["later"]


@pytest.mark.parametrize("running", [False, True])
def test_a_record_that_was_moved_on_is_looked_at_again_five_minutes_later(
    world: World, running: bool
) -> None:
    waiting = world.records.wait("lone.mp4", "waits", due_at=0)
    claimed, rendering = world.claimed("j1"), world.rendering("j2")
    if not running:
        world.executions.running.clear()
    world.clock.now += 1000
    world.sweep()
    follow_ups = [
        world.records.get(waiting.key).follow_up,
        world.job(claimed).follow_up,
        world.job(rendering).follow_up,
    ]
    assert follow_ups == [FollowUp(FollowUpQueue.DUE, int(world.clock.now) + 300)] * 3

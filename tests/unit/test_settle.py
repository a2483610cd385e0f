"""The end of a job is published once, and never at the expense of the run that follows."""

import json

import pytest

from retake.domain.admission import LONG_LEASE_SECONDS
from retake.domain.job import FollowUp, FollowUpQueue, Job, State
from retake.domain.prices import FLAT_USD
from retake.observability import metrics
from tests.support.drops import drop_again, status_of
from tests.support.responses import accepted, response
from tests.support.world import World


def test_a_job_is_settled_once(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="moderation")
    for _ in range(2):
        world.app.settlement.settle("j1")
    [(name, detail)] = world.bus.published
    assert (name, detail["job"], detail["message"]) == ("Failed", "j1", "moderation")
    assert status_of(world, "clip.mp4") == detail
    assert world.admission.leases.expire_at == {}
    assert world.job().follow_up is None


def test_each_outcome_is_counted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.advance(world.rendering(), State.FAILED, reason="no")
    metrics.clear_metrics()
    metrics.log_metrics(lambda event, context: world.app.settlement.settle("j1"))({}, None)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["Failed"] == [1]


def test_the_render_time_of_a_job_is_learned_once(world: World) -> None:
    world.advance(world.rendering(), State.FETCHING, render_seconds=171.5)
    world.advance("j1", State.FINISHING)
    world.advance("j1", State.DELIVERED, result="s3://output/clip.mp4")
    for _ in range(2):
        world.app.settlement.settle("j1")
    assert world.app.past_jobs.render_seconds() == [171.5]


def test_a_job_without_a_known_render_time_teaches_nothing(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="no")
    world.app.settlement.settle("j1")
    assert world.app.past_jobs.render_seconds() == []


@pytest.mark.parametrize("state", [State.RENDERING, State.FETCHING, State.FINISHING])
def test_a_job_whose_wait_loop_ended_before_it_is_followed_up_at_once(
    world: World, state: State
) -> None:
    world.rendering()
    for later in (State.FETCHING, State.FINISHING):
        if world.state() is not state:
            world.advance("j1", later)
    world.app.settlement.settle("j1")
    assert world.job().follow_up == FollowUp(FollowUpQueue.DUE, int(world.clock.now))
    assert (world.state(), world.events) == (state, [])


def test_settling_a_failed_run_leaves_the_lease_of_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the read and the release, the files are dropped again and the job is submitted."""
    world.advance(world.rendering(), State.FAILED, reason="no")
    publish = world.app.status_files.publish

    def publish_late(job_id: str, known: Job) -> None:
        monkeypatch.setattr(world.app.status_files, "publish", publish)
        drop_again(world)
        world.segmind.submit_responses = [accepted("r-2")]
        world.submit("j1")
        assert world.state() is State.RENDERING
        publish(job_id, known)

    monkeypatch.setattr(world.app.status_files, "publish", publish_late)
    world.app.settlement.settle("j1")
    assert list(world.admission.leases.expire_at) == ["j1"]
    assert world.booked_usd == FLAT_USD


def test_a_late_end_of_a_failed_run_does_not_disturb_the_next_submit(world: World) -> None:
    """The old run's Settle state, or its late event, finds the job in SUBMITTING."""
    world.advance(world.rendering(), State.FAILED, reason="no")
    drop_again(world)

    def settle_and_sweep() -> None:
        world.app.settlement.settle("j1")
        world.sweep()

    world.segmind.during = settle_and_sweep
    world.segmind.submit_responses = [response(429, "slow down")]
    world.submit("j1")
    assert world.state() is State.HELD


def test_a_long_lease_of_a_job_that_is_not_settled_yet_is_not_forgotten(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="blocked")
    world.clock.now += LONG_LEASE_SECONDS
    world.app.bookkeeping.release_forgotten()
    assert set(world.admission.leases.expire_at) == {"j1"}

"""A name has exactly one status file; it shows the newest state, however slow its writers are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from retake.aws.s3 import OutputBucket
from retake.domain.job import HoldReason, State
from retake.domain.sidecar import Sidecar
from retake.services.status_files import StatusFiles
from tests.support.drops import all_status_files, drop_again
from tests.support.world import World

EVENT_SCHEMA = Path(__file__).parents[2] / "docs" / "event.schema.json"

FINISHED_PATH = (State.RENDERING, State.FETCHING, State.FINISHING, State.DELIVERED)


class SlowBucket(OutputBucket):
    """The bucket of a writer that is overtaken: `meanwhile` runs before its n-th step."""

    def __init__(self, world: World, step: int, meanwhile: Callable[[], object]) -> None:
        super().__init__(s3=world.s3, name="output")
        self._steps, self._meanwhile = step, meanwhile

    def put_status(self, key: str, status: Any, version: str | None = None) -> None:
        self._count()
        super().put_status(key, status, version)

    def remove(self, key: str) -> None:
        self._count()
        super().remove(key)

    def _count(self) -> None:
        self._steps -= 1
        if self._steps == -1:
            self._meanwhile()


def slow(world: World, step: int, meanwhile: Callable[[], object]) -> StatusFiles:
    output = SlowBucket(world, step, meanwhile)
    return StatusFiles(jobs=world.jobs, records=world.records, output=output)


def states(world: World) -> dict[str, str]:
    """Return the states that all status files show, by their keys."""
    return {key: status["state"] for key, status in all_status_files(world).items()}


def publish(world: World, job_id: str = "j1") -> None:
    world.app.status_files.publish(job_id)


def fail(world: World, job_id: str = "j1") -> None:
    for state in (State.SUBMITTING, State.RENDERING, State.FAILED):
        world.advance(job_id, state)
    publish(world, job_id)


def restart(world: World) -> None:
    drop_again(world)
    publish(world)


def test_one_file_follows_a_job_to_its_end(world: World) -> None:
    job_id = world.claimed()
    for state in (State.SUBMITTING, *FINISHED_PATH):
        world.advance(job_id, state)
        publish(world)
        assert states(world) == {"clip.mp4.job.json": state}


def test_a_failure_replaces_the_status_file_and_a_restart_replaces_the_failure(
    world: World,
) -> None:
    world.claimed()
    publish(world)
    fail(world)
    assert states(world) == {"clip.mp4.error.json": "FAILED"}
    restart(world)
    assert states(world) == {"clip.mp4.job.json": "CLAIMED"}


def test_an_error_says_whether_money_was_spent_and_what_to_do(world: World) -> None:
    world.claimed()
    fail(world)
    status = all_status_files(world)["clip.mp4.error.json"]
    assert status["paid"] is False
    assert status["do_now"]
    assert status["clip"] == "s3://input/clip.mp4"


@pytest.mark.parametrize("step", range(4))
def test_a_writer_that_the_end_of_the_job_overtakes_leaves_the_end(world: World, step: int) -> None:
    job_id = world.claimed()
    slow(world, step, lambda: fail(world)).publish(job_id)
    # It has only two steps: after them it has seen that nothing changed, and is finished.
    expected = "FAILED" if step < 2 else "CLAIMED"
    assert list(states(world).values()) == [expected]


@pytest.mark.parametrize("step", range(4))
def test_a_writer_that_a_restart_overtakes_leaves_the_restart(world: World, step: int) -> None:
    job_id = world.claimed()
    fail(world)
    slow(world, step, lambda: restart(world)).publish(job_id)
    restarted, failed = {"clip.mp4.job.json": "CLAIMED"}, {"clip.mp4.error.json": "FAILED"}
    assert states(world) == (restarted if step < 2 else failed)


@pytest.mark.parametrize("step", range(2))
def test_a_writer_that_a_newer_job_overtakes_leaves_the_name_to_it(world: World, step: int) -> None:
    job_id = world.claimed("older000")

    def newer() -> None:
        world.claimed("newer000")
        fail(world, "newer000")

    slow(world, step, newer).publish(job_id)
    assert states(world) == {
        "clip.mp4.error.json": "FAILED",
        "clip.older000.mp4.job.json": "CLAIMED",
    }


def test_a_name_shows_the_newer_job_before_the_older_one_gets_its_own_file(world: World) -> None:
    job_id = world.claimed("older000")
    slow(world, 1, lambda: world.claimed("newer000")).publish(job_id)
    written = [key for key, _ in world.storage.buckets["output"].versions]
    assert written == [*["clip.mp4.job.json"] * 2, "clip.older000.mp4.job.json"]


@pytest.mark.parametrize("step", range(2))
def test_a_job_that_is_overtaken_twice_leaves_the_name_to_the_newest(
    world: World, step: int
) -> None:
    job_id = world.claimed("older000")

    def newer() -> None:
        world.claimed("newer000")

    def newest() -> None:
        world.claimed("newest00")
        fail(world, "newest00")

    slow(world, step, lambda: (newer(), newest())).publish(job_id)
    slow(world, 0, lambda: None).publish("newer000")
    assert states(world) == {
        "clip.mp4.error.json": "FAILED",
        "clip.older000.mp4.job.json": "CLAIMED",
        "clip.newer000.mp4.job.json": "CLAIMED",
    }


@pytest.mark.parametrize("step", range(2))
def test_two_slow_writers_at_once_leave_the_newest_state(world: World, step: int) -> None:
    job_id = world.claimed()

    def other_slow_writer() -> None:
        slow(world, 1 - step, lambda: fail(world)).publish(job_id)

    slow(world, step, other_slow_writer).publish(job_id)
    assert states(world) == {"clip.mp4.error.json": "FAILED"}


@pytest.mark.parametrize("step", range(2))
def test_a_late_status_of_a_waiting_file_gives_way_to_its_job(world: World, step: int) -> None:
    record = world.records.wait("clip.mp4", "waits", due_at=0)
    slow(world, step, lambda: publish(world, world.claimed())).publish_waiting(record)
    assert states(world) == {"clip.mp4.job.json": "CLAIMED"}


def test_a_clip_that_waits_again_after_its_first_job_shows_that_it_waits(world: World) -> None:
    publish(world, world.claimed())
    record = world.records.wait("clip.mp4", "waits for its first frame", due_at=0)
    assert record.newest_job == "j1"
    world.app.status_files.publish_waiting(record)
    assert states(world) == {"clip.mp4.job.json": "WAITING"}


def test_a_late_status_of_a_file_that_was_paired_meanwhile_is_removed(world: World) -> None:
    record = world.records.wait("clip.json", "waits", due_at=0)
    slow(world, 1, lambda: world.records.remove("clip.json")).publish_waiting(record)
    assert states(world) == {}


def test_a_job_whose_record_is_gone_gets_no_status_file(world: World) -> None:
    job_id = world.claimed()
    world.records.remove("clip.mp4")
    world.app.status_files.publish(job_id)
    assert list(world.storage.buckets["output"].versions) == []


@pytest.mark.parametrize("end", [State.DELIVERED, State.FAILED, State.REFUSED, State.LOST])
def test_every_event_follows_the_published_schema(world: World, end: State) -> None:
    validate = fastjsonschema.compile(json.loads(EVENT_SCHEMA.read_text()))
    sidecar = Sidecar(prompt="ink", first_frame="look.png", rerun=2)
    job_id = world.claimed("0" * 32, sidecar=sidecar)
    path = {
        State.REFUSED: [State.SUBMITTING],
        State.FAILED: [State.SUBMITTING, State.RENDERING],
        State.LOST: [State.SUBMITTING, State.RENDERING],
        State.DELIVERED: [State.SUBMITTING, *FINISHED_PATH[:-1]],
    }
    for state in path[end]:
        world.advance(job_id, state, request_id="r-1", cost_usd=0.6)
    result = "s3://output/clip.mp4" if end is State.DELIVERED else None
    world.advance(job_id, end, reason="because", result=result)
    world.app.settlement.settle(job_id)
    world.app.admission.open_circuit(HoldReason.CREDITS, "none left")
    world.app.admission.close_circuit()
    world.app.admission.exhaust_budget("used up")
    world.app.outbox.publish()
    assert world.events == [end.capitalize(), "Held", "Resumed", "Held"]
    for _, detail in world.bus.published:
        validate(json.loads(json.dumps(detail)))

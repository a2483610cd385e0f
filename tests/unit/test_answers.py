"""Exactly one file answers for a clip, and in the end it tells the newest truth, whoever was slow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from retake.adapters.storage import OutputBucket
from retake.answers import Answers
from retake.rules.states import Held, State

from .conftest import World


class SlowBucket(OutputBucket):
    """The bucket of a writer that is overtaken at its n-th step: `meanwhile` runs before it."""

    def __init__(self, world: World, step: int, meanwhile: Callable[[], object]) -> None:
        super().__init__(world.s3, "output")
        self._steps, self._meanwhile = step, meanwhile

    def put_answer(self, key: str, answer: Any) -> None:
        self._count()
        super().put_answer(key, answer)

    def remove(self, key: str) -> None:
        self._count()
        super().remove(key)

    def _count(self) -> None:
        self._steps -= 1
        if self._steps == -1:
            self._meanwhile()


def files(world: World) -> dict[str, str]:
    """Give what all answers say, by their keys."""
    listed = world.s3.list_objects_v2(Bucket="output").get("Contents", ())
    return {item["Key"]: json.loads(world.read(item["Key"]) or b"{}")["state"] for item in listed}


def slow(world: World, step: int, meanwhile: Callable[[], object]) -> Answers:
    return Answers(world.jobs, SlowBucket(world, step, meanwhile))


def fails(world: World, job: str = "j1") -> None:
    for state in (State.SUBMITTING, State.RENDERING, State.FAILED):
        world.move(job, state)
    world.answers.tell(job)


def test_one_file_follows_a_job_to_its_end(world: World) -> None:
    job = world.claimed()
    for state in (State.SUBMITTING, State.RENDERING, State.DELIVERING, State.DELIVERED):
        world.move(job, state)
        world.answers.tell(job)
        assert files(world) == {"clip.mp4.job.json": state}


def test_a_failure_takes_the_place_of_the_live_file_and_a_new_start_takes_it_back(world: World) -> None:
    job = world.claimed()
    world.answers.tell(job)
    fails(world)
    assert files(world) == {"clip.mp4.error.json": "FAILED"}
    assert world.jobs.add({"id": job, "state": "CLAIMED", "bucket": "input", "key": "clip.mp4"}, world.jobs.job(job))
    world.answers.tell(job)
    assert files(world) == {"clip.mp4.job.json": "CLAIMED"}


def test_an_error_says_whether_money_was_spent_and_what_to_do(world: World) -> None:
    world.claimed()
    fails(world)
    error = json.loads(world.read("clip.mp4.error.json") or b"{}")
    assert error["paid"] is False
    assert error["do_now"]
    assert error["clip"] == "s3://input/clip.mp4"


@pytest.mark.parametrize("step", range(4))
def test_a_writer_that_is_overtaken_by_the_jobs_end_leaves_the_end(world: World, step: int) -> None:
    job = world.claimed()
    slow(world, step, lambda: fails(world)).tell(job)
    expected = "CLAIMED" if step > 1 else "FAILED"  # after its two steps it has seen that nothing changed, and is through
    assert set(files(world).values()) == {expected}


@pytest.mark.parametrize("step", range(4))
def test_a_writer_that_is_overtaken_by_a_new_start_leaves_the_new_start(world: World, step: int) -> None:
    job = world.claimed()
    fails(world)

    def starts_again() -> None:
        world.jobs.add({"id": job, "state": "CLAIMED", "bucket": "input", "key": "clip.mp4"}, world.jobs.job(job))
        world.answers.tell(job)

    slow(world, step, starts_again).tell(job)
    assert files(world) == ({"clip.mp4.job.json": "CLAIMED"} if step < 2 else {"clip.mp4.error.json": "FAILED"})


@pytest.mark.parametrize("step", range(2))
def test_a_writer_that_is_overtaken_by_a_newer_job_leaves_the_name_to_it(world: World, step: int) -> None:
    job = world.claimed("older000")

    def newer() -> None:
        world.claimed("newer000")
        fails(world, "newer000")

    slow(world, step, newer).tell(job)
    assert files(world) == {"clip.mp4.error.json": "FAILED", "clip.older000.mp4.job.json": "CLAIMED"}


@pytest.mark.parametrize("step", range(2))
def test_two_slow_writers_at_once_leave_the_newest_truth(world: World, step: int) -> None:
    job = world.claimed()
    slow(world, step, lambda: slow(world, 1 - step, lambda: fails(world)).tell(job)).tell(job)
    assert files(world) == {"clip.mp4.error.json": "FAILED"}


@pytest.mark.parametrize("step", range(2))
def test_a_waiting_answer_that_comes_late_gives_way_to_the_job(world: World, step: int) -> None:
    place = world.jobs.waiting("input", "clip.mp4", "waits", due=0)
    slow(world, step, lambda: world.answers.tell(world.claimed())).tell_waiting(place)
    assert files(world) == {"clip.mp4.job.json": "CLAIMED"}


def test_a_waiting_answer_of_a_half_that_was_paired_meanwhile_is_taken_away(world: World) -> None:
    place = world.jobs.waiting("input", "clip.json", "waits", due=0)
    slow(world, 1, lambda: world.jobs.paired("input", "clip.json")).tell_waiting(place)
    assert files(world) == {}


@pytest.mark.parametrize("end", [State.DELIVERED, State.FAILED, State.REFUSED, State.LOST])
def test_every_outcomes_event_follows_the_published_schema(world: World, end: State) -> None:
    valid = fastjsonschema.compile(json.loads((Path(__file__).parents[2] / "docs/event.schema.json").read_text()))
    fields = {"prompt": "ink", "first_frame": "look.png", "rerun": 2, "seconds": 3.5}
    job = world.claimed("0" * 32, **fields)
    ways = {State.REFUSED: [], State.FAILED: [State.RENDERING], State.LOST: [State.RENDERING], State.DELIVERED: [State.RENDERING]}
    for state in (State.SUBMITTING, *ways[end], *([State.DELIVERING] if end is State.DELIVERED else [])):
        world.move(job, state, request_id="r-1", cost_usd=0.6)
    world.move(job, end, reason="because", result="s3://output/clip.mp4" if end is State.DELIVERED else None)
    world.settlement.settle(job)
    world.gate.keep_back(Held.CREDITS, "none left")
    world.gate.lift()
    world.gate.park("used up")
    world.settlement.tell_news()
    assert world.events == [f"Retake {end.capitalize()}", "Retake Held", "Retake Resumed", "Retake Held"]
    for _, detail in world.bus.told:
        valid(json.loads(json.dumps(detail)))

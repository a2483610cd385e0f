"""Watching, and what the doctor says, about jobs that only a person can continue."""

import pytest

from retake.domain.job import FollowUp, FollowUpQueue, HoldReason, State
from retake_cli import jobs
from retake_cli.commands import doctor
from retake_cli.commands.watch import Watcher
from retake_cli.console import Screen
from retake_cli.stack import Stack
from tests.support.command import numbered_job, store
from tests.support.world import World

REASON = "two requests fit"
LONG_AGO = FollowUp(FollowUpQueue.DUE, 1)
ON_HOLD = numbered_job(
    1, State.HELD, hold_reason=HoldReason.ATTENTION, reason=REASON, follow_up=LONG_AGO
)


def test_the_doctor_names_the_jobs_that_are_on_hold_for_a_person(
    stack: Stack, world: World
) -> None:
    store(world, [ON_HOLD])
    findings = list(doctor.check_jobs(stack))
    assert [(finding.verdict, finding.what) for finding in findings[1:]] == [
        (doctor.PROBLEM, "1 clip on hold for a person: day 1/clip 001.mp4")
    ]


def test_of_many_held_jobs_the_first_in_line_are_watched(
    stack: Stack, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_HELD", 3)
    line = [FollowUp(FollowUpQueue.HELD, 100 - number) for number in range(9)]
    held = [numbered_job(number, State.HELD, follow_up=at) for number, at in enumerate(line)]
    store(world, [*held, numbered_job(20, State.RENDERING, follow_up=LONG_AGO)])
    watched = jobs.read_unfinished(stack.follow_ups)
    assert [int(entry.key[-7:-4]) for entry in watched] == [20, 8, 7, 6]
    assert len(jobs.read_unfinished(stack.follow_ups, "day 0/")) == 3


def test_watching_ends_when_only_a_person_can_continue(
    stack: Stack,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(world, [ON_HOLD])
    waiting = world.records.wait("b.mp4", "waits for its sidecar b.json", due_at=1)
    pauses = 0

    def stop_following_after_two_looks(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2:
            world.records.stop_following(waiting)

    monkeypatch.setattr("retake_cli.commands.watch.time.sleep", stop_following_after_two_looks)
    Watcher(stack=stack, screen=Screen(), prefix="").run(until_done=True)
    assert pauses == 2
    output = capsys.readouterr().out
    assert REASON in output
    assert "waits for its sidecar" in output

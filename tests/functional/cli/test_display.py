"""Hundreds of jobs stay readable, hostile names stay text, and sums add up."""

from typing import Any

import pytest

from retake.domain.admission import Admission
from retake.domain.job import FollowUp, FollowUpQueue, HoldReason, Job, State
from retake.domain.sidecar import Sidecar
from retake.domain.status_file import printable
from retake_cli import jobs, listing
from retake_cli.commands import cost, show
from retake_cli.console import clock_time, duration
from retake_cli.costs import TodaysBudget, read_costs
from retake_cli.stack import Stack
from tests.support.command import (
    FIRST_JOB_AT,
    RENDER_SECONDS,
    draw,
    numbered_job,
    store,
    store_settled,
)
from tests.support.world import World

SOON = FollowUp(FollowUpQueue.DUE, 1)
LONG_PROMPT = Sidecar(prompt="x" * 4000)


@pytest.fixture
def many(world: World) -> list[Job]:
    """Three hundred jobs in the table: more than a page of a scan."""
    many = [numbered_job(number, sidecar=LONG_PROMPT, cost_usd=0.6) for number in range(300)]
    store(world, many)
    world.app.admission.request()
    assert world.admission != Admission(), "the table has other items, too"
    return many


def test_all_jobs_are_read_page_by_page_newest_first(stack: Stack, many: list[Job]) -> None:
    found = jobs.read_all(stack.table)
    assert [jobs.identity(entry) for entry in found] == [job.id for job in reversed(many)]
    job_ids = [job.id for job in many]
    assert sorted(stack.jobs.get_many(job_ids)) == job_ids


@pytest.mark.parametrize("width", [80, 140])
def test_a_list_of_three_hundred_jobs_has_a_line_for_each(width: int) -> None:
    lines = draw(listing.table([numbered_job(number) for number in range(300)], width), width)
    assert len(lines) == 301
    assert max(map(len, lines)) <= width
    assert "day 0/clip 000.mp4" in lines[1]
    assert ("00000001" in "\n".join(lines)) == (width == 140)


def test_a_reason_is_shown_on_one_line_under_its_clip() -> None:
    reason = "Segmind's credits are used up " * 9
    job = numbered_job(1, State.HELD, hold_reason=HoldReason.CREDITS, reason=reason)
    lines = draw(listing.table([job], 80), 80)
    assert len(lines) == 3
    assert "credits: Segmind's credits" in lines[2]


def test_hostile_names_and_prompts_stay_text() -> None:
    hostile = numbered_job(
        1,
        State.FAILED,
        key="\x1b[2J[bold]\u202egpj.mp4",
        sidecar=Sidecar(prompt="[red]\x07"),
        reason="\x1b]0;x\x07[link=x]y",
    )
    for drawing in (listing.table([hostile], 80), show.details(hostile, [hostile])):
        text = "\n".join(draw(drawing, 80))
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "[bold]" in text
    assert printable("a\nb") == r"a\nb"


def test_costs_are_added_up_by_utc_day_and_folder(world: World, stack: Stack) -> None:
    paid = [numbered_job(number, cost_usd=0.5) for number in (0, 1, 150)]
    store_settled(world, paid)
    in_flight = numbered_job(3, State.RENDERING, follow_up=SOON)
    unpaid = [numbered_job(4, State.FAILED), numbered_job(5, State.REFUSED)]
    store(world, [in_flight, *unpaid])
    report = cost.report(read_costs(stack), TodaysBudget(1.1, 25))
    assert report["days"] == [
        {
            "day": "2026-03-02",
            "jobs": 1,
            "estimated_usd": 0.6,
            "usd": 0.5,
            "unpriced_jobs": 0,
        },
        {
            "day": "2026-03-01",
            "jobs": 3,
            "estimated_usd": 1.8,
            "usd": 1.6,
            "unpriced_jobs": 1,
        },
    ]
    folders = {folder["folder"]: folder["usd"] for folder in report["folders"]}
    assert folders == {"day 0/": 1.6, "day 1/": 0.5}
    assert (report["total"]["jobs"], report["total"]["usd"]) == (4, 2.1)
    assert sum(sums["usd"] for sums in report["modes"]) == pytest.approx(2.1)
    assert [(sums["size"], sums["usd"]) for sums in report["sizes"]] == [("1080", 2.1)]
    assert report["today"]["left_usd"] == 23.9


@pytest.mark.parametrize(
    ("prefix", "usd"), [("day 1/", 1.0), ("day 1/clip 00", 1.0), ("day 1", 1.0), ("day", 1.1)]
)
def test_costs_below_a_prefix_are_added_up_wherever_it_ends(
    world: World, stack: Stack, prefix: str, usd: float
) -> None:
    store_settled(world, [numbered_job(number, cost_usd=0.1) for number in (0, 1)])
    store_settled(world, [numbered_job(4, State.LOST, cost_usd=0.3)])
    store(world, [numbered_job(7, State.RENDERING, follow_up=SOON)])
    store_settled(world, [numbered_job(9, State.FAILED)])
    assert sum(each.usd for each in read_costs(stack, prefix)) == pytest.approx(usd)


def test_a_job_that_is_settled_while_costs_are_read_counts_once(
    world: World, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follow-up index still shows it."""
    store(world, [numbered_job(1, cost_usd=0.5, follow_up=SOON)])
    listed = list(stack.follow_ups.all())
    (job,) = stack.jobs.get_many([numbered_job(1).id]).values()
    stack.jobs.settle(job)
    monkeypatch.setattr(stack.follow_ups, "all", lambda queues: iter(listed))
    assert [each.jobs for each in read_costs(stack)] == [1]


def test_the_next_job_is_expected_to_take_as_long_as_recent_ones() -> None:
    failed = numbered_job(3, State.FAILED)
    assert jobs.usual_seconds([failed]) is None
    delivered = [numbered_job(1), numbered_job(2)]
    assert jobs.usual_seconds([*delivered, failed]) == RENDER_SECONDS


def test_durations_and_times_are_short() -> None:
    seconds: list[Any] = [0, 59.4, 61, 3700, 90_000, None]
    assert [*map(duration, seconds)] == ["0 s", "59 s", "1 m 1 s", "1 h 1 m", "1 d 1 h", ""]
    assert len(clock_time(FIRST_JOB_AT)) == len("01 Mar 22:00")

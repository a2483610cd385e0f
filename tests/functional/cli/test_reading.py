"""What the command reads of the table: the same however many jobs there are."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from retake.aws import cost_sums
from retake.domain.cost_sum import CostSum
from retake.domain.job import FollowUp, FollowUpQueue, HoldReason, Job, State
from retake_cli import jobs
from retake_cli.commands import cost, doctor, ls, show
from retake_cli.commands.watch import Watcher
from retake_cli.console import CommandError, Screen
from retake_cli.stack import Stack
from tests.support.command import FIRST_JOB_AT, numbered_job, store
from tests.support.world import World

SOON = FollowUp(FollowUpQueue.DUE, 1)
KEY = "day 1/clip 001.mp4"


def identities(found: list[jobs.Entry]) -> list[str]:
    return [jobs.identity(entry)[:8] for entry in found]


# ─── What is read ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mixed(world: World) -> None:
    """Some jobs, and a file that waits."""
    store(
        world,
        [
            numbered_job(1),
            numbered_job(2, State.FAILED),
            numbered_job(3, State.HELD, follow_up=SOON),
            numbered_job(4, State.HELD, hold_reason=HoldReason.ATTENTION),
            numbered_job(5, State.RENDERING, follow_up=SOON),
            numbered_job(6, State.LOST),
        ],
    )
    world.clock.now = (FIRST_JOB_AT + timedelta(minutes=7)).timestamp()
    world.records.wait("day 1/clip 007.mp4", "waits", due_at=1)


@pytest.mark.parametrize(
    ("states", "prefix", "limit", "numbers"),
    [
        ((), "", None, [7, 6, 5, 4, 3, 2, 1]),
        ((), "", 3, [7, 6, 5]),
        ((), "day 1/", None, [7, 4, 1]),
        ((State.HELD,), "", None, [4, 3]),
        ((State.HELD, State.FAILED), "", 2, [4, 3]),
        ((State.RENDERING,), "", 1, [5]),
        ((State.WAITING,), "", None, [7]),
        ((State.DELIVERED,), "day 2", None, []),
    ],
)
def test_the_newest_are_read_by_state_and_prefix(
    stack: Stack, mixed: None, states: list[State], prefix: str, limit: int, numbers: list[int]
) -> None:
    found = jobs.read_newest(stack.table, states, prefix, limit)
    assert [int(entry.key[-7:-4]) for entry in found] == numbers


def test_a_job_is_listed_once_and_as_it_is_now(world: World, stack: Stack) -> None:
    job_id = world.rendering()
    listed = list(jobs.list_newest(stack.table))
    world.advance(job_id, State.FAILED, reason="no")
    assert [item["listing"] for item in listed] == ["IN_PROGRESS"]
    assert [item["listing"] for item in jobs.list_newest(stack.table)] == ["FAILED"]
    assert jobs.read_newest(stack.table, [State.RENDERING]) == []


def test_a_job_that_changes_its_listing_while_it_is_read_appears_once(
    world: World, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.rendering()
    before = list(jobs.list_newest(stack.table))
    world.advance(job_id, State.FAILED, reason="no")
    read = jobs._list_partition

    def lagging(table: Any, listing: Any, prefix: str) -> Iterator[Any]:
        return iter(before) if listing == "IN_PROGRESS" else read(table, listing, prefix)

    monkeypatch.setattr(jobs, "_list_partition", lagging)
    (entry,) = jobs.read_newest(stack.table)
    assert entry.state is State.FAILED


def test_a_file_that_has_joined_a_job_meanwhile_is_left_out(
    world: World, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.records.wait("clip.mp4", "waits", due_at=1)
    before = list(jobs.list_newest(stack.table))
    job_id = world.claimed(key="clip.mp4")
    monkeypatch.setattr(jobs, "list_newest", lambda *_: iter(before))
    assert jobs.read_newest(stack.table) == []
    monkeypatch.undo()
    assert [jobs.identity(entry) for entry in jobs.read_newest(stack.table)] == [job_id]


def test_a_job_that_starts_again_is_the_newest(world: World, stack: Stack) -> None:
    ended = [numbered_job(number, State.FAILED) for number in (1, 2)]
    store(world, ended)
    assert identities(jobs.read_newest(stack.table)) == ["00000002", "00000001"]
    assert world.jobs.create(numbered_job(1, State.CLAIMED), replaces=ended[0])
    assert identities(jobs.read_newest(stack.table)) == ["00000001", "00000002"]


@pytest.mark.parametrize(
    "name", [KEY, f"s3://input/{KEY}", "00000001", "0000000100", "0" * 7 + "1"]
)
def test_a_job_is_found_by_its_key_its_uri_and_the_beginning_of_its_id(
    world: World, stack: Stack, name: str
) -> None:
    older, newer = numbered_job(1), numbered_job(2)
    store(world, [older, newer])
    assert jobs.find(stack.table, name) == [older]


def test_all_takes_of_a_key_are_found_newest_first(world: World, stack: Stack) -> None:
    store(world, [numbered_job(number, key=KEY) for number in (1, 3, 2)])
    world.clock.now = (FIRST_JOB_AT + timedelta(minutes=9)).timestamp()
    world.records.wait(KEY, "waits", due_at=1)
    waiting, *takes = jobs.find(stack.table, KEY)
    assert waiting.state is State.WAITING
    assert identities(takes) == ["00000003", "00000002", "00000001"]


def test_a_beginning_that_several_jobs_have_is_not_enough(world: World, stack: Stack) -> None:
    one, other = numbered_job(1), numbered_job(1, key="b.mp4")
    store(world, [one, Job(**{**vars(other), "id": other.id[:-1] + "f"})])
    with pytest.raises(CommandError, match="2 jobs begin with 00000001"):
        jobs.find(stack.table, "00000001")
    assert jobs.find(stack.table, one.id) == [one]


@pytest.mark.parametrize("name", ["", "0000001", "x" * 1025, "x" * 3000, "nobody.mp4"])
def test_what_does_not_exist_is_not_found(world: World, stack: Stack, name: str) -> None:
    store(world, [numbered_job(1)])
    with pytest.raises(CommandError, match="there is no job") as error:
        jobs.find(stack.table, name)
    assert error.value.code == 2


def test_a_job_that_does_not_exist_has_a_suggestion(world: World, stack: Stack) -> None:
    store(world, [numbered_job(1), numbered_job(2)])
    with pytest.raises(CommandError) as error:
        jobs.find(stack.table, "clip 001.mp4")
    assert error.value.do_now == f"did you mean {KEY}?"


# ─── How much is read ─────────────────────────────────────────────────────────────────────────

STATES = (State.DELIVERED, State.DELIVERED, State.FAILED, State.REFUSED, State.LOST)
IN_FLIGHT = [numbered_job(300_000 + number, State.RENDERING, follow_up=SOON) for number in range(5)]


def many(number: int) -> Job:
    """Return a job that has ended; a few hundred of them fill the first page of each listing."""
    return numbered_job(number, STATES[number % len(STATES)], cost_usd=0.6)


def held(number: int) -> Job:
    """Return a job that is held, in the line of those before and after it."""
    in_line = FollowUp(FollowUpQueue.HELD, 10_000 + number)
    return numbered_job(500_000 + number, State.HELD, follow_up=in_line)


def fill(world: World, count: int) -> None:
    """Write so many settled and as many held jobs into the table, and what they cost on 30 days."""
    store(world, (many(number) for number in range(count)))
    store(world, (held(number) for number in range(count)))
    store(world, IN_FLIGHT)
    for day in range(30):
        costs = CostSum(day=f"2026-03-{day + 1:02}", folder="day 1/", jobs=1, billed_usd=0.6)
        world.table.update_item(**cost_sums.addition(costs))


@contextmanager
def counted(stack: Stack) -> Iterator[Counter[str]]:
    """Count the calls to the table, and the items that they return."""
    read: Counter[str] = Counter()

    def count(parsed: dict[str, Any], model: Any, **_: Any) -> None:
        read[model.name] += 1
        items = parsed.get("Items", [])
        read["items"] += len(items) + sum(map(len, parsed.get("Responses", {}).values()))

    events = stack.table.meta.client.meta.events
    events.register("after-call.dynamodb", count)
    try:
        yield read
    finally:
        events.unregister("after-call.dynamodb", count)


def context(stack: Stack) -> Any:
    return SimpleNamespace(obj=SimpleNamespace(stack=stack, screen=Screen(as_json=True)))


def list_jobs(stack: Stack, **options: Any) -> None:
    given: dict[str, Any] = {"prefix": "", "state": [], "limit": 50}
    ls.ls(context(stack), **given | options)


COMMANDS: dict[str, Callable[[Stack], object]] = {
    "ls": list_jobs,
    "ls --limit 5": lambda stack: list_jobs(stack, limit=5),
    "ls --state FAILED": lambda stack: list_jobs(stack, state=[State.FAILED]),
    "ls --state HELD": lambda stack: list_jobs(stack, state=[State.HELD]),
    "ls --state RENDERING": lambda stack: list_jobs(stack, state=[State.RENDERING]),
    "show KEY": lambda stack: show.show(context(stack), KEY),
    "show ID": lambda stack: show.show(context(stack), many(5).id),
    "show beginning of ID": lambda stack: show.show(context(stack), many(5).id[:8]),
    "doctor": lambda stack: list(doctor.check_jobs(stack)),
    "cost": lambda stack: cost.cost(context(stack), prefix="", limit=14),
    "cost --prefix day 1/": lambda stack: cost.cost(context(stack), prefix="day 1/", limit=14),
    "watch": lambda stack: Watcher(stack=stack, screen=Screen(True), prefix="")._refresh(),
    "drop --wait": lambda stack: jobs.usual_seconds(
        jobs.read_newest(stack.table, [State.DELIVERED], limit=jobs.USUAL_JOBS)
    ),
}


@pytest.mark.slow
def test_the_commands_read_no_more_of_four_times_as_many_jobs(world: World, stack: Stack) -> None:
    read: list[dict[str, Counter[str]]] = []
    for count in (500, 2_000):
        fill(world, count)
        read.append({})
        for name, run in COMMANDS.items():
            with counted(stack) as calls, redirect_stdout(StringIO()):
                run(stack)
            read[-1][name] = calls
    few, many_more = read
    assert few == many_more
    assert max(sum(calls.values()) - calls["items"] for calls in few.values()) < 12
    assert not any("Scan" in calls for calls in few.values())

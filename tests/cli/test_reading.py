"""Hundreds of jobs stay readable and quick; hostile names stay text; what is told adds up."""

import io
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from cli import costs, doctor, jobs, listing
from cli.__main__ import main
from cli.app import _common_first
from cli.console import Problem, Screen, clock_time, duration, plain
from cli.stack import Stack
from retake.adapters.jobs import _storable
from retake.rules.states import State
from tests.unit.conftest import World

START = datetime(2026, 3, 1, 22, tzinfo=UTC)


def row(number: int, state: State = State.DELIVERED, **fields: Any) -> dict[str, Any]:
    began = START + timedelta(minutes=number)
    times = {State.CLAIMED: began.isoformat(), State.SUBMITTING: began.isoformat(), state: (began + timedelta(seconds=90)).isoformat()}
    known = {"id": f"{number:08x}{'0' * 24}", "bucket": "input", "key": f"day {number % 3}/clip {number:03}.mp4", "state": state}
    return known | {"sk": "job", "mode": "reimagine_3", "times": times} | fields


def drawn(picture: Any, width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(picture)
    return text.getvalue().splitlines()


@pytest.fixture
def many(world: World) -> list[dict[str, Any]]:
    rows = [row(number, cost_usd=0.6) for number in range(300)]
    with world.table.batch_writer() as writer:
        for each in rows:
            writer.put_item(Item=_storable(each | {"pk": f"job#{each['id']}", "sent": {"prompt": "x" * 4000}}))
        writer.put_item(Item={"pk": "gate", "sk": "gate", "v": 1})
    return rows


def test_all_jobs_are_read_page_by_page_newest_first(stack: Stack, many: list[dict[str, Any]]) -> None:
    found = jobs.everything(stack.table)
    assert [each["id"] for each in found] == [each["id"] for each in reversed(many)]
    assert jobs.by_id(stack.table, [each["id"] for each in many]).keys() == {each["id"] for each in many}


@pytest.mark.parametrize("width", [80, 140])
def test_a_list_of_three_hundred_has_a_line_for_each(width: int) -> None:
    rows = [row(number) for number in range(300)]
    lines = drawn(listing.listing(rows, width), width)
    assert len(lines) == 301
    assert max(map(len, lines)) <= width
    assert "day 0/clip 000.mp4" in lines[1]
    assert ("00000001" in "\n".join(lines)) == (width == 140)


def test_a_reason_stands_under_its_clip_on_one_line() -> None:
    lines = drawn(listing.listing([row(1, State.HELD, held="credits", reason="Segmind's credits are used up " * 9)], 80), 80)
    assert len(lines) == 3
    assert "credits: Segmind's credits" in lines[2]


def test_hostile_names_and_prompts_stay_text() -> None:
    evil = row(1, State.FAILED, key="\x1b[2J[bold]\u202egpj.mp4", prompt="[red]\x07", reason="\x1b]0;x\x07[link=x]y")
    for picture in (listing.listing([evil], 80), listing.story(evil, [evil])):
        text = "\n".join(drawn(picture, 80))
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "[bold]" in text
    assert plain("a\nb") == r"a\nb"


def test_a_job_is_found_by_key_address_and_beginning_of_its_id() -> None:
    rows = [row(2), row(1)]
    for name in ("day 1/clip 001.mp4", "s3://input/day 1/clip 001.mp4", "00000001"):
        assert listing.find(rows, name) == [rows[1]]
    with pytest.raises(Problem, match="no job") as nothing:
        listing.find(rows, "clip 001.mp4")
    assert (nothing.value.code, nothing.value.do_now) == (2, "did you mean day 1/clip 001.mp4?")


def test_costs_are_added_up_by_utc_day_and_folder() -> None:
    rows = [row(number, cost_usd=0.5) for number in (0, 1, 150)] + [row(3, State.RENDERING), row(4, State.FAILED), row(5, State.REFUSED)]
    told = costs.report(rows, costs.Budget(1.1, 25))
    assert told["days"] == [{"day": "2026-03-02", "jobs": 1, "usd": 0.5}, {"day": "2026-03-01", "jobs": 3, "usd": 1.6}]
    assert {each["folder"]: each["usd"] for each in told["folders"]} == {"day 0/": 1.6, "day 1/": 0.5}
    assert told["total"] == {"jobs": 4, "usd": 2.1}
    assert told["today"]["left_usd"] == 23.9


def test_the_next_job_takes_what_the_last_ones_took() -> None:
    assert jobs.usual_seconds([row(1, State.FAILED)]) is None
    assert jobs.usual_seconds([row(1), row(2), row(3, State.FAILED)]) == 90


def test_options_of_every_command_may_stand_anywhere() -> None:
    given = ["ls", "--json", "--stack", "mine", "--state", "HELD", "--region=eu-west-1"]
    assert _common_first(given) == ["--json", "--stack", "mine", "--region=eu-west-1", "ls", "--state", "HELD"]
    assert _common_first(["drop", "--", "--json"]) == ["drop", "--", "--json"]


def test_durations_and_times_are_short() -> None:
    told = [duration(seconds) for seconds in (0, 59.4, 61, 3700, 90_000, None)]
    assert told == ["0 s", "59 s", "1 m 1 s", "1 h 1 m", "1 d 1 h", ""]
    assert len(clock_time(START.isoformat())) == len("01 Mar 22:00")


def test_ctrl_c_while_it_is_starting_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: Any) -> None:
            if name == "cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130


def test_the_doctor_names_held_jobs_that_wait_for_a_person(stack: Stack, world: World) -> None:
    world.table.put_item(Item=_storable(row(1, State.HELD, held="attention") | {"pk": "job#1"}))
    found = list(doctor._jobs(stack))
    assert [(finding.verdict, finding.what) for finding in found[1:]] == [(doctor.MEND, "1 wait for a person: day 1/clip 001.mp4")]


def test_watching_ends_when_only_a_person_could_go_on(
    stack: Stack, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asleep = _storable(row(1, State.HELD, held="attention", reason="two requests fit") | {"pk": "job#1", "queue": "due", "at": 1})
    world.table.put_item(Item=asleep)
    alone = world.jobs.waiting("input", "b.mp4", "waits for its sidecar b.json", due=1)
    looks = iter([lambda: None, lambda: world.jobs.told(alone)])
    monkeypatch.setattr("cli.listing.time.sleep", lambda _: next(looks)())
    listing.watch(stack, Screen(), "", until_done=True)
    assert next(looks, None) is None
    said = capsys.readouterr().out
    assert "two requests fit" in said
    assert "waits for its sidecar" in said

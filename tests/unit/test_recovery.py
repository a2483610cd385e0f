"""A submit whose answer never came: found in the history, sent once more, or given to a person; never paid for twice."""

import json
from typing import Any

import pytest

from retake.rules.contract import Answer
from retake.rules.gate import PRICE
from retake.rules.states import Held

from .conftest import NOW, TIMED_OUT, World

URL = "https://input.s3.eu-central-1.amazonaws.com/clip.mp4?signature=another"


def unknown(world: World, job: str = "j1", **fields: Any) -> None:
    """Bring a job to where nobody knows whether it runs."""
    world.segmind.submit_answers = [TIMED_OUT]
    world.submission().submit(world.claimed(job, **fields))
    assert world.state(job) == "SUBMIT_UNKNOWN"


def row(request_id: str = "r-9", **body: Any) -> dict[str, Any]:
    sent = {"video_url": URL, "mode": "adhere_1"} | body
    return {"request_id": request_id, "model_status": "PENDING", "request_body": {k: v for k, v in sent.items() if v is not None}}


def page(*rows: Any) -> Answer:
    return Answer(200, json.dumps({"history": rows}))


@pytest.mark.parametrize(
    "listed",
    [
        row(prompt="ink"),
        row(prompt="ink") | {"model_status": "COMPLETED", "generation_url": "https://images.segmind.com/r.mp4"},
        row(prompt="ink") | {"model_status": "FAILED", "error": "out of memory"},
        row(prompt="ink") | {"request_body": json.dumps(row(prompt="ink")["request_body"])},
        row(prompt="ink", video_url="https://input.s3.eu-central-1.amazonaws.com/cl%69p.mp4"),
        row(prompt="ink") | {"request_body": {"prompt": "ink", "mode": "adhere_1", "video_url": URL, "first_frame_url": None}},
        row(prompt="ink", first_frame_url=""),
    ],
)
def test_a_request_for_the_same_input_is_adopted_though_its_signature_differs(world: World, listed: dict[str, Any]) -> None:
    unknown(world, prompt="ink")
    world.segmind.pages = [page(row("r-8", video_url="https://input.s3.eu-central-1.amazonaws.com/other.mp4"), listed)]
    world.minutes_pass()
    job = world.job()
    assert (job["state"], job["request_id"], job["submitted_at"]) == ("RENDERING", "r-9", NOW)
    assert json.loads(world.read("clip.mp4.job.json") or b"{}")["request_id"] == "r-9"
    world.minutes_pass()
    assert (world.runs.alive, len(world.segmind.sent)) == ({("j1", 1)}, 1)


@pytest.mark.parametrize(
    "listed",
    [
        row(prompt="oil"),
        row(),
        row(prompt="ink", mode="flex_3"),
        row(prompt="ink", video_url="https://input.s3.eu-central-1.amazonaws.com/folder/clip.mp4"),
        row(prompt="ink", video_url=None),
        row("../r", prompt="ink"),
        row(prompt="ink") | {"request_id": None},
        row(prompt="ink") | {"request_body": "no JSON"},
        row(prompt="ink") | {"request_body": None},
        row(prompt="ink") | {"request_body": [URL]},
    ],
)
def test_a_request_for_something_else_is_not_adopted(world: World, listed: dict[str, Any]) -> None:
    unknown(world, prompt="ink")
    world.segmind.pages = [page(listed)]
    world.minutes_pass()
    assert (world.state(), "request_id" in world.job()) == ("SUBMIT_UNKNOWN", False)


@pytest.mark.parametrize(
    "listed",
    [
        row(prompt="oil"),
        row(first_frame_url="https://input.s3.eu-central-1.amazonaws.com/look.png"),
        row(video_url="https://other-stack.example/clip.mp4"),
    ],
    ids=["a prompt where the job has none", "a first frame where the job has none", "the same key in the bucket of another stack"],
)
def test_a_request_that_has_more_than_the_job_is_not_adopted(world: World, listed: dict[str, Any]) -> None:
    unknown(world)
    world.segmind.pages = [page(listed)]
    world.minutes_pass()
    assert world.state() == "SUBMIT_UNKNOWN"


def test_a_request_is_known_by_its_first_frame_too(world: World) -> None:
    unknown(world, first_frame_url="https://pictures.example/look.png?token=one")
    other = row("r-8", first_frame_url="https://pictures.example/other.png"), row("r-7")
    world.segmind.pages = [page(*other, row(first_frame_url="https://pictures.example/look.png?token=two"))]
    world.minutes_pass()
    assert (world.state(), world.job()["request_id"]) == ("RENDERING", "r-9")


def test_a_request_that_another_job_of_the_clip_has_is_not_adopted(world: World) -> None:
    world.rendering()
    unknown(world, "j2", rerun=2)
    world.segmind.pages = [page(row("r-1"))]
    world.minutes_pass(2)
    assert world.state("j2") == "SUBMIT_UNKNOWN"
    world.segmind.pages = [page(row("r-1"), row("r-2"))]
    world.minutes_pass()
    assert (world.state("j2"), world.job("j2")["request_id"]) == ("RENDERING", "r-2")


def test_two_lost_requests_for_one_clip_are_adopted_by_one_job_each(world: World) -> None:
    unknown(world)
    unknown(world, "j2", rerun=2)
    world.segmind.pages = [page(row("r-8"), row("r-9"))]
    world.minutes_pass()
    assert {world.job(job)["request_id"] for job in ("j1", "j2")} == {"r-8", "r-9"}


def test_an_adopted_request_that_failed_ends_as_a_failure_that_cost_nothing(world: World) -> None:
    unknown(world)
    world.segmind.pages = [page(row() | {"model_status": "FAILED", "error": "out of memory"})]
    world.minutes_pass(2)
    assert world.spent == PRICE
    world.segmind.status_answer = Answer(422, '{"status": "FAILED", "error": "out of memory"}')
    assert world.polling.poll(world.loop())["next"] == "SETTLE"
    world.settlement.settle("j1")
    assert (world.state(), world.job()["reason"], world.spent, world.events) == ("FAILED", "out of memory", 0, ["Retake Failed"])


def test_a_request_is_looked_for_on_every_page_until_it_is_found(world: World) -> None:
    unknown(world)
    others = [row(f"o-{number}", video_url="https://input.s3.eu-central-1.amazonaws.com/other.mp4") for number in range(9)]
    world.segmind.pages = [page(*others[:5]), page(*others[5:]), page(row()), page(row("r-10"))]
    world.minutes_pass()
    assert world.job()["request_id"] == "r-9"
    assert [asked[0] for asked in world.segmind.pages_asked] == [1, 2, 3]


def test_the_days_that_are_asked_for_contain_the_submit_wherever_the_accounts_day_begins(world: World) -> None:
    unknown(world)
    world.minutes_pass()
    assert world.segmind.pages_asked == [(1, "2027-01-14", "2027-01-16")]


def test_an_absent_request_is_sent_once_more_after_three_looks_and_five_minutes(world: World) -> None:
    unknown(world)
    world.minutes_pass(4)
    assert (world.state(), len(world.segmind.sent), len(world.segmind.pages_asked)) == ("SUBMIT_UNKNOWN", 1, 4)
    world.minutes_pass()
    assert (world.state(), world.job()["request_id"], len(world.segmind.sent)) == ("RENDERING", "r-1", 2)
    assert (world.spent, list(world.jobs.gate()[0].leases)) == (PRICE, ["j1"])


def test_looks_that_saw_nothing_because_the_history_was_away_do_not_count(world: World) -> None:
    unknown(world)
    world.segmind.pages = [Answer(502, "<html>")]
    world.minutes_pass(8, every=4)
    world.segmind.pages = []
    world.minutes_pass(2)
    assert len(world.segmind.sent) == 1
    world.minutes_pass()
    assert len(world.segmind.sent) == 2


def test_a_history_that_is_endless_and_slow_keeps_no_other_job_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown(world)
    asked: list[int] = []

    def slow(number: int, *days: str) -> Answer:
        asked.append(number)
        world.clock.now += 20
        return page(*[{"request_id": f"x-{number}"}] * 100)

    monkeypatch.setattr(world.segmind, "history_page", slow)
    world.clock.now += 60
    world.sweeping().sweep()
    assert asked == [1, 2]
    assert (world.state(), "looks" in world.job()) == ("SUBMIT_UNKNOWN", False)
    assert world.job()["at"] > world.clock.now


def test_a_page_that_cannot_be_read_makes_the_whole_look_a_blind_one(world: World) -> None:
    unknown(world)
    world.segmind.pages = [page(row("o", video_url="https://x/")), Answer(0, "ReadTimeout")]
    world.minutes_pass(6, every=2)
    assert len(world.segmind.sent) == 1


@pytest.mark.parametrize("answer", [Answer(0, "ReadTimeout"), Answer(401), Answer(200, "<html>")])
def test_a_history_that_cannot_be_read_for_a_quarter_of_an_hour_leaves_it_to_a_person(world: World, answer: Answer) -> None:
    unknown(world)
    world.segmind.pages = [answer]
    world.minutes_pass(16, every=2)
    assert world.state() == "SUBMIT_UNKNOWN"
    world.minutes_pass(2)
    told = json.loads(world.read("clip.mp4.job.json") or b"{}")
    assert (told["state"], told["held"], "history does not tell" in told["reason"]) == ("HELD", "attention", True)
    assert (world.events, world.bus.told[0][1]["held"], world.bus.told[0][1]["job"]) == (["Retake Held"], "attention", "j1")
    world.segmind.pages = []
    world.minutes_pass(8, every=4)
    assert (world.job()["held"], len(world.segmind.sent), world.events) == ("attention", 1, ["Retake Held"])


def test_an_answer_that_is_lost_twice_leaves_it_to_a_person(world: World) -> None:
    unknown(world)
    world.segmind.submit_answers = [TIMED_OUT] * 9
    world.minutes_pass(14, every=2)
    job = world.job()
    assert (len(world.segmind.sent), job["state"], job["held"], "twice" in job["reason"]) == (2, "HELD", "attention", True)
    assert world.events == ["Retake Held"]


def test_a_request_that_was_sent_once_more_is_found_in_the_history_too(world: World) -> None:
    unknown(world)
    world.segmind.submit_answers = [TIMED_OUT]
    world.minutes_pass(6, every=2)
    world.segmind.pages = [page(row())]
    world.minutes_pass()
    assert (world.job()["request_id"], len(world.segmind.sent)) == ("r-9", 2)


def test_a_message_that_comes_twice_or_gets_lost_sends_an_absent_request_once(world: World) -> None:
    unknown(world)
    for _ in range(5):
        world.clock.now += 120
        world.sweeping().sweep()
    assert world.queue.jobs == ["j1"] * 3
    world.segmind.submit_answers = [TIMED_OUT] * 3
    world.wake()
    assert len(world.segmind.sent) == 2


def test_an_absent_request_waits_at_a_shut_gate(world: World) -> None:
    unknown(world)
    world.minutes_pass(4, every=2)
    world.clock.now += 120
    world.sweeping().sweep()
    assert world.job()["absent"]
    world.gate.pause(300)
    world.wake()
    world.minutes_pass(4, every=2)
    assert (world.state(), len(world.segmind.sent)) == ("SUBMIT_UNKNOWN", 1)
    world.minutes_pass(2, every=2)
    assert (world.state(), len(world.segmind.sent)) == ("RENDERING", 2)


def test_without_a_free_request_nothing_is_looked_at(table: Any) -> None:
    world = World(table, requests_per_minute=1)
    unknown(world)
    world.sweeping().sweep()
    world.clock.now += 61
    world.sweeping().sweep()
    assert world.segmind.pages_asked == []
    world.clock.now += 61
    world.sweeping().sweep()
    assert len(world.segmind.pages_asked) == 1


def test_a_gate_that_is_long_shut_is_no_unreadable_history(world: World) -> None:
    unknown(world)
    world.gate.pause(1000)
    world.minutes_pass(16, every=4)
    assert (world.state(), world.segmind.pages_asked) == ("SUBMIT_UNKNOWN", [])
    world.segmind.pages = [page(row())]
    world.minutes_pass(2)
    assert (world.state(), len(world.segmind.sent)) == ("RENDERING", 1)


def test_every_page_is_asked_for_at_the_gate(table: Any) -> None:
    world = World(table, requests_per_minute=3)
    unknown(world)
    world.segmind.pages = [page(*[row("o", video_url="https://x/")] * 100)] * 10
    world.clock.now += 120
    world.sweeping().sweep()
    assert len(world.segmind.pages_asked) <= 3


def test_a_job_that_waits_for_a_person_is_not_sent_by_a_second_drop(world: World) -> None:
    unknown(world)
    world.segmind.submit_answers = [TIMED_OUT] * 9
    world.minutes_pass(12, every=2)
    world.segmind.submit_answers = []
    world.submission().submit("j1")
    assert (world.job()["held"], len(world.segmind.sent)) == ("attention", 2)


def test_a_shut_gate_does_not_hide_that_a_person_is_asked(world: World) -> None:
    unknown(world)
    world.segmind.submit_answers = [TIMED_OUT] * 9
    world.minutes_pass(12, every=2)
    world.gate.pause(60)
    world.submission().submit("j1")
    assert world.job()["held"] == "attention"


def test_a_request_that_was_sent_once_more_and_held_on_the_way_is_not_sent_yet_again(world: World) -> None:
    unknown(world)
    world.segmind.submit_answers = [Answer(429), *[TIMED_OUT] * 9]
    world.minutes_pass(20, every=2)
    job = world.job()
    assert (len(world.segmind.sent), job["state"], job["held"]) == (3, "HELD", "attention")


def test_a_function_that_died_while_it_refused_a_removed_clip_leaves_no_job_behind(world: World) -> None:
    job = world.claimed()
    world.move(job, "SUBMITTING")
    world.s3.delete_object(Bucket="input", Key="clip.mp4")
    world.segmind.pages = [page(row(video_url="https://input.s3.eu-central-1.amazonaws.com/other.mp4"))]
    world.minutes_pass(9, every=3)
    assert world.state() != "SUBMIT_UNKNOWN"


def test_a_job_that_was_never_sent_is_sent_at_the_first_look(world: World) -> None:
    world.move(world.claimed(), "SUBMITTING")
    world.move("j1", "SUBMIT_UNKNOWN", within=0)
    world.minutes_pass()
    assert (world.state(), len(world.segmind.sent), world.segmind.pages_asked) == ("RENDERING", 1, [])


def test_a_request_that_turns_up_while_the_gate_is_shut_is_adopted(world: World) -> None:
    unknown(world)
    world.gate.keep_back(Held.KEY, "no")
    for _ in range(3):
        world.clock.now += 120
        world.sweeping().sweep()
        world.queue.jobs.clear()
    world.segmind.pages = [page(row())]
    world.minutes_pass(2)
    assert (world.job().get("request_id"), len(world.segmind.sent)) == ("r-9", 1)


def test_an_empty_list_before_the_rows_does_not_make_a_request_absent(world: World) -> None:
    unknown(world)
    world.segmind.pages = [Answer(200, json.dumps({"errors": [], "history": [row()]}))]
    world.minutes_pass(6, every=2)
    assert len(world.segmind.sent) == 1

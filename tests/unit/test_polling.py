"""A known request is followed to its end, whatever Segmind says of it."""

import json
from typing import Any

import pytest

from retake.rules.contract import FILE_LIFE, RECORD_LIFE, Answer
from retake.rules.states import State

from .conftest import World

COMPLETED = Answer(200, '{"status": "COMPLETED", "metrics": {"inference_time": 13.06, "cost": 0.6, "total_time": 150.5}}')
RESULT = Answer(200, '{"status": "COMPLETED", "output": "https://images.segmind.com/r.mp4"}')
NOT_FOUND = Answer(404, '{"error": "Request r-1 not found"}')


def test_a_completed_job_is_delivered_with_its_figures(world: World) -> None:
    world.segmind.status_answer, world.segmind.result_answer = COMPLETED, RESULT
    assert world.polling.poll(world.loop(world.rendering()))["next"] == "DELIVER"
    job = world.jobs.job("j1")
    assert job is not None
    assert (job["state"], job["cost_usd"]) == ("DELIVERING", 0.6)


def test_a_failed_job_fails_with_its_reason(world: World) -> None:
    world.segmind.status_answer = Answer(422, '{"status": "FAILED", "error": "moderation"}')
    assert world.polling.poll(world.loop(world.rendering()))["next"] == "SETTLE"
    assert (world.state(), (world.jobs.job("j1") or {})["reason"]) == ("FAILED", "moderation")


@pytest.mark.parametrize(
    "answer", [Answer(0, "ReadTimeout"), Answer(429), Answer(401), Answer(502, "<html>"), NOT_FOUND, Answer(404, "<html>")]
)
def test_an_answer_without_news_is_asked_for_again(world: World, answer: Answer) -> None:
    world.segmind.status_answer = answer
    after = world.polling.poll(world.loop(world.rendering()))
    assert after["next"] == "WAIT"
    assert 1 <= after["wait_seconds"] <= 120
    assert world.state() == "RENDERING"


def test_a_record_that_is_gone_is_found_in_the_history(world: World) -> None:
    job = world.rendering()
    world.clock.now += 100
    world.segmind.status_answer = NOT_FOUND
    world.segmind.history_answer = Answer(200, '{"request_id": "r-1", "generation_url": "https://images.segmind.com/r.mp4"}')
    assert world.polling.poll(world.loop(job))["next"] == "DELIVER"


def test_the_history_is_asked_with_a_request_of_its_own(world: World) -> None:
    job = world.rendering()
    world.clock.now += 100
    world.segmind.status_answer = NOT_FOUND
    world.polling.poll(world.loop(job))
    assert sum(world.jobs.gate()[0].requests.values()) == 2


def test_a_record_that_is_gone_when_requests_are_used_up_is_looked_for_in_the_history_next(world: World, monkeypatch: Any) -> None:
    job = world.rendering()
    world.clock.now += 100
    world.segmind.status_answer = NOT_FOUND
    shut = iter([0, 7])
    monkeypatch.setattr(world.polling, "_shut", lambda: next(shut))
    after = world.polling.poll(world.loop(job))
    assert (after["next"], after["wait_seconds"]) == ("WAIT", 7)
    monkeypatch.undo()
    monkeypatch.setattr(world.segmind, "status", None)
    world.segmind.history_answer = Answer(200, '{"generation_url": "https://images.segmind.com/r.mp4"}')
    assert world.polling.poll(after)["next"] == "DELIVER"


def test_a_record_that_goes_between_its_completion_and_its_result_is_found_in_the_history(world: World) -> None:
    job = world.rendering()
    world.clock.now += 100
    world.segmind.status_answer, world.segmind.result_answer = COMPLETED, NOT_FOUND
    world.segmind.history_answer = Answer(200, '{"generation_url": "https://images.segmind.com/r.mp4"}')
    assert world.polling.poll(world.loop(job) | {"completed": True})["next"] == "DELIVER"


@pytest.mark.parametrize(
    ("answer", "wait", "keys_read"),
    [(Answer(429, headers={"retry-after": "90"}), 90, 0), (Answer(503), 15, 0), (Answer(0, "ReadTimeout"), 15, 0), (Answer(401), 15, 1)],
)
def test_a_result_that_cannot_be_had_now_is_asked_for_again_and_alarms_nobody(
    world: World, answer: Answer, wait: int, keys_read: int
) -> None:
    world.segmind.status_answer, world.segmind.result_answer = COMPLETED, answer
    after = world.polling.poll(world.loop(world.rendering()))
    assert (after["next"], after["wait_seconds"], world.segmind.keys_read) == ("WAIT", wait, keys_read)
    assert (world.state(), "reason" in world.job()) == ("RENDERING", False)
    assert world.jobs.gate()[0].paused_until == (world.clock.now + 90 if answer.status == 429 else 0)


def test_a_result_without_an_address_stays_where_a_person_can_see_it(world: World) -> None:
    world.segmind.status_answer, world.segmind.result_answer = COMPLETED, Answer(200, '{"status": "COMPLETED", "odd": 1}')
    assert world.polling.poll(world.loop(world.rendering()))["next"] == "WAIT"
    assert world.state() == "RENDERING"
    assert '"odd": 1' in json.loads(world.read("clip.mp4.job.json") or b"{}")["reason"]


def test_a_job_is_lost_only_when_the_file_cannot_be_there_any_more(world: World) -> None:
    job = world.rendering()
    world.segmind.history_answer = Answer(404, "{}")
    world.clock.now += FILE_LIFE - 1
    assert world.polling.poll(world.loop(job))["next"] == "WAIT"
    world.clock.now += 2
    assert world.polling.poll(world.loop(job))["next"] == "SETTLE"
    assert world.state() == "LOST"


def test_without_a_free_request_nothing_is_asked(table: Any) -> None:
    world = World(table, requests_per_minute=3)
    job = world.rendering()
    while world.gate.ask() is None:
        pass
    world.segmind.during = lambda: pytest.fail("asked")
    assert world.polling.poll(world.loop(job))["next"] == "WAIT"


@pytest.mark.parametrize(("status", "read"), [(401, 1), (403, 1), (429, 0), (502, 0)])
def test_a_key_that_was_not_accepted_is_read_again(world: World, status: int, read: int) -> None:
    world.segmind.status_answer = Answer(status)
    world.polling.poll(world.loop(world.rendering()))
    assert world.segmind.keys_read == read


def test_a_rate_limit_that_one_job_meets_pauses_all(world: World) -> None:
    job = world.rendering()
    world.segmind.status_answer = Answer(429, headers={"retry-after": "90"})
    assert world.polling.poll(world.loop(job))["wait_seconds"] == 90
    world.submission().submit(world.claimed("j2", "other.mp4"))
    assert (world.state("j2"), world.job("j2")["held"]) == ("HELD", "rate")
    world.clock.now += 90
    world.submission().submit("j2")
    assert world.state("j2") == "RENDERING"


@pytest.mark.parametrize(("cost", "booked"), [(0.85, 0.85), (0.25, 0.25), (None, 0.6)])
def test_the_ledger_learns_the_real_cost_once(world: World, cost: float | None, booked: float) -> None:
    job = world.rendering()
    world.segmind.status_answer = Answer(200, json.dumps({"status": "COMPLETED", "metrics": {"cost": cost}}))
    world.segmind.result_answer = RESULT
    world.polling.poll(world.loop(job))
    assert (world.spent, world.jobs.gate()[0].leases) == (booked, {})
    world.move(job, State.DELIVERED)
    for _ in range(2):
        world.settlement.settle(job)
    assert world.spent == booked


def test_a_job_that_failed_costs_nothing_and_frees_its_place(world: World) -> None:
    job = world.rendering()
    world.segmind.status_answer = Answer(422, '{"status": "FAILED", "error": "moderation"}')
    world.polling.poll(world.loop(job))
    for _ in range(2):
        world.settlement.settle(job)
    assert (world.spent, world.jobs.gate()[0].leases) == (0, {})


@pytest.mark.parametrize("age", [100, RECORD_LIFE + 1, FILE_LIFE + 1])
def test_a_failure_that_only_the_history_knows_is_a_failure(world: World, age: int) -> None:
    job = world.rendering()
    world.clock.now += age
    world.segmind.status_answer = NOT_FOUND
    world.segmind.history_answer = Answer(
        200, '{"request_id": "r-1", "model_status": "FAILED", "error": "out of memory", "generation_url": null}'
    )
    assert world.polling.poll(world.loop(job))["next"] == "SETTLE"
    assert world.state() == "FAILED"


@pytest.mark.parametrize("cost", ["0", "0.6", '"0.60"', "null", "NaN", "1e999", "1e-200", "1" * 60])
def test_odd_figures_do_not_keep_a_paid_result_back(world: World, cost: str) -> None:
    world.segmind.status_answer, world.segmind.result_answer = (
        Answer(200, f'{{"status": "COMPLETED", "metrics": {{"cost": {cost}}}}}'),
        RESULT,
    )
    assert world.polling.poll(world.loop(world.rendering()))["next"] == "DELIVER"


def test_a_late_failure_of_the_first_request_does_not_end_the_second(world: World) -> None:
    job = world.rendering()

    def starts_again() -> None:
        failed = world.move(job, State.FAILED, reason="first")
        assert failed
        assert world.jobs.add(
            {name: failed[name] for name in ("id", "bucket", "key", "mode", "versions", "video")} | {"state": "CLAIMED"}, failed
        )
        world.segmind.submit_answers = [Answer(200, '{"request_id": "r-2"}')]
        world.submission().submit(job)

    world.segmind.status_answer, world.segmind.during = Answer(422, '{"status": "FAILED", "error": "first"}'), starts_again
    world.polling.poll(world.loop(job))
    assert ((world.jobs.job(job) or {})["request_id"], world.state()) == ("r-2", "RENDERING")


def test_where_one_request_a_minute_is_free_a_completed_job_gets_its_result_by_the_next(table: Any) -> None:
    world = World(table, requests_per_minute=1)
    world.rendering()
    world.segmind.status_answer = Answer(200, '{"status": "COMPLETED"}')
    world.segmind.result_answer = Answer(200, json.dumps({"status": "COMPLETED", "output": "https://images.segmind.com/r.mp4"}))
    loop = world.loop()
    for _ in range(4):
        world.clock.now += 65
        loop = world.polling.poll(loop)
    assert world.state() == "DELIVERING"


@pytest.mark.parametrize("scaled", [False, True])
def test_a_job_is_asked_for_at_the_ages_of_its_plan_by_the_clock_or_by_what_was_waited(world: World, scaled: bool) -> None:
    loop, waits = world.loop(world.rendering()) | {"wait_seconds": 120}, []
    for _ in range(3):
        world.clock.now += 0 if scaled else loop["wait_seconds"]
        loop = world.polling.poll(loop)
        waits.append(loop["wait_seconds"])
    assert (waits[:2], loop["polls"]) == ([15, 16], 3)
    assert 16 <= waits[2] <= 60


def test_a_run_that_is_started_anew_goes_on_with_the_plan(world: World) -> None:
    loop = world.loop(world.rendering())
    world.clock.now += 135
    assert world.polling.poll(loop)["wait_seconds"] == 16


def test_a_job_seen_in_the_queue_begins_its_plan_then(world: World) -> None:
    job = world.rendering()
    world.segmind.status_answer = Answer(200, '{"status": "QUEUED"}')
    world.clock.now += 120
    queued = world.polling.poll(world.loop(job))
    assert (queued["queued"], queued["wait_seconds"]) == (120, 60)
    world.segmind.status_answer = Answer(200, '{"status": "PROCESSING"}')
    world.clock.now += 120
    assert world.polling.poll(queued)["wait_seconds"] == 15


def test_while_requests_are_short_polls_come_more_rarely(table: Any) -> None:
    world = World(table, requests_per_minute=10)
    job = world.rendering()
    world.clock.now += 120
    for _ in range(8):
        world.gate.ask()
    assert world.polling.poll(world.loop(job))["wait_seconds"] > 15


@pytest.mark.parametrize(
    ("clock", "loop", "learned"),
    [
        (160, {"age": 155}, 150.5),
        (160, {"age": 155, "queued": 20}, 130.5),
        (10, {"age": 155}, 155),  # the state machine's waits are scaled, Segmind's seconds are not
        (170, {"age": 0}, None),  # a run that began late knows nothing of the waits
    ],
)
def test_a_render_is_learned_in_the_seconds_of_the_waits_and_without_the_queue(
    world: World, clock: float, loop: dict[str, Any], learned: float | None
) -> None:
    world.segmind.status_answer, world.segmind.result_answer = COMPLETED, RESULT
    job = world.rendering()
    world.clock.now += clock
    world.polling.poll(world.loop(job) | loop)
    assert world.job().get("render_seconds") == learned
    world.move(job, "DELIVERED", result="s3://output/clip.mp4")
    world.settlement.settle(job)
    world.settlement.settle(job)
    assert world.jobs.renders() == ([learned] if learned else [])


def test_the_next_plan_follows_what_was_learned(world: World) -> None:
    for _ in range(250):
        world.jobs.learn(60.0)
    assert len(world.jobs.renders()) == 200
    world.rendering()
    assert abs(world.runs.plans[-1]["ages"][0] - 60) <= 15

"""A known request is followed to its end, whatever Segmind responds."""

from typing import Any

import pytest

from retake.domain.job import HoldReason, State
from retake.domain.limits import (
    FILE_LIFETIME_SECONDS,
    RECORD_LIFETIME_SECONDS,
    REPLICA_LAG_SECONDS,
)
from retake.domain.wait_loop import NextStep, Question
from retake.segmind.responses import Response
from tests.support.drops import drop_again, status_of
from tests.support.kills import Killed, kill
from tests.support.responses import (
    CLIP_URL,
    RESULT_URL,
    accepted,
    completed,
    response,
    result,
)
from tests.support.world import World

COMPLETED = completed(inference_time=13.06, cost=0.6, total_time=150.5)
RESULT = result()
NOT_FOUND = response(404, {"error": "Request r-1 not found"})
ROW_WITH_RESULT = response(200, {"request_id": "r-1", "generation_url": RESULT_URL})


# ─── The end of a job ─────────────────────────────────────────────────────────────────────────


def test_a_completed_job_is_delivered_with_its_figures(world: World) -> None:
    world.segmind.status_response, world.segmind.result_response = COMPLETED, RESULT
    assert world.poll(world.rendering()).next_step is NextStep.FETCH
    job = world.job()
    assert (job.state, job.cost_usd) == (State.FETCHING, 0.6)
    assert job.result_url == RESULT_URL


def test_a_failed_job_fails_with_its_reason(world: World) -> None:
    world.segmind.status_response = response(422, {"status": "FAILED", "error": "moderation"})
    assert world.poll(world.rendering()).next_step is NextStep.SETTLE
    assert (world.state(), world.job().reason) == (State.FAILED, "moderation")


@pytest.mark.parametrize(
    "received",
    [
        Response(0, "ReadTimeout"),
        response(429),
        response(401),
        response(502, "<html>"),
        NOT_FOUND,
        response(404, "<html>"),
    ],
)
def test_after_a_response_that_says_nothing_the_job_is_polled_again(
    world: World, received: Response
) -> None:
    world.segmind.status_response = received
    after = world.poll(world.rendering())
    assert after.next_step is NextStep.WAIT
    assert 1 <= after.wait_seconds <= 120
    assert world.state() is State.RENDERING


def test_a_gateway_error_that_says_failed_ends_no_job(world: World) -> None:
    world.rendering()
    body = {"status": "failed", "message": "upstream connect error"}
    world.segmind.status_response = response(502, body)
    world.poll()
    assert world.state() is State.RENDERING


@pytest.mark.parametrize("age", [100, RECORD_LIFETIME_SECONDS + 1, FILE_LIFETIME_SECONDS + 1])
def test_a_failure_that_only_the_history_knows_is_a_failure(world: World, age: int) -> None:
    job_id = world.rendering()
    world.clock.now += age
    world.segmind.status_response = NOT_FOUND
    row = {"request_id": "r-1", "model_status": "FAILED", "error": "out of memory"}
    world.segmind.history_response = response(200, row | {"generation_url": None})
    assert world.poll(job_id).next_step is NextStep.SETTLE
    assert world.state() is State.FAILED


def test_a_late_failure_of_the_first_request_does_not_end_the_second(world: World) -> None:
    job_id = world.rendering()

    def start_again() -> None:
        assert world.advance(job_id, State.FAILED, reason="first")
        drop_again(world)
        world.segmind.submit_responses = [accepted("r-2")]
        world.submit(job_id)

    world.segmind.status_response = response(422, {"status": "FAILED", "error": "first"})
    world.segmind.during = start_again
    world.poll(job_id)
    assert (world.job().request_id, world.state()) == ("r-2", State.RENDERING)


def test_the_wait_loop_of_an_earlier_run_ends(world: World) -> None:
    job_id = world.rendering()
    earlier = world.loop(job_id)
    assert world.advance(job_id, State.FAILED, reason="first")
    drop_again(world)
    world.segmind.submit_responses = [accepted("r-2")]
    world.submit(job_id)
    world.segmind.status_response, world.segmind.result_response = COMPLETED, RESULT
    assert world.app.poller.poll(earlier).next_step is NextStep.SETTLE
    assert world.state() is State.RENDERING


def test_a_job_is_lost_only_when_its_file_cannot_exist_any_more(world: World) -> None:
    job_id = world.rendering()
    world.segmind.history_response = response(404, {})
    world.clock.now += FILE_LIFETIME_SECONDS
    assert world.poll(job_id).next_step is NextStep.WAIT
    world.clock.now += 1
    assert world.poll(job_id).next_step is NextStep.SETTLE
    assert world.state() is State.LOST


# ─── The history ──────────────────────────────────────────────────────────────────────────────


def test_a_result_whose_record_is_gone_is_found_in_the_history(world: World) -> None:
    job_id = world.rendering()
    world.clock.now += 100
    world.segmind.status_response = NOT_FOUND
    world.segmind.history_response = ROW_WITH_RESULT
    assert world.poll(job_id).next_step is NextStep.FETCH


@pytest.mark.parametrize("question", [Question.STATUS, Question.RESULT])
@pytest.mark.parametrize(("late", "next_step"), [(0, NextStep.WAIT), (1, NextStep.FETCH)])
def test_a_record_that_is_not_there_is_gone_when_every_replica_would_have_it(
    world: World, question: Question, late: int, next_step: NextStep
) -> None:
    job_id = world.rendering()
    world.clock.now += REPLICA_LAG_SECONDS + late
    world.segmind.status_response = world.segmind.result_response = NOT_FOUND
    world.segmind.history_response = ROW_WITH_RESULT
    assert world.poll(job_id, question=question).next_step is next_step


@pytest.mark.parametrize(("late", "next_step"), [(0, NextStep.WAIT), (1, NextStep.FETCH)])
def test_the_history_is_asked_when_the_lifetime_of_a_record_is_over(
    world: World, late: int, next_step: NextStep
) -> None:
    job_id = world.rendering()
    world.clock.now += RECORD_LIFETIME_SECONDS + late
    world.segmind.history_response = ROW_WITH_RESULT
    assert world.poll(job_id).next_step is next_step


@pytest.mark.parametrize(
    ("received", "wait", "reason"),
    [
        (response(200, {}), 60, "its record is gone and the history has no URL yet: {}"),
        (response(404, {}), 60, "its record is gone and the history has no URL yet: {}"),
        (response(503, {}), 15, None),
    ],
)
def test_a_result_that_the_history_does_not_have_yet_is_searched_for_again(
    world: World, received: Response, wait: int, reason: str | None
) -> None:
    job_id = world.rendering()
    world.clock.now += 100
    world.segmind.status_response, world.segmind.history_response = NOT_FOUND, received
    after = world.poll(job_id)
    assert (after.next_step, after.wait_seconds) == (NextStep.WAIT, wait)
    assert (world.state(), world.job().reason) == (State.RENDERING, reason)
    assert status_of(world, "clip.mp4").get("reason") == reason


def test_the_history_costs_a_request_of_its_own(world: World) -> None:
    job_id = world.rendering()
    world.clock.now += 100
    world.segmind.status_response = NOT_FOUND
    world.poll(job_id)
    assert sum(world.admission.rate.counts.values()) == 2


def test_without_a_request_for_the_history_the_next_poll_asks_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.rendering()
    world.clock.now += 100
    world.segmind.status_response = NOT_FOUND
    world.segmind.during = lambda: world.app.admission.pause(7)
    after = world.poll(job_id)
    assert (after.next_step, after.wait_seconds) == (NextStep.WAIT, 7)
    assert after.question is Question.HISTORY
    world.clock.now += 7
    monkeypatch.setattr(world.segmind, "status", None)
    world.segmind.history_response = response(200, {"generation_url": RESULT_URL})
    assert world.app.poller.poll(after).next_step is NextStep.FETCH


def test_a_record_that_expires_before_its_result_is_read_is_found_in_the_history(
    world: World,
) -> None:
    job_id = world.rendering()
    world.clock.now += 100
    world.segmind.status_response, world.segmind.result_response = COMPLETED, NOT_FOUND
    world.segmind.history_response = response(200, {"generation_url": RESULT_URL})
    assert world.poll(job_id, question=Question.RESULT).next_step is NextStep.FETCH


def test_when_a_file_cannot_be_copied_the_history_may_know_another_url(world: World) -> None:
    world.advance(world.rendering(), State.FETCHING, result_url="https://images.segmind.com/a")
    world.segmind.history_response = ROW_WITH_RESULT
    assert world.poll().next_step is NextStep.FETCH
    assert world.job().result_url == "https://images.segmind.com/a", "it was not tried yet"
    world.jobs.update(world.job(), fetch_attempts=1)
    assert world.poll().next_step is NextStep.FETCH
    assert world.job().result_url == RESULT_URL


# ─── The result ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("received", "wait", "key_reads"),
    [
        (response(429, **{"retry-after": "90"}), 90, 0),
        (response(503), 15, 0),
        (Response(0, "ReadTimeout"), 15, 0),
        (response(401), 15, 1),
    ],
)
def test_a_result_that_is_not_available_now_is_requested_again_without_a_reason(
    world: World, received: Response, wait: int, key_reads: int
) -> None:
    world.segmind.status_response, world.segmind.result_response = COMPLETED, received
    after = world.poll(world.rendering())
    assert (after.next_step, after.wait_seconds) == (NextStep.WAIT, wait)
    assert world.segmind.key_reads == key_reads
    assert (world.state(), world.job().reason) == (State.RENDERING, None)
    paused_until = world.clock.now + 90 if received.status == 429 else 0
    assert world.admission.rate.paused_until == paused_until


def test_a_result_that_is_not_there_yet_is_requested_again_soon(world: World) -> None:
    world.segmind.status_response, world.segmind.result_response = COMPLETED, NOT_FOUND
    after = world.poll(world.rendering())
    assert (after.next_step, after.wait_seconds) == (NextStep.WAIT, 15)


def test_a_result_without_a_url_is_kept_where_a_person_can_see_it(world: World) -> None:
    world.segmind.status_response = COMPLETED
    world.segmind.result_response = response(200, {"status": "COMPLETED", "odd": 1})
    assert world.poll(world.rendering()).next_step is NextStep.WAIT
    assert world.state() is State.RENDERING
    assert '"odd": 1' in status_of(world, "clip.mp4")["reason"]


def test_the_first_2000_characters_of_an_odd_result_are_kept(world: World) -> None:
    odd = '{"status": "COMPLETED", "odd": "' + "x" * 3000 + '"}'
    world.segmind.status_response, world.segmind.result_response = COMPLETED, Response(200, odd)
    world.poll(world.rendering())
    assert (world.job().reason or "").endswith(f": {odd[:2000]}")


@pytest.mark.parametrize("state", [State.FAILED, State.FETCHING])
def test_a_poll_that_another_function_overtakes_looks_again_5_seconds_later(
    world: World, state: State
) -> None:
    """Both read the same response; the other one writes first."""
    failed = response(422, {"status": "FAILED", "error": "moderation"})
    world.segmind.status_response = failed if state is State.FAILED else COMPLETED
    world.segmind.result_response = RESULT
    job_id = world.rendering()
    world.segmind.during = lambda: world.poll(job_id)
    after = world.poll(job_id)
    assert world.state() is state
    assert (after.next_step, after.wait_seconds) == (NextStep.WAIT, 5)


def test_a_function_that_is_killed_before_it_publishes_an_odd_result_publishes_it_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.rendering()
    world.segmind.status_response = completed()
    world.segmind.result_response = response(200, {"status": "COMPLETED", "strange": 1})
    monkeypatch.setattr(world.app.status_files, "publish", kill)
    with pytest.raises(Killed):
        world.poll()
    monkeypatch.undo()
    world.clock.now += 120
    for _ in range(3):
        world.poll()
        world.clock.now += 60
    assert "its result has no URL" in status_of(world, "clip.mp4").get("reason", "")


def test_a_response_that_repeats_the_input_does_not_deliver_it(world: World) -> None:
    """The result has its output under an unknown name, beside the URL of the input."""
    world.rendering()
    world.segmind.status_response = completed()
    world.segmind.result_response = response(
        200,
        {
            "status": "COMPLETED",
            "request_id": "r-1",
            "video_url": f"{CLIP_URL}?X-Amz-Signature=other",
            "output": None,
            "generation": {"href": RESULT_URL},
        },
    )
    world.poll()
    assert world.job().result_url is None
    assert world.state() is State.RENDERING


def test_a_url_in_an_error_is_not_a_result(world: World) -> None:
    world.rendering()
    world.segmind.status_response = completed()
    body = {"error": "maintenance", "url": "https://status.segmind.com"}
    world.segmind.result_response = response(503, body)
    world.poll()
    assert (world.state(), world.job().result_url) == (State.RENDERING, None)


@pytest.mark.parametrize("cost", ["0", "0.6", '"0.60"', "null", "NaN", "1e999", "1e-200", "1" * 60])
def test_unusable_figures_do_not_delay_a_paid_result(world: World, cost: str) -> None:
    status = f'{{"status": "COMPLETED", "metrics": {{"cost": {cost}}}}}'
    world.segmind.status_response = Response(200, status)
    world.segmind.result_response = RESULT
    assert world.poll(world.rendering()).next_step is NextStep.FETCH


def test_with_one_request_a_minute_the_result_is_read_with_the_next_one(table: Any) -> None:
    world = World(table, requests_per_minute=1)
    world.rendering()
    world.segmind.status_response, world.segmind.result_response = completed(), RESULT
    loop = world.loop()
    for _ in range(4):
        world.clock.now += 65
        loop = world.app.poller.poll(loop)
    assert world.state() is State.FETCHING


# ─── Requests, the key and money ──────────────────────────────────────────────────────────────


def test_without_a_free_request_segmind_is_not_asked(table: Any) -> None:
    world = World(table, requests_per_minute=3)
    job_id = world.rendering()
    while world.app.admission.request() is None:
        pass
    world.segmind.during = lambda: pytest.fail("asked")
    assert world.poll(job_id).next_step is NextStep.WAIT


@pytest.mark.parametrize(("status", "reads"), [(401, 1), (403, 1), (429, 0), (502, 0)])
def test_a_rejected_key_is_read_again(world: World, status: int, reads: int) -> None:
    world.segmind.status_response = response(status)
    world.poll(world.rendering())
    assert world.segmind.key_reads == reads


def test_a_rate_limit_that_one_poll_exceeds_pauses_all_jobs(world: World) -> None:
    job_id = world.rendering()
    world.segmind.status_response = response(429, **{"retry-after": "90"})
    assert world.poll(job_id).wait_seconds == 90
    world.submit(world.claimed("j2", "other.mp4"))
    assert (world.state("j2"), world.job("j2").hold_reason) == (State.HELD, HoldReason.RATE)
    world.clock.now += 90
    world.submit("j2")
    assert world.state("j2") is State.RENDERING


@pytest.mark.parametrize(("cost", "booked"), [(0.85, 0.85), (0.25, 0.25), (None, 0.6)])
def test_the_real_cost_is_booked_once(world: World, cost: float | None, booked: float) -> None:
    job_id = world.rendering()
    world.segmind.status_response = completed(cost=cost)
    world.segmind.result_response = RESULT
    world.poll(job_id)
    assert (world.booked_usd, world.admission.leases.expire_at) == (booked, {})
    world.advance(job_id, State.DELIVERED)
    for _ in range(2):
        world.app.settlement.settle(job_id)
    assert world.booked_usd == booked


def test_a_failed_job_costs_nothing_and_releases_its_lease(world: World) -> None:
    job_id = world.rendering()
    world.segmind.status_response = response(422, {"status": "FAILED", "error": "moderation"})
    world.poll(job_id)
    for _ in range(2):
        world.app.settlement.settle(job_id)
    assert (world.booked_usd, world.admission.leases.expire_at) == (0, {})


# ─── The schedule ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scaled", [False, True])
def test_a_job_is_polled_at_the_ages_of_its_schedule_by_the_clock_or_by_the_waits(
    world: World, scaled: bool
) -> None:
    loop = world.loop(world.rendering(), wait_seconds=120)
    waits = []
    for _ in range(3):
        world.clock.now += 0 if scaled else loop.wait_seconds
        loop = world.app.poller.poll(loop)
        waits.append(loop.wait_seconds)
    assert (waits[:2], loop.polls) == ([15, 16], 3)
    assert 16 <= waits[2] <= 60


def test_an_execution_that_replaces_another_continues_the_schedule(world: World) -> None:
    job_id = world.rendering()
    world.clock.now += 135
    assert world.poll(job_id).wait_seconds == 16


def test_a_job_that_is_seen_in_the_queue_begins_its_schedule_then(world: World) -> None:
    job_id = world.rendering()
    world.segmind.status_response = response(200, {"status": "QUEUED"})
    world.clock.now += 120
    queued = world.poll(job_id)
    assert (queued.queued_at, queued.wait_seconds) == (120, 60)
    world.segmind.status_response = response(200, {"status": "PROCESSING"})
    world.clock.now += 120
    assert world.app.poller.poll(queued).wait_seconds == 15


def test_while_requests_are_scarce_polls_are_less_frequent(table: Any) -> None:
    world = World(table, requests_per_minute=10)
    job_id = world.rendering()
    world.clock.now += 120
    for _ in range(8):
        world.app.admission.request()
    assert world.poll(job_id).wait_seconds > 15


@pytest.mark.parametrize(
    ("seconds", "loop", "learned"),
    [
        (160, {"elapsed": 155}, 150.5),
        (160, {"elapsed": 155, "queued_at": 20}, 130.5),
        # The waits of the state machine are scaled, Segmind's seconds are not.
        (10, {"elapsed": 155}, 155),
        # It was still in the queue when it was seen last.
        (160, {"elapsed": 155, "queued_at": 152}, 0),
        # Segmind completed it within the second of its submit.
        (0, {"elapsed": 155}, 155),
        # An execution that began late knows nothing about the waits before it.
        (170, {"elapsed": 0}, None),
    ],
)
def test_a_render_time_is_learned_in_the_seconds_of_the_waits_and_without_the_queue(
    world: World, seconds: float, loop: dict[str, Any], learned: float | None
) -> None:
    world.segmind.status_response, world.segmind.result_response = COMPLETED, RESULT
    job_id = world.rendering()
    world.clock.now += seconds
    world.poll(job_id, **loop)
    assert world.job().render_seconds == learned
    world.advance(job_id, State.FINISHING)
    world.advance(job_id, State.DELIVERED, result="s3://output/clip.mp4")
    for _ in range(2):
        world.app.settlement.settle(job_id)
    assert world.app.past_jobs.render_seconds() == ([] if learned is None else [learned])


@pytest.mark.slow
def test_the_next_schedule_follows_what_was_learned(world: World) -> None:
    for _ in range(250):
        world.app.past_jobs.add(60.0, None)
    assert len(world.app.past_jobs.render_seconds()) == 200
    world.rendering()
    assert abs(world.executions.started[-1].schedule.ages[0] - 60) <= 15


def test_a_job_that_has_ended_meanwhile_is_not_asked_about(world: World) -> None:
    world.advance(world.rendering(), State.FAILED, reason="blocked")
    world.segmind.during = lambda: pytest.fail("Segmind was asked")
    assert world.poll().next_step is NextStep.SETTLE

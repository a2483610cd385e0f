"""A job is paid at most once, whatever functions do at the same time and whatever gets lost."""

from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from botocore.exceptions import ClientError

from retake.aws.job_store import JobStore
from retake.domain.admission import LONG_LEASE_SECONDS
from retake.domain.job import FollowUpQueue, HoldReason, Job, State
from retake.domain.prices import FLAT_USD, FolderCap
from retake.domain.sidecar import Sidecar
from retake.segmind.responses import Response
from retake.services.submit import Submitter
from tests.support.drops import drop_again, fail, status_of
from tests.support.kills import Killed, kill
from tests.support.responses import CLIP_URL, accepted, response
from tests.support.stand_ins import FOOTAGE, TIMED_OUT
from tests.support.world import World

BAD_KEY, NO_CREDITS = response(401, {"error": "invalid_api_key"}), response(402, "no credits")
REJECTED = response(400, {"error": "no"})
UNREACHABLE = Response(0, "ConnectError", sent=False)


class StaleJobStore(JobStore):
    """The store of a function that read a job some time ago."""

    def __init__(self, world: World, job_id: str) -> None:
        super().__init__(table=world.table, clock=world.clock)
        self._stale: Job | None = world.job(job_id)

    def get(self, job_id: str) -> Job | None:
        stale, self._stale = self._stale, None
        return stale or super().get(job_id)


class FailingJobStore(JobStore):
    """A store that fails when a job is to reach a state."""

    def __init__(self, world: World, state: State) -> None:
        super().__init__(table=world.table, clock=world.clock)
        self._state = state

    def advance(self, job: Job, state: State, **changes: Any) -> Job | None:
        if state is self._state:
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "UpdateItem")
        return super().advance(job, state, **changes)


class RepeatingTable:
    """A table of which one write is applied, its response lost, and the write repeated."""

    def __init__(self, table: Any, state: State) -> None:
        self._table, self._state, self.repeats = table, state, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def update_item(self, **options: Any) -> Any:
        updated = self._table.update_item(**options)
        if options["ExpressionAttributeValues"].get(":state") != self._state or self.repeats:
            return updated
        self.repeats += 1
        return self._table.update_item(**options)


def late_submitter(world: World, job_id: str) -> Submitter:
    """Return the submitter of a function that has read a job already."""
    submitter: Submitter = world.application(jobs=StaleJobStore(world, job_id)).submitter
    return submitter


def claim_all(world: World, *job_ids: str) -> None:
    """Create jobs, one a second."""
    for job_id in job_ids:
        world.claimed(job_id, f"{job_id}.mp4")
        world.clock.now += 1


def submit_all(world: World, *job_ids: str) -> None:
    """Create jobs and submit them."""
    claim_all(world, *job_ids)
    for job_id in job_ids:
        world.submit(job_id)


def states_of(world: World, *job_ids: str) -> list[State]:
    return [world.state(job_id) for job_id in job_ids]


def held_jobs(world: World) -> list[str]:
    """List the held jobs, oldest first."""
    return [job.id for job in world.app.follow_ups.held(99)]


def leases(world: World) -> list[str]:
    return list(world.admission.leases.expire_at)


# ─── Once ─────────────────────────────────────────────────────────────────────────────────────


def test_an_accepted_job_keeps_its_request_id_and_gets_its_wait_loop(world: World) -> None:
    world.rendering()
    job = world.job()
    assert (job.request_id, job.submitted_at) == ("r-1", int(world.clock.now))
    assert world.executions.running == {("j1", 0)}


def test_the_first_poll_of_a_job_comes_when_its_schedule_begins(world: World) -> None:
    world.rendering()
    [loop] = world.executions.started
    assert loop.wait_seconds == loop.schedule.ages[0]


def test_submitting_a_job_again_sends_nothing(world: World) -> None:
    world.rendering()
    world.submit("j1")
    assert len(world.segmind.sent) == 1


@pytest.mark.parametrize(
    ("received", "state", "lease_count"),
    [
        (TIMED_OUT, State.SUBMIT_UNKNOWN, 1),
        (response(504, "<html>"), State.SUBMIT_UNKNOWN, 1),
        (response(200, "<html>"), State.SUBMIT_UNKNOWN, 1),
        (response(429), State.HELD, 0),
        (BAD_KEY, State.HELD, 0),
        (response(402), State.HELD, 0),
        (UNREACHABLE, State.HELD, 0),
        (response(400, {"error": "prompt"}), State.REFUSED, 0),
    ],
)
def test_the_response_decides_the_state_and_the_lease(
    world: World, received: Response, state: State, lease_count: int
) -> None:
    world.segmind.submit_responses = [received]
    world.submit(world.claimed())
    assert (world.state(), len(leases(world))) == (state, lease_count)


def test_a_function_that_is_slow_to_sign_does_not_send_what_another_has_sent(
    world: World,
) -> None:
    """While one function signs, another one submits the same job, and its response is lost."""
    job_id = world.claimed()
    world.segmind.submit_responses = [TIMED_OUT]
    world.signer.during = lambda: world.submit(job_id)
    world.submit(job_id)
    assert len(world.segmind.sent) == 1


def test_a_denied_function_does_not_hold_a_job_that_another_one_is_sending(table: Any) -> None:
    """Two events of one drop arrive together; the first takes the last request of the minute."""
    world = World(table, requests_per_minute=3)
    for _ in range(2):
        world.app.admission.request()
    job_id = world.claimed()
    other = late_submitter(world, job_id)
    world.segmind.during = lambda: other.submit(job_id)
    world.submit(job_id)
    assert world.state() is State.RENDERING
    world.clock.now += 120
    world.submit(job_id)
    assert len(world.segmind.sent) == 1


def test_a_function_that_comes_too_late_leaves_no_lease_and_books_nothing(world: World) -> None:
    job_id = world.claimed()
    late = late_submitter(world, job_id)
    world.segmind.submit_responses = [REJECTED]
    world.submit(job_id)
    assert world.state() is State.REFUSED
    late.submit(job_id)
    assert (leases(world), world.booked_usd) == ([], 0)


def test_a_function_that_comes_too_late_leaves_the_lease_of_a_job_that_renders(
    world: World,
) -> None:
    late = late_submitter(world, world.claimed())
    world.submit("j1")
    late.submit("j1")
    assert (leases(world), world.booked_usd) == (["j1"], 0.6)


def test_a_function_that_comes_after_the_delivery_books_nothing(world: World) -> None:
    late = late_submitter(world, world.claimed())
    world.submit("j1")
    for state in (State.FETCHING, State.FINISHING, State.DELIVERED):
        world.advance("j1", state, cost_usd=0.45)
    world.app.settlement.settle("j1")
    late.submit("j1")
    assert (world.booked_usd, leases(world), len(world.segmind.sent)) == (0.45, [], 1)


def test_a_lease_is_released_when_the_function_that_came_too_late_died(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = late_submitter(world, world.claimed())
    world.segmind.submit_responses = [REJECTED]
    world.submit("j1")
    monkeypatch.setattr(late._jobs, "advance", kill)
    with pytest.raises(Killed):
        late.submit("j1")
    world.rendering("j2")
    world.sweep()
    assert set(leases(world)) == {"j1", "j2"}, "a function may still be at work"
    world.clock.now += LONG_LEASE_SECONDS
    world.sweep()
    assert (leases(world), world.booked_usd) == (["j2"], FLAT_USD)


def test_a_job_whose_request_cannot_be_built_is_shown_meanwhile(world: World) -> None:
    job_id = world.claimed()

    def deny() -> None:
        raise RuntimeError("no session")

    world.signer.during = deny
    with pytest.raises(RuntimeError):
        world.submit(job_id)
    assert status_of(world, "clip.mp4")["state"] == "CLAIMED"
    world.submit(job_id)  # SQS delivers its message again
    assert status_of(world, "clip.mp4")["state"] == "RENDERING"


def test_a_request_id_that_cannot_be_stored_is_at_least_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = world.claimed()
    app = world.application(jobs=FailingJobStore(world, State.RENDERING))
    with pytest.raises(ClientError):
        app.submitter.submit(job_id)
    assert any("r-1" in str(vars(record)) for record in caplog.records)


def test_a_response_that_arrives_after_a_sweep_gave_the_submit_up_still_counts(
    world: World,
) -> None:
    job_id = world.claimed()

    def sweep_later() -> None:
        world.clock.now += 100
        world.sweep()
        assert world.state() is State.SUBMIT_UNKNOWN

    world.segmind.during = sweep_later
    world.submit(job_id)
    assert (world.state(), world.job().request_id) == (State.RENDERING, "r-1")
    assert len(world.segmind.sent) == 1


def test_a_write_that_was_applied_and_repeated_counts_as_applied(world: World) -> None:
    """Its first response is lost, botocore repeats it, and DynamoDB says that it lost a race."""
    table = RepeatingTable(world.table, State.RENDERING)
    app = world.application(table=table)
    app.submitter.submit(world.claimed("j1"))
    assert table.repeats == 1
    assert world.state() is State.RENDERING
    assert world.executions.running == {("j1", 0)}
    assert world.jobs.request_owner("r-1") == "j1-0.mp4"


# ─── What is sent ─────────────────────────────────────────────────────────────────────────────


def sent_file(world: World, field: str = "video_url") -> tuple[str, bytes | None]:
    """Return the key that Segmind was given last, and what it finds there."""
    key = unquote(urlsplit(world.segmind.sent[-1][field]).path).removeprefix("/")
    return key, world.read(key, "staging")


def stored_body(world: World) -> dict[str, str]:
    """Return what is stored of the request of a job."""
    attempt = world.job().attempt
    assert attempt
    assert attempt.body
    return dict(attempt.body)


def test_what_was_prepared_is_sent_under_a_name_of_its_job_and_run(world: World) -> None:
    world.rendering()
    assert sent_file(world) == ("sent/j1-0.mp4", b"j1")
    assert stored_body(world) == {"mode": "adhere_1", "video_url": CLIP_URL}
    fail(world, "j1")
    drop_again(world)
    world.submit("j1")
    assert sent_file(world) == ("sent/j1-1.mp4", b"j1")


@pytest.mark.parametrize("key", ["my clip.mp4", "ä.mp4", "clip.MOV", "x/" * 60 + "clip.mp4"])
def test_the_key_of_a_clip_does_not_reach_segmind(world: World, key: str) -> None:
    world.submit(world.claimed(key=key))
    assert sent_file(world) == ("sent/j1-0.mp4", b"j1")


def test_a_clip_that_is_overwritten_or_deleted_after_it_was_prepared_is_sent_as_it_was(
    world: World,
) -> None:
    job_id = world.claimed()
    world.drop("clip.mp4", b"another video")
    world.segmind.during = lambda: world.s3.delete_object(Bucket="input", Key="clip.mp4")
    world.submit(job_id)
    assert sent_file(world) == ("sent/j1-0.mp4", b"j1")


def test_what_is_stored_of_a_request_has_no_signatures(world: World) -> None:
    world.claimed(sidecar=Sidecar(prompt="why? ink"))
    world.s3.put_object(Bucket="staging", Key="prepared/f-1080.jpg", Body=b"look")
    made = world.job().prepared
    assert made
    world.jobs.update(world.job(), prepared=replace(made, frame="prepared/f-1080.jpg"))
    world.submit("j1")
    assert sent_file(world, "first_frame_url") == ("sent/j1-0.jpg", b"look")
    urls = {"video_url": CLIP_URL, "first_frame_url": CLIP_URL.replace(".mp4", ".jpg")}
    assert stored_body(world) == {"mode": "adhere_1", "prompt": "why? ink"} | urls
    sent = world.segmind.sent[0]
    assert all(sent[name].startswith(f"{url}?") for name, url in urls.items())


def expire(world: World, job_id: str) -> None:
    """Let what was prepared for a job expire."""
    world.s3.delete_object(Bucket="staging", Key=f"prepared/{job_id}-1080.mp4")


def test_a_job_whose_prepared_clip_has_expired_is_refused_unpaid(world: World) -> None:
    job_id = world.claimed()
    expire(world, job_id)
    world.submit(job_id)
    assert (world.state(), world.segmind.sent, world.events) == (State.REFUSED, [], ["Refused"])
    assert (world.booked_usd, leases(world)) == (0, [])
    assert "of clip.mp4 has expired" in (world.job().explanation or "")


# ─── The line of held jobs ────────────────────────────────────────────────────────────────────


def test_a_new_job_lines_up_behind_the_held_jobs(world: World) -> None:
    world.app.admission.pause(30)
    submit_all(world, "first", "second")
    world.clock.now += 30
    submit_all(world, "third")
    assert (held_jobs(world), world.segmind.sent) == (["first", "second", "third"], [])
    assert world.queue.jobs[:2] == ["first", "second"]
    world.submit_woken()
    urls = [urlsplit(body["video_url"]).path for body in world.segmind.sent[:2]]
    assert urls == ["/sent/first-0.mp4", "/sent/second-0.mp4"]


def test_a_new_job_is_held_for_the_account_first_and_for_its_turn_second(world: World) -> None:
    world.app.admission.open_circuit(HoldReason.CREDITS, "402")
    submit_all(world, "first", "second")
    reasons = [
        (world.job(job_id).hold_reason, world.job(job_id).reason) for job_id in held_jobs(world)
    ]
    assert reasons == [(HoldReason.CREDITS, "402")] * 2
    world.app.admission.close_circuit()
    submit_all(world, "third")
    assert held_jobs(world) == ["first", "second", "third"]
    assert (world.job("third").hold_reason, world.segmind.sent) == (HoldReason.CAPACITY, [])


def test_a_job_that_is_held_again_keeps_its_place_in_line(world: World) -> None:
    world.app.admission.pause(30)
    submit_all(world, "first", "second")
    world.segmind.submit_responses = [response(429)]
    world.clock.now += 30
    world.submit("first")
    assert held_jobs(world) == ["first", "second"]


def test_a_probe_that_is_rejected_lines_up_behind_the_others(world: World) -> None:
    world.app.admission.pause(30)
    submit_all(world, "first", "second")
    world.segmind.submit_responses = [NO_CREDITS]
    world.clock.now += 30
    world.submit("first")
    assert held_jobs(world) == ["second", "first"]
    assert world.job("first").held_since == int(world.clock.now)


def test_a_held_job_whose_reason_changes_is_written_with_the_new_reason(world: World) -> None:
    world.app.admission.pause(30)
    submit_all(world, "j1")
    first = world.job()
    assert (first.hold_reason, first.reason) == (HoldReason.RATE, "Segmind asked for a pause")
    world.app.admission.open_circuit(HoldReason.CREDITS, "no credits")
    world.submit("j1")
    second = world.job()
    assert (second.hold_reason, second.reason) == (HoldReason.CREDITS, "no credits")
    assert (second.held_since, second.follow_up) == (first.held_since, first.follow_up)
    status = status_of(world, "j1.mp4")
    assert (status["held"], status["reason"]) == ("credits", "no credits")


def test_a_held_job_whose_reason_stays_is_not_written_again(world: World) -> None:
    world.app.admission.open_circuit(HoldReason.CREDITS, "no credits")
    submit_all(world, "j1")
    before = world.job()
    world.clock.now += 10
    world.submit("j1")
    assert world.job() == before


def test_a_function_that_is_killed_before_it_publishes_a_hold_publishes_it_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.app.admission.open_circuit(HoldReason.CREDITS, "no credits")
    world.claimed("j1")
    world.app.status_files.publish("j1")
    monkeypatch.setattr(world.app.status_files, "publish", kill)
    with pytest.raises(Killed):
        world.submit("j1")
    monkeypatch.undo()
    world.submit("j1")  # SQS delivers the message again
    assert status_of(world, "clip.mp4")["state"] == State.HELD


def fail_to_stage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Amazon S3 deny the copy of what was prepared for each job whose id begins with "bad"."""
    copy = world.app.staging_bucket.copy

    def copy_or_fail(key: str, target: str) -> Any:
        if target.startswith("sent/bad"):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "CopyObject")
        return copy(key, target)

    monkeypatch.setattr(world.app.staging_bucket, "copy", copy_or_fail)


def pass_minutes_with_failures(world: World, minutes: int, every: int = 1) -> None:
    """Let time pass as `World.pass_minutes` does; a message that fails is not delivered again."""
    for _ in range(0, minutes, every):
        world.clock.now += 60 * every
        world.sweep()
        woken, world.queue.jobs = world.queue.jobs, []
        for job_id in woken:
            with suppress(ClientError):
                world.submit(job_id)


@pytest.mark.slow
def test_held_jobs_that_cannot_be_sent_let_later_ones_pass(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_stage(world, monkeypatch)
    world.app.admission.pause(60)
    for number in range(10):
        world.submit(world.claimed(f"bad{number}", f"bad{number}.mp4"))
    world.clock.now += 1
    world.submit(world.claimed("good", "good.mp4"))
    pass_minutes_with_failures(world, 10)
    assert world.state("good") is State.RENDERING, world.job("good").reason


@pytest.mark.slow
def test_a_job_that_cannot_be_sent_is_not_the_only_probe(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_stage(world, monkeypatch)
    world.app.admission.open_circuit(HoldReason.CREDITS, "no credits")
    world.submit(world.claimed("bad", "bad.mp4"))
    world.clock.now += 1
    world.submit(world.claimed("good", "good.mp4"))
    pass_minutes_with_failures(world, 600, every=10)
    assert world.state("good") is State.RENDERING


@pytest.mark.slow
def test_expired_clips_use_up_no_probes(world: World) -> None:
    world.app.admission.open_circuit(HoldReason.CREDITS, "no credits")
    for number in range(6):
        world.submit(world.claimed(f"gone{number}", f"gone{number}.mp4"))
        expire(world, f"gone{number}")
        world.clock.now += 1
    world.submit(world.claimed("good", "good.mp4"))
    minutes = 0
    while world.state("good") is not State.RENDERING and minutes < 300:
        world.pass_minutes(1)
        minutes += 1
    assert minutes <= 8, "the account has credits all the time"


# ─── An account in trouble ────────────────────────────────────────────────────────────────────


def test_a_rate_limit_that_a_submit_exceeds_pauses_all_requests(world: World) -> None:
    world.segmind.submit_responses = [response(429, **{"retry-after": "30"})]
    submitted_at = world.clock.now
    world.submit(world.claimed("j1", "j1.mp4"))
    assert (world.state("j1"), world.job("j1").hold_reason) == (State.HELD, HoldReason.RATE)
    assert world.admission.rate.paused_until == submitted_at + 30
    denial = world.app.admission.request()
    assert denial
    assert (denial.reason, denial.retry_seconds) == (HoldReason.RATE, 30)
    world.clock.now += 29
    world.submit(world.claimed("j2", "j2.mp4"))
    assert (world.state("j2"), len(world.segmind.sent)) == (State.HELD, 1)
    world.clock.now += 1
    world.submit("j1")
    assert (world.state("j1"), len(world.segmind.sent)) == (State.RENDERING, 2)
    assert (world.job("j1").hold_reason, world.job("j1").reason) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("received", "reason"),
    [(BAD_KEY, HoldReason.KEY), (response(402), HoldReason.CREDITS)],
)
def test_an_account_in_trouble_holds_every_job_fails_none_and_is_announced_once(
    world: World, received: Response, reason: HoldReason
) -> None:
    jobs = ("j1", "j2", "j3")
    world.segmind.submit_responses = [received] * 9
    submit_all(world, *jobs)
    assert states_of(world, *jobs) == [State.HELD] * 3
    assert (world.job().hold_reason, world.events) == (reason, ["Held"])
    assert len(world.segmind.sent) == 1
    assert world.segmind.key_reads == (reason is HoldReason.KEY)
    world.pass_minutes(8)
    assert 2 <= len(world.segmind.sent) <= 5, "probes become less frequent"
    assert (world.events, world.booked_usd, leases(world)) == (["Held"], 0, [])
    world.segmind.submit_responses = []
    world.clock.now += 900
    world.pass_minutes(2)
    assert states_of(world, *jobs) == [State.RENDERING] * 3
    assert world.events == ["Held", "Resumed"]


def test_an_accepted_probe_wakes_the_other_held_jobs_at_once(world: World) -> None:
    world.app.admission.open_circuit(HoldReason.CREDITS, "no credits")
    submit_all(world, "j1", "j2", "j3")
    world.clock.now += 60
    world.submit("j1")
    assert world.state("j1") is State.RENDERING
    assert world.queue.jobs == ["j2", "j3"]


@pytest.mark.parametrize(
    ("second", "state", "events"),
    [(accepted("r-1"), State.RENDERING, []), (BAD_KEY, State.HELD, ["Held"])],
)
def test_a_key_that_was_rotated_is_tried_once(
    world: World, second: Response, state: State, events: list[str]
) -> None:
    world.segmind.key_was_rotated = True
    world.segmind.submit_responses = [BAD_KEY, second, BAD_KEY]
    submit_all(world, "j1")
    assert (world.state(), len(world.segmind.sent), world.events) == (state, 2, events)


def test_a_rotated_key_is_not_tried_without_a_request_that_is_admitted(table: Any) -> None:
    world = World(table, requests_per_minute=1)
    world.segmind.key_was_rotated = True
    world.segmind.submit_responses = [BAD_KEY]
    submit_all(world, "j1")
    assert (world.state(), len(world.segmind.sent)) == (State.HELD, 1)


def test_the_same_trouble_at_the_same_time_is_announced_once_and_another_one_too(
    world: World,
) -> None:
    claim_all(world, "j1", "j2", "j3")
    world.segmind.submit_responses = [NO_CREDITS, BAD_KEY, BAD_KEY]
    second, third = late_submitter(world, "j2"), late_submitter(world, "j3")

    def submit_others() -> None:
        world.segmind.during = lambda: third.submit("j3")
        second.submit("j2")

    world.segmind.during = submit_others
    world.submit("j1")
    reasons = [detail["held"] for _, detail in world.bus.published]
    assert reasons == [HoldReason.CREDITS, HoldReason.KEY]


@pytest.mark.slow
@pytest.mark.parametrize(
    "received",
    [
        response(403, "<html>403 Forbidden - Request blocked by WAF</html>"),
        response(406, {"error": 'rejected value: prompt "a bank balance on fire"'}),
        response(403, {"error": "prompt blocked by moderation"}),
    ],
    ids=["WAF", "406 that quotes a word about money", "moderation"],
)
def test_a_job_that_alone_is_rejected_for_the_account_does_not_stop_the_others(
    world: World, received: Response
) -> None:
    def send(request: dict[str, Any]) -> Response:
        world.segmind.sent.append(request)
        if request.get("prompt") == "bad":
            return received
        return accepted("r-" + request["prompt"])

    world.segmind.send = send  # type: ignore[method-assign]
    world.submit(world.claimed("bad", "bad.mp4", sidecar=Sidecar(prompt="bad")))
    good = [f"good{number}" for number in range(3)]
    for name in good:
        world.clock.now += 1
        world.submit(world.claimed(name, f"{name}.mp4", sidecar=Sidecar(prompt=name)))
    world.pass_minutes(6 * 60, every=10)
    assert states_of(world, *good) == [State.RENDERING] * 3


@pytest.mark.slow
def test_during_an_outage_one_job_at_a_time_is_sent_as_a_probe(world: World) -> None:
    jobs = [f"j{number}" for number in range(30)]
    world.segmind.submit_responses = [response(503, "<html>")] * 500
    for job_id in jobs:
        world.submit(world.claimed(job_id, f"{job_id}.mp4"))
    world.pass_minutes(60, every=2)
    assert len(world.segmind.sent) < 20, "each one uses up its second attempt"
    request_ids = iter(range(100))
    world.segmind.send = lambda _: accepted(f"ok-{next(request_ids)}")  # type: ignore[method-assign]
    world.pass_minutes(60, every=4)
    states = states_of(world, *jobs)
    assert states.count(State.RENDERING) >= 20, states
    assert world.events[:1] == ["Held"]
    assert "Resumed" in world.events


def test_a_broken_event_bus_does_not_make_a_rejected_job_unknown(world: World) -> None:
    world.bus.broken, world.segmind.submit_responses = True, [BAD_KEY]
    with suppress(RuntimeError):
        world.submit(world.claimed())
    assert world.state() is State.HELD


def test_an_open_circuit_is_announced_although_the_event_bus_was_broken(world: World) -> None:
    world.segmind.submit_responses = [NO_CREDITS]
    world.bus.broken = True
    with pytest.raises(RuntimeError):
        world.submit(world.claimed("j1"))
    world.bus.broken = False
    world.segmind.submit_responses = [NO_CREDITS] * 50
    world.submit("j1")  # SQS delivers the message again
    world.pass_minutes(180, every=10)
    assert "Held" in world.events


# ─── The daily budget ─────────────────────────────────────────────────────────────────────────


def test_the_daily_budget_holds_the_rest_with_one_event_until_tomorrow(table: Any) -> None:
    world = World(table, daily_budget_usd=1.5)
    submit_all(world, "j1", "j2", "j3", "j4")
    assert states_of(world, "j1", "j2") == [State.RENDERING] * 2
    assert states_of(world, "j3", "j4") == [State.HELD] * 2
    assert (world.job("j3").hold_reason, world.booked_usd) == (HoldReason.BUDGET, 1.2)
    assert world.events == ["Held"]
    world.pass_minutes()
    assert (len(world.segmind.sent), world.events) == (2, ["Held"])
    world.clock.now += 86400
    world.pass_minutes()
    assert states_of(world, "j3", "j4") == [State.RENDERING] * 2


def test_a_rejected_request_costs_nothing_of_the_budget(world: World) -> None:
    world.segmind.submit_responses = [response(400, {"error": "prompt"})]
    submit_all(world, "j1", "j2")
    assert states_of(world, "j1", "j2") == [State.REFUSED, State.RENDERING]
    assert "prompt" in status_of(world, "j1.mp4")["message"]
    assert world.booked_usd == 0.6


def test_an_exhausted_budget_is_announced_although_the_event_bus_was_broken(
    table: Any,
) -> None:
    world = World(table, daily_budget_usd=0)
    world.bus.broken = True
    with pytest.raises(RuntimeError):
        world.submit(world.claimed("j1"))
    world.bus.broken = False
    world.submit("j1")
    world.pass_minutes(120, every=10)
    assert "Held" in world.events


# ─── Estimates ────────────────────────────────────────────────────────────────────────────────


def claimed_clip(world: World, job_id: str = "j1", seconds: float = 5, **fields: Any) -> str:
    """Claim a job whose clip is in 1080p."""
    footage = replace(FOOTAGE, seconds=seconds, width=1920, height=1080)
    world.claimed(job_id)
    job = world.job(job_id)
    made = replace(job.prepared, footage=footage) if job.prepared else None
    assert world.jobs.update(job, prepared=made, **fields)
    return job_id


def test_a_job_shows_its_estimate_and_books_it(world: World) -> None:
    world.submit(claimed_clip(world, seconds=10))
    status = status_of(world, "clip.mp4")
    assert (status["estimate_usd"], world.booked_usd) == (2.71, 2.71)
    assert status["rate"] == "0.00544 USD per megapixel, as published"


def test_a_clip_that_is_too_dear_is_refused_before_it_is_paid(world: World) -> None:
    world.submit(claimed_clip(world, seconds=29))
    status = status_of(world, "clip.mp4")
    assert (status["state"], status["paid"], status["field"]) == (State.REFUSED, False, "max_usd")
    assert "MaxJobUsd, 5 USD" in status["message"]
    assert '"max_usd": 9' in status["do_now"]
    assert (world.segmind.sent, world.booked_usd, leases(world)) == ([], 0, [])


def test_max_usd_in_the_sidecar_lets_a_dear_clip_through(world: World) -> None:
    world.submit(claimed_clip(world, seconds=29, sidecar=Sidecar(max_usd=9)))
    assert (world.state(), world.booked_usd) == (State.RENDERING, 7.85)


def test_a_cheap_job_goes_on_although_a_dear_one_waits_for_the_next_day(table: Any) -> None:
    world = World(table, daily_budget_usd=5)
    world.submit(claimed_clip(world, "j1", seconds=9))
    world.submit(claimed_clip(world, "j2", seconds=12))
    assert (world.job("j2").hold_reason, world.job("j2").estimate.usd) == (HoldReason.BUDGET, 3.25)
    world.submit(claimed_clip(world, "j3", seconds=4))
    world.pass_minutes()
    assert states_of(world, "j1", "j2", "j3") == [State.RENDERING, State.HELD, State.RENDERING]
    world.clock.now += 86400
    world.pass_minutes()
    assert world.state("j2") is State.RENDERING


def test_the_cap_of_a_folder_holds_its_clips_alone_until_tomorrow(world: World) -> None:
    cap = FolderCap("shoot/", 3)
    world.submit(claimed_clip(world, "j1", cap=cap))
    world.submit(claimed_clip(world, "j2", seconds=9, cap=cap))
    world.submit(claimed_clip(world, "j3", seconds=9))
    assert states_of(world, "j1", "j2", "j3") == [State.RENDERING, State.HELD, State.RENDERING]
    assert world.job("j2").hold_reason is HoldReason.FOLDER_BUDGET
    assert 0 < due_in(world, "j2") <= 3600
    world.clock.now += 86400
    world.pass_minutes()
    assert world.state("j2") is State.RENDERING


# ─── Follow-ups ───────────────────────────────────────────────────────────────────────────────


def due_in(world: World, job_id: str = "j1") -> int:
    """Return in how many seconds a job is due."""
    follow_up = world.job(job_id).follow_up
    assert follow_up
    assert follow_up.queue is FollowUpQueue.DUE
    return follow_up.at - int(world.clock.now)


@pytest.mark.parametrize(
    ("received", "state", "seconds"),
    [(accepted("r-1"), State.RENDERING, 300), (TIMED_OUT, State.SUBMIT_UNKNOWN, 60)],
)
def test_a_job_is_followed_up_in_case_the_next_step_never_comes(
    world: World, received: Response, state: State, seconds: int
) -> None:
    during: list[int] = []
    world.segmind.during = lambda: during.append(due_in(world))
    world.segmind.submit_responses = [received]
    world.submit(world.claimed())
    assert (during, world.state(), due_in(world)) == ([60], state, seconds)
    assert status_of(world, "clip.mp4")["state"] == state


def test_a_held_job_that_cannot_be_sent_is_tried_again_15_minutes_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.app.admission.pause(30)
    world.submit(world.claimed("bad"))
    fail_to_stage(world, monkeypatch)
    world.clock.now += 30
    with pytest.raises(ClientError):
        world.submit("bad")
    assert due_in(world, "bad") == 900


def test_a_job_that_alone_is_rejected_is_tried_again_15_minutes_later(world: World) -> None:
    world.segmind.submit_responses = [NO_CREDITS]
    world.submit(world.claimed("bad", "bad.mp4"))
    world.clock.now += 60
    world.submit(world.claimed("good", "good.mp4"))
    world.submit("good")
    world.clock.now += 60
    world.submit("good")
    assert world.state("good") is State.RENDERING
    world.segmind.submit_responses = [NO_CREDITS]
    world.submit("bad")
    assert (world.job("bad").hold_reason, due_in(world, "bad")) == (HoldReason.CREDITS, 900)
    assert world.job("bad").held_since == int(world.clock.now)
    assert not world.admission.circuit.opened


def test_a_job_that_is_denied_after_it_was_built_is_held_with_the_reason(table: Any) -> None:
    world = World(table, requests_per_minute=1)
    world.claimed()
    world.signer.during = world.app.admission.request  # another function takes the last one
    world.submit("j1")
    assert (world.job().state, world.job().hold_reason) == (State.HELD, HoldReason.RATE)
    assert world.segmind.sent == []

"""Paid at most once: two functions that hold the same job, and answers that never come."""

from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from botocore.exceptions import ClientError

from retake.adapters.jobs import JobsTable, Row
from retake.rules.contract import Answer
from retake.rules.states import Held, State

from .conftest import TIMED_OUT, World


class ReadEarlier(JobsTable):
    """The table of a function that has read its job a while ago."""

    def __init__(self, world: World, job_id: str) -> None:
        super().__init__(world.table, world.clock)
        self._earlier: Row | None = world.jobs.job(job_id)

    def job(self, job_id: str) -> Row | None:
        earlier, self._earlier = self._earlier, None
        return earlier or super().job(job_id)


def test_an_accepted_job_keeps_its_request_id_and_gets_its_wait_loop(world: World) -> None:
    world.rendering()
    job = world.jobs.job("j1")
    assert job is not None
    assert (job["request_id"], job["submitted_at"]) == ("r-1", int(world.clock.now))
    assert world.runs.alive == {("j1", 0)}


def test_submitting_a_job_again_sends_nothing(world: World) -> None:
    world.rendering()
    world.submission().submit("j1")
    assert len(world.segmind.sent) == 1


@pytest.mark.parametrize(
    ("answer", "state", "leases"),
    [
        (TIMED_OUT, "SUBMIT_UNKNOWN", 1),
        (Answer(504, "<html>"), "SUBMIT_UNKNOWN", 1),
        (Answer(200, "<html>"), "SUBMIT_UNKNOWN", 1),
        (Answer(429), "HELD", 0),
        (Answer(401, '{"error": "invalid_api_key"}'), "HELD", 0),
        (Answer(402), "HELD", 0),
        (Answer(0, "ConnectError", sent=False), "HELD", 0),
        (Answer(400, '{"error": "prompt"}'), "REFUSED", 0),
    ],
)
def test_an_answer_decides_the_state_and_the_lease(world: World, answer: Answer, state: str, leases: int) -> None:
    world.segmind.submit_answers = [answer]
    world.submission().submit(world.claimed())
    gate, _ = world.jobs.gate()
    assert (world.state(), len(gate.leases)) == (state, leases)


def test_a_clip_that_was_removed_is_refused_before_anything_is_sent(world: World) -> None:
    job = world.claimed()
    for version in world.s3.list_object_versions(Bucket="input")["Versions"]:
        world.s3.delete_object(Bucket="input", Key="clip.mp4", VersionId=version["VersionId"])
    world.submission().submit(job)
    assert (world.state(), world.segmind.sent) == ("REFUSED", [])


def test_a_function_that_is_slow_to_sign_does_not_send_what_another_has_sent(world: World) -> None:
    """A reads the job and signs slowly; meanwhile B reads it, too, sends it, and gets no answer."""
    job = world.claimed()
    world.segmind.submit_answers = [TIMED_OUT]
    world.signer.during = lambda: world.submission().submit(job)
    world.submission().submit(job)
    assert len(world.segmind.sent) == 1


def test_a_shut_gate_does_not_hold_a_job_that_another_function_is_sending(table: Any) -> None:
    """Both halves of a drop arrive together, each in its own function; the first takes the last request of the minute."""
    world = World(table, requests_per_minute=3)
    for _ in range(2):
        world.gate.ask()
    job = world.claimed()
    other = world.submission(ReadEarlier(world, job))
    world.segmind.during = lambda: other.submit(job)
    world.submission().submit(job)
    assert world.state() == "RENDERING"
    world.clock.now += 120
    world.submission().submit(job)
    assert len(world.segmind.sent) == 1


def test_a_function_that_comes_too_late_leaves_no_lease_behind(world: World) -> None:
    job = world.claimed()
    late = world.submission(ReadEarlier(world, job))
    world.segmind.submit_answers = [Answer(400, '{"error": "no"}')]
    world.submission().submit(job)
    assert world.state() == "REFUSED"
    late.submit(job)
    gate, _ = world.jobs.gate()
    assert gate.leases == {}


def test_a_request_id_that_cannot_be_recorded_is_at_least_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    job = world.claimed()
    submission = world.submission(_BreaksAt(world, "RENDERING"))
    with pytest.raises(ClientError):
        submission.submit(job)
    assert any("r-1" in str(vars(record)) for record in caplog.records)


def test_an_answer_that_comes_after_the_job_was_given_up_still_counts(world: World) -> None:
    job = world.claimed()

    def swept() -> None:
        world.clock.now += 100
        world.sweeping().sweep()
        assert world.state() == "SUBMIT_UNKNOWN"

    world.segmind.during = swept
    world.submission().submit(job)
    assert (world.state(), world.job()["request_id"], len(world.segmind.sent)) == ("RENDERING", "r-1", 1)


def sent_file(world: World, field: str = "video_url") -> tuple[str, bytes]:
    """Give the key that Segmind was told, and what it finds there."""
    key = unquote(urlsplit(world.segmind.sent[-1][field]).path).removeprefix("/")
    return key, world.s3.get_object(Bucket="input", Key=key)["Body"].read()


def overwritten(world: World, key: str) -> None:
    world.drop(key, b"another film")


def deleted(world: World, key: str) -> None:
    world.s3.delete_object(Bucket="input", Key=key)


def gone(world: World, key: str) -> None:
    for version in world.s3.list_object_versions(Bucket="input", Prefix=key)["Versions"]:
        world.s3.delete_object(Bucket="input", Key=key, VersionId=version["VersionId"])


def test_a_clip_that_is_as_it_was_checked_is_sent_itself(world: World) -> None:
    world.rendering()
    assert sent_file(world) == ("clip.mp4", b"j1")
    assert world.job()["sent"] == {"mode": "adhere_1", "video_url": "https://input.s3.eu-central-1.amazonaws.com/clip.mp4"}


@pytest.mark.parametrize("change", [overwritten, deleted])
@pytest.mark.parametrize("key", ["clip.mp4", "a shoot/ä.MP4"])
def test_a_clip_that_changed_since_is_sent_from_a_copy_of_what_was_checked(world: World, key: str, change: Any) -> None:
    job = world.claimed(key=key)
    change(world, key)
    world.submission().submit(job)
    copy, content = sent_file(world)
    assert copy.startswith(".retake/j1/")
    assert copy.endswith(".mp4")
    assert content == b"j1"
    assert unquote(world.job()["sent"]["video_url"]) == f"https://input.s3.eu-central-1.amazonaws.com/{copy}"


def test_a_copy_has_no_tags_because_copying_them_would_take_permissions_on_tags(world: World) -> None:
    job = world.claimed(key="clip.MP4")
    world.s3.put_object_tagging(Bucket="input", Key="clip.MP4", Tagging={"TagSet": [{"Key": "shoot", "Value": "spring"}]})
    world.submission().submit(job)
    copy, _ = sent_file(world)
    assert world.s3.get_object_tagging(Bucket="input", Key=copy)["TagSet"] == []


@pytest.mark.parametrize("change", [overwritten, deleted])
def test_a_first_frame_that_changed_since_is_sent_from_a_copy_of_what_was_checked(world: World, change: Any) -> None:
    world.drop("look.png", b"look")
    look = world.input.head("look.png")
    assert look
    job = world.claimed(frame=look.as_row())
    change(world, "look.png")
    world.submission().submit(job)
    assert sent_file(world, "first_frame_url") == (".retake/j1/look.png", b"look")
    assert sent_file(world) == ("clip.mp4", b"j1")


@pytest.mark.parametrize("later", [None, b"another film"])
def test_a_clip_whose_version_is_gone_is_refused_unpaid(world: World, later: bytes | None) -> None:
    job = world.claimed()
    gone(world, "clip.mp4")
    if later:
        world.drop("clip.mp4", later)
    world.submission().submit(job)
    assert (world.state(), world.segmind.sent, world.events) == ("REFUSED", [], ["Retake Refused"])
    assert (world.spent, world.jobs.gate()[0].leases) == (0, {})
    assert "clip.mp4 was removed" in world.job()["reason"]


BAD_KEY, NO_CREDITS = Answer(401, '{"error": "invalid_api_key"}'), Answer(402)


def claimed(world: World, *jobs: str) -> None:
    for job in jobs:
        world.claimed(job, f"{job}.mp4")
        world.clock.now += 1


def submitted(world: World, *jobs: str) -> None:
    claimed(world, *jobs)
    for job in jobs:
        world.submission().submit(job)


def held(world: World) -> list[str]:
    return [job["id"] for job in world.jobs.held(99)]


def test_a_new_job_goes_behind_those_that_are_held(world: World) -> None:
    world.gate.pause(30)
    submitted(world, "first", "second")
    world.clock.now += 30
    submitted(world, "third")
    assert (held(world), world.segmind.sent) == (["first", "second", "third"], [])
    assert world.queue.jobs[:2] == ["first", "second"]
    world.wake()
    assert [body["video_url"].partition("?")[0][-9:] for body in world.segmind.sent[:2]] == ["first.mp4", "econd.mp4"]


def test_a_new_job_is_held_for_what_shuts_the_gate_before_it_is_held_for_its_turn(world: World) -> None:
    world.gate.keep_back(Held.CREDITS, "402")
    submitted(world, "first", "second")
    assert [(world.job(job)["held"], world.job(job)["reason"]) for job in held(world)] == [("credits", "402")] * 2
    world.gate.lift()
    submitted(world, "third")
    assert (held(world), world.job("third")["held"], world.segmind.sent) == (["first", "second", "third"], "capacity", [])


def test_what_is_kept_of_a_request_has_no_signatures(world: World) -> None:
    world.drop("look.png", b"look")
    look = world.input.head("look.png")
    assert look
    world.submission().submit(world.claimed(frame=look.as_row(), prompt="why? ink"))
    urls = {
        "video_url": "https://input.s3.eu-central-1.amazonaws.com/clip.mp4",
        "first_frame_url": "https://input.s3.eu-central-1.amazonaws.com/look.png",
    }
    assert world.job()["sent"] == {"mode": "adhere_1", "prompt": "why? ink"} | urls
    assert all(world.segmind.sent[0][name].startswith(f"{url}?") for name, url in urls.items())


def test_a_job_that_is_held_again_keeps_its_turn(world: World) -> None:
    world.gate.pause(30)
    submitted(world, "first", "second")
    world.segmind.submit_answers = [Answer(429)]
    world.clock.now += 30
    world.submission().submit("first")
    assert held(world) == ["first", "second"]


@pytest.mark.parametrize(("answer", "reason"), [(BAD_KEY, "key"), (NO_CREDITS, "credits")])
def test_an_accounts_trouble_holds_every_job_fails_none_and_is_told_once(world: World, answer: Answer, reason: str) -> None:
    world.segmind.submit_answers = [answer] * 9
    submitted(world, "j1", "j2", "j3")
    assert [world.job(job)["state"] for job in ("j1", "j2", "j3")] == ["HELD"] * 3
    assert (world.job()["held"], len(world.segmind.sent), world.events) == (reason, 1, ["Retake Held"])
    assert world.segmind.keys_read == (reason == "key")
    world.minutes_pass(8)
    assert 2 <= len(world.segmind.sent) <= 5, "probes come ever more rarely"
    assert (world.events, world.spent, world.jobs.gate()[0].leases) == (["Retake Held"], 0, {})
    world.segmind.submit_answers = []
    world.clock.now += 900
    world.minutes_pass(2)
    assert [world.job(job)["state"] for job in ("j1", "j2", "j3")] == ["RENDERING"] * 3
    assert world.events == ["Retake Held", "Retake Resumed"]


@pytest.mark.parametrize(
    ("second", "state", "events"), [(Answer(200, '{"request_id": "r-1"}'), "RENDERING", []), (BAD_KEY, "HELD", ["Retake Held"])]
)
def test_a_key_that_was_rotated_meanwhile_is_tried_once(world: World, second: Answer, state: str, events: list[str]) -> None:
    world.segmind.key_is_another, world.segmind.submit_answers = True, [BAD_KEY, second, BAD_KEY]
    submitted(world, "j1")
    assert (world.state(), len(world.segmind.sent), world.events) == (state, 2, events)


def test_jobs_that_meet_the_same_trouble_at_once_tell_it_once_and_another_trouble_is_told(world: World) -> None:
    claimed(world, "j1", "j2", "j3")
    world.segmind.submit_answers = [NO_CREDITS, BAD_KEY, BAD_KEY]
    others = [world.submission(ReadEarlier(world, job)) for job in ("j2", "j3")]

    def meanwhile() -> None:
        world.segmind.during = lambda: others[1].submit("j3")
        others[0].submit("j2")

    world.segmind.during = meanwhile
    world.submission().submit("j1")
    assert [detail["held"] for _, detail in world.bus.told] == ["credits", "key"]


def test_the_days_budget_parks_the_rest_with_one_notice_and_goes_on_tomorrow(table: Any) -> None:
    world = World(table, daily_budget_usd=1.5)
    submitted(world, "j1", "j2", "j3", "j4")
    assert [world.state(job) for job in ("j1", "j2", "j3", "j4")] == ["RENDERING"] * 2 + ["HELD"] * 2
    assert (world.job("j3")["held"], world.spent, world.events) == ("budget", 1.2, ["Retake Held"])
    world.minutes_pass()
    assert (len(world.segmind.sent), world.events) == (2, ["Retake Held"])
    world.clock.now += 86400
    world.minutes_pass()
    assert [world.state(job) for job in ("j3", "j4")] == ["RENDERING"] * 2


def test_a_refused_request_costs_nothing_of_the_budget(world: World) -> None:
    world.segmind.submit_answers = [Answer(400, '{"error": "prompt"}')]
    submitted(world, "j1", "j2")
    assert (world.state("j1"), world.state("j2"), world.spent) == ("REFUSED", "RENDERING", 0.6)


def test_a_function_that_comes_too_late_books_nothing(world: World) -> None:
    job = world.claimed()
    late = world.submission(ReadEarlier(world, job))
    world.segmind.submit_answers = [Answer(400, '{"error": "no"}')]
    world.submission().submit(job)
    late.submit(job)
    assert world.spent == 0


def test_a_function_that_comes_when_all_is_delivered_books_nothing(world: World) -> None:
    late = world.submission(ReadEarlier(world, world.claimed()))
    world.submission().submit("j1")
    world.move("j1", State.DELIVERING, cost_usd=0.45)
    world.move("j1", State.DELIVERED)
    world.settlement.settle("j1")
    late.submit("j1")
    assert (world.spent, world.jobs.gate()[0].leases, len(world.segmind.sent)) == (0.45, {}, 1)


def test_a_bus_that_is_away_does_not_make_a_refused_job_unknown(world: World) -> None:
    world.bus.broken, world.segmind.submit_answers = True, [BAD_KEY]
    with suppress(RuntimeError):
        world.submission().submit(world.claimed())
    assert world.state() == "HELD"


class _BreaksAt(JobsTable):
    """A table that is away when a job is to reach a state."""

    def __init__(self, world: World, state: str) -> None:
        super().__init__(world.table, world.clock)
        self._state = state

    def advance(self, job: Row, to: Any, *args: Any, **fields: Any) -> Row | None:
        if to == self._state:
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "UpdateItem")
        return super().advance(job, to, *args, **fields)

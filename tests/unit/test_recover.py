"""A lost response: the request is found in the history, resubmitted, or left to a person.

It is never paid twice.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from retake.aws.job_store import JobStore
from retake.domain.input_files import sent_key
from retake.domain.job import (
    FollowUp,
    FollowUpQueue,
    HistorySearch,
    HoldReason,
    SearchResult,
    State,
)
from retake.domain.limits import FILE_LIFETIME_SECONDS
from retake.domain.prices import FLAT_USD
from retake.domain.sidecar import Sidecar
from retake.segmind.responses import Response
from tests.support.drops import drop_again, fail, status_of
from tests.support.kills import Killed, kill
from tests.support.responses import (
    CLIP_URL,
    OTHER_CLIP_URL,
    RESULT_URL,
    accepted,
    history_page,
    history_row,
    response,
    sent_url,
)
from tests.support.stand_ins import NOW, TIMED_OUT, signed
from tests.support.world import World

BUCKET_URL = CLIP_URL.removesuffix("/sent/j1-0.mp4")
PICTURES = "https://pictures.example"
NO_CREDITS = response(402, "no credits")
BAD_GATEWAY = response(502, "<html>")
FAILED_ROW = history_row(model_status="FAILED") | {"error": "out of memory"}


def lose_response(world: World, job_id: str = "j1", **instructions: Any) -> None:
    """Submit a job of `clip.mp4` whose response gets lost."""
    world.segmind.submit_responses = [TIMED_OUT]
    world.submit(world.claimed(job_id, sidecar=Sidecar(**instructions)))
    assert world.state(job_id) is State.SUBMIT_UNKNOWN


def sweep_after(world: World, seconds: int) -> None:
    """Let time pass, and sweep; no job that it wakes is submitted."""
    world.clock.now += seconds
    world.sweep()


def row_of_submit(request_id: str, job_id: str) -> dict[str, Any]:
    """Create a row whose URL still has the correlation ID of a job's first submit."""
    return history_row(
        request_id, video_url=signed("staging", sent_key(job_id, 0, ".mp4"), f"{job_id}-0.mp4")
    )


def row_with_body(body: Any) -> dict[str, Any]:
    return history_row() | {"request_body": body}


def other_rows(count: int) -> list[dict[str, Any]]:
    """Create rows about another clip."""
    return [history_row(f"o-{number}", video_url=OTHER_CLIP_URL) for number in range(count)]


# ─── Found in the history ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "row",
    [
        history_row(prompt="ink"),
        history_row(model_status="COMPLETED", prompt="ink") | {"generation_url": RESULT_URL},
        history_row(model_status="FAILED", prompt="ink") | {"error": "out of memory"},
        row_with_body(json.dumps(history_row(prompt="ink")["request_body"])),
        history_row(prompt="ink", video_url=f"{BUCKET_URL}/sent/j%31-0.mp4"),
        row_with_body(
            {
                "prompt": "ink",
                "mode": "adhere_1",
                "video_url": f"{CLIP_URL}?signature=another",
                "first_frame_url": None,
            }
        ),
        history_row(prompt="ink", first_frame_url=""),
    ],
)
def test_a_request_for_the_same_input_is_adopted_although_its_signature_differs(
    world: World, row: dict[str, Any]
) -> None:
    lose_response(world, prompt="ink")
    world.segmind.pages = [history_page(history_row("r-8", video_url=OTHER_CLIP_URL), row)]
    world.pass_minutes()
    job = world.job()
    assert (job.state, job.request_id, job.submitted_at) == (State.RENDERING, "r-9", NOW)
    assert status_of(world, "clip.mp4")["request_id"] == "r-9"
    world.pass_minutes()
    assert world.executions.running == {("j1", 1)}
    assert len(world.segmind.sent) == 1


@pytest.mark.parametrize(
    "row",
    [
        history_row(prompt="oil"),
        history_row(),
        history_row(prompt="ink", mode="flex_3"),
        history_row(prompt="ink", video_url=f"{BUCKET_URL}/folder/clip.mp4"),
        history_row(prompt="ink", video_url=None),
        history_row("../r", prompt="ink"),
        history_row(None, prompt="ink"),
        row_with_body("no JSON"),
        row_with_body(None),
        row_with_body([f"{CLIP_URL}?signature=another"]),
    ],
)
def test_a_request_for_something_else_is_not_adopted(world: World, row: dict[str, Any]) -> None:
    lose_response(world, prompt="ink")
    world.segmind.pages = [history_page(row)]
    world.pass_minutes()
    assert (world.state(), world.job().request_id) == (State.SUBMIT_UNKNOWN, None)


@pytest.mark.parametrize(
    "row",
    [
        history_row(prompt="oil"),
        history_row(first_frame_url=f"{BUCKET_URL}/look.png"),
        history_row(video_url="https://other-stack.example/sent/j1-0.mp4"),
    ],
    ids=[
        "a prompt where the job has none",
        "a first frame where the job has none",
        "the same key in the bucket of another stack",
    ],
)
def test_a_request_that_has_more_than_the_job_is_not_adopted(
    world: World, row: dict[str, Any]
) -> None:
    lose_response(world)
    world.segmind.pages = [history_page(row)]
    world.pass_minutes()
    assert world.state() is State.SUBMIT_UNKNOWN


def test_a_request_is_recognized_by_its_first_frame_too(world: World) -> None:
    lose_response(world, first_frame_url=f"{PICTURES}/look.png?token=one")
    world.segmind.pages = [
        history_page(
            history_row("r-8", first_frame_url=f"{PICTURES}/other.png"),
            history_row("r-7"),
            history_row(first_frame_url=f"{PICTURES}/look.png?token=two"),
        )
    ]
    world.pass_minutes()
    assert (world.state(), world.job().request_id) == (State.RENDERING, "r-9")


def test_an_adopted_request_that_failed_ends_as_a_failure_without_cost(world: World) -> None:
    lose_response(world)
    world.segmind.pages = [history_page(FAILED_ROW)]
    world.pass_minutes(2)
    assert world.booked_usd == FLAT_USD
    world.segmind.status_response = response(422, {"status": "FAILED", "error": "out of memory"})
    assert world.poll().next_step == "SETTLE"
    world.app.settlement.settle("j1")
    assert (world.state(), world.job().reason) == (State.FAILED, "out of memory")
    assert (world.booked_usd, world.events) == (0, ["Failed"])


def test_a_request_is_searched_for_on_every_page_until_it_is_found(world: World) -> None:
    lose_response(world)
    others = other_rows(9)
    world.segmind.pages = [
        history_page(*others[:5]),
        history_page(*others[5:]),
        history_page(history_row()),
        history_page(history_row("r-10")),
    ]
    world.pass_minutes()
    assert world.job().request_id == "r-9"
    assert world.job().follow_up == FollowUp(FollowUpQueue.DUE, int(world.clock.now))
    assert [page for page, *_ in world.segmind.pages_requested] == [1, 2, 3]


def test_a_history_with_fewer_rows_a_page_than_requested_is_read_to_its_end(
    world: World,
) -> None:
    lose_response(world)
    world.segmind.pages = [
        history_page(*other_rows(50), total=51),
        history_page(history_row("r-9"), total=51),
    ]
    world.pass_minutes(8)
    assert (len(world.segmind.sent), world.job().request_id) == (1, "r-9")


def test_the_requested_days_contain_the_submit_wherever_the_accounts_day_begins(
    world: World,
) -> None:
    lose_response(world)
    world.pass_minutes()
    assert world.segmind.pages_requested == [(1, "2027-01-14", "2027-01-16")]


def test_a_resubmitted_request_is_found_in_the_history_too(world: World) -> None:
    lose_response(world)
    world.segmind.submit_responses = [TIMED_OUT]
    world.pass_minutes(6, every=2)
    world.segmind.pages = [history_page(history_row())]
    world.pass_minutes()
    assert (world.job().request_id, len(world.segmind.sent)) == ("r-9", 2)


def test_a_request_that_appears_while_the_circuit_is_open_is_adopted_and_closes_it(
    world: World,
) -> None:
    lose_response(world)
    world.app.admission.open_circuit(HoldReason.KEY, "no")
    for _ in range(3):
        sweep_after(world, 120)
        world.queue.jobs.clear()
    world.segmind.pages = [history_page(history_row())]
    world.pass_minutes(2)
    assert (world.job().request_id, len(world.segmind.sent)) == ("r-9", 1)
    assert world.job().search is None, "the search is over"
    assert world.events == ["Held", "Resumed"]


# ─── One request belongs to one submit ────────────────────────────────────────────────────────


def test_a_request_of_another_job_of_the_same_clip_is_not_adopted(world: World) -> None:
    world.rendering()
    lose_response(world, "j2", rerun=2)
    world.segmind.pages = [history_page(history_row("r-1"))]
    world.pass_minutes(2)
    assert world.state("j2") is State.SUBMIT_UNKNOWN
    world.segmind.pages = [
        history_page(history_row("r-1"), history_row("r-2", video_url=sent_url("j2")))
    ]
    world.pass_minutes()
    assert (world.state("j2"), world.job("j2").request_id) == (State.RENDERING, "r-2")


def test_two_lost_requests_for_one_clip_are_adopted_by_one_job_each(world: World) -> None:
    lose_response(world)
    lose_response(world, "j2", rerun=2)
    world.segmind.pages = [
        history_page(history_row("r-8", video_url=sent_url("j2")), history_row("r-9"))
    ]
    world.pass_minutes()
    assert {world.job(job_id).request_id for job_id in ("j1", "j2")} == {"r-8", "r-9"}


def test_two_versions_of_a_clip_whose_responses_are_lost_find_their_own_requests(
    world: World,
) -> None:
    lose_response(world, "j1")
    world.clock.now += 1
    lose_response(world, "j2")  # the clip was overwritten: same key, same instructions
    newest_first = history_page(row_of_submit("r-2", "j2"), row_of_submit("r-1", "j1"))
    world.segmind.pages = [newest_first]
    world.pass_minutes(2)
    assert (world.job("j1").request_id, world.job("j2").request_id) == ("r-1", "r-2")


def test_a_lost_job_does_not_adopt_the_request_of_a_submit_in_progress(world: World) -> None:
    lose_response(world, "j1")  # accepted as r-1, whose row is late
    world.clock.now += 61

    def sweep_before_the_response() -> None:
        world.segmind.pages = [history_page(row_of_submit("r-2", "j2"))]
        world.sweep()

    world.segmind.during = sweep_before_the_response
    world.segmind.submit_responses = [accepted("r-2")]
    world.submit(world.claimed("j2"))  # the clip was overwritten: same key, same instructions
    assert world.job("j2").request_id == "r-2"
    assert world.job("j1").request_id != "r-2"


def test_a_request_belongs_to_its_submit_before_its_job_has_the_request_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = world.jobs.advance

    def advance_or_be_killed(job: Any, state: State, **changes: Any) -> Any:
        return kill() if state is State.RENDERING else advance(job, state, **changes)

    monkeypatch.setattr(world.jobs, "advance", advance_or_be_killed)
    with pytest.raises(Killed):
        world.submit(world.claimed("j1"))
    monkeypatch.undo()
    lose_response(world, "j2", rerun=2)  # Segmind never got this one
    world.segmind.pages = [history_page(history_row("r-1"))]  # without a correlation ID
    world.pass_minutes(3)
    assert world.job("j1").request_id == "r-1"
    assert world.job("j2").request_id != "r-1"


def test_a_request_that_another_submit_claims_during_the_search_is_not_adopted(
    world: World,
) -> None:
    class LateJobStore(JobStore):
        """Reads the owner of a request before another submit claims it."""

        def request_owner(self, request_id: str) -> str | None:
            assert self.claim_request(request_id, "j2-0.mp4")
            return None

    lose_response(world)
    world.segmind.pages = [history_page(history_row())]
    world.clock.now += 60
    late = LateJobStore(table=world.table, clock=world.clock)
    world.application(jobs=late).sweep.run()
    assert (world.state(), world.job().request_id) == (State.SUBMIT_UNKNOWN, None)


def test_a_job_that_starts_again_does_not_adopt_its_own_old_request(world: World) -> None:
    world.rendering()
    fail(world, "j1")
    drop_again(world)
    world.segmind.submit_responses = [TIMED_OUT]  # accepted as r-2, whose row is late
    world.submit("j1")
    failed = history_row("r-1", "FAILED")
    world.segmind.pages = [history_page(failed)]
    world.pass_minutes(2)
    assert world.state() is State.SUBMIT_UNKNOWN
    world.segmind.pages = [history_page(history_row("r-2", video_url=sent_url("j1", 1)), failed)]
    world.pass_minutes()
    assert (world.state(), world.job().request_id) == (State.RENDERING, "r-2")


# ─── Absent ───────────────────────────────────────────────────────────────────────────────────


def test_an_absent_request_is_resubmitted_after_three_passes_and_five_minutes(
    world: World,
) -> None:
    lose_response(world)
    world.pass_minutes(4)
    assert world.state() is State.SUBMIT_UNKNOWN
    assert (len(world.segmind.sent), len(world.segmind.pages_requested)) == (1, 4)
    world.pass_minutes()
    assert (world.state(), world.job().request_id) == (State.RENDERING, "r-1")
    assert len(world.segmind.sent) == 2
    assert (world.booked_usd, list(world.admission.leases.expire_at)) == (FLAT_USD, ["j1"])


@pytest.mark.parametrize(
    ("seconds", "woken"),
    [([100, 100, 100], ["j1"]), ([100, 100, 99], []), ([150, 150], [])],
    ids=["three passes and five minutes", "less than five minutes", "two passes"],
)
def test_a_request_is_absent_at_the_third_pass_when_five_minutes_are_over(
    world: World, seconds: list[int], woken: list[str]
) -> None:
    lose_response(world)
    for each in seconds:
        sweep_after(world, each)
    assert world.queue.jobs == woken


def test_a_search_that_finds_nothing_is_repeated_a_minute_later(world: World) -> None:
    lose_response(world)
    sweep_after(world, 100)
    assert world.job().follow_up == FollowUp(FollowUpQueue.DUE, int(world.clock.now) + 60)


@pytest.mark.parametrize(
    ("minutes", "before", "pages", "after"),
    [
        (1, HistorySearch(), [], HistorySearch(passes=1)),
        (1, HistorySearch(), [BAD_GATEWAY], HistorySearch(unreadable_since=60)),
        (1, HistorySearch(unreadable_since=9), [BAD_GATEWAY], HistorySearch(unreadable_since=9)),
        (9, HistorySearch(passes=2), [], HistorySearch(passes=2, result=SearchResult.ABSENT)),
        (
            20,
            HistorySearch(unreadable_since=9),
            [BAD_GATEWAY],
            HistorySearch(unreadable_since=9, notified_at=1200),
        ),
    ],
    ids=["absent", "unreadable", "still unreadable", "proven absent", "a person is notified"],
)
def test_a_search_that_continued_at_a_page_begins_at_the_first_one_the_next_time(
    world: World,
    minutes: int,
    before: HistorySearch,
    pages: list[Response],
    after: HistorySearch,
) -> None:
    """The seconds count from the submit."""
    lose_response(world)
    submitted_at = int(world.clock.now)

    def since_submit(search: HistorySearch) -> HistorySearch:
        times = {"unreadable_since": search.unreadable_since, "notified_at": search.notified_at}
        return replace(search, **{name: at and at + submitted_at for name, at in times.items()})

    interrupted = replace(since_submit(before), next_page=2)
    if not pages:  # what was unreadable can be read again
        interrupted = replace(interrupted, unreadable_since=submitted_at)
    world.jobs.update(world.job(), search=interrupted)
    world.segmind.pages = pages * 2
    sweep_after(world, 60 * minutes)
    assert world.job().search == since_submit(after)


def test_passes_over_an_unreadable_history_do_not_count(world: World) -> None:
    lose_response(world)
    world.segmind.pages = [BAD_GATEWAY]
    world.pass_minutes(8, every=4)
    world.segmind.pages = []
    world.pass_minutes(2)
    assert len(world.segmind.sent) == 1
    world.pass_minutes()
    assert len(world.segmind.sent) == 2


def test_an_unreadable_page_makes_the_whole_pass_unclear(world: World) -> None:
    lose_response(world)
    first = history_page(history_row("o", video_url="https://x/"))
    world.segmind.pages = [first, Response(0, "ReadTimeout")]
    world.pass_minutes(6, every=2)
    assert len(world.segmind.sent) == 1


def test_an_empty_list_before_the_rows_does_not_make_a_request_absent(world: World) -> None:
    lose_response(world)
    world.segmind.pages = [response(200, {"errors": [], "history": [history_row()]})]
    world.pass_minutes(6, every=2)
    assert len(world.segmind.sent) == 1


SENT = {"video_url": CLIP_URL, "mode": "adhere_1", "prompt": "ink "}
ROW = history_row(prompt="ink ")
UNCLEAR_HISTORIES = {
    "a nested envelope beside another list": response(
        200, {"filters": ["modify-video"], "data": {"items": [ROW]}}
    ),
    "a nested envelope beside an empty list": response(
        200, {"errors": [], "data": {"requests": [ROW]}}
    ),
    "a total that says there are rows": response(200, {"data": [], "total": 37}),
    "a request body that is not written yet": history_page(row_with_body(None)),
    "a request body without the prompt": history_page(history_row("r-9")),
    "a stripped prompt": history_page(history_row(prompt="ink")),
    "a URL with another host and the same path": history_page(
        history_row(prompt="ink ", video_url="https://cdn.segmind.com/sent/j1-0.mp4")
    ),
    "a URL in path style": history_page(
        history_row(
            prompt="ink ", video_url="https://s3.eu-central-1.amazonaws.com/staging/sent/j1-0.mp4"
        )
    ),
    "a request body under 'input'": history_page(row_with_body({"input": SENT})),
    "a request body that is JSON within JSON": history_page(
        row_with_body(json.dumps(json.dumps(SENT)))
    ),
}


@pytest.mark.parametrize("name", UNCLEAR_HISTORIES)
def test_a_history_that_does_not_prove_an_absence_causes_no_second_payment(
    world: World, name: str
) -> None:
    lose_response(world, prompt="ink ")
    world.segmind.pages = [UNCLEAR_HISTORIES[name]]
    world.pass_minutes(8)
    assert len(world.segmind.sent) == 1


@pytest.mark.parametrize(("page", "request_id"), [(50, "r-9"), (51, None)])
def test_a_history_is_read_up_to_its_50th_page(
    table: Any, page: int, request_id: str | None
) -> None:
    world = World(table, requests_per_minute=300)
    lose_response(world)
    world.segmind.pages = [history_page(row) for row in [*other_rows(page - 1), history_row()]]
    sweep_after(world, 60)
    assert world.job().request_id == request_id


@pytest.mark.slow
def test_a_history_that_is_too_long_to_read_proves_no_absence(world: World) -> None:
    lose_response(world)
    world.segmind.pages = [history_page(row) for row in other_rows(59)]
    world.pass_minutes(12)
    assert len(world.segmind.sent) == 1
    world.pass_minutes(20)
    assert world.job().hold_reason is HoldReason.ATTENTION


def test_a_repeated_or_lost_message_resubmits_an_absent_request_once(world: World) -> None:
    lose_response(world)
    for _ in range(5):
        sweep_after(world, 120)
    assert world.queue.jobs == ["j1"] * 3
    world.segmind.submit_responses = [TIMED_OUT] * 3
    world.submit_woken()
    assert len(world.segmind.sent) == 2


def test_an_absent_request_waits_until_it_is_admitted(world: World) -> None:
    lose_response(world)
    world.pass_minutes(4, every=2)
    sweep_after(world, 120)
    assert world.job().is_proven_absent
    world.app.admission.pause(300)
    world.submit_woken()
    world.pass_minutes(4, every=2)
    assert (world.state(), len(world.segmind.sent)) == (State.SUBMIT_UNKNOWN, 1)
    world.pass_minutes(2, every=2)
    assert (world.state(), len(world.segmind.sent)) == (State.RENDERING, 2)


def test_a_resubmitted_request_that_is_deferred_and_then_lost_is_not_sent_again(
    world: World,
) -> None:
    lose_response(world)
    world.segmind.submit_responses = [response(429), *[TIMED_OUT] * 9]
    world.pass_minutes(20, every=2)
    job = world.job()
    assert len(world.segmind.sent) == 3
    assert (job.state, job.hold_reason) == (State.HELD, HoldReason.ATTENTION)


@pytest.mark.slow
def test_a_second_attempt_that_is_deferred_keeps_searching_for_the_first_request(
    world: World,
) -> None:
    """The account is out of credits for hours, and the row of the first request appears."""
    lose_response(world)
    world.segmind.submit_responses = [NO_CREDITS] * 50
    world.pass_minutes(6)
    world.segmind.pages = [history_page(history_row("r-9"))]
    world.pass_minutes(8, every=2)
    world.segmind.submit_responses = [accepted("r-10")]
    world.pass_minutes(20, every=2)
    assert world.job().request_id == "r-9"


def test_a_job_that_was_never_sent_is_sent_at_the_first_search(world: World) -> None:
    world.advance(world.claimed(), State.SUBMITTING)
    world.advance("j1", State.SUBMIT_UNKNOWN, due_in=0)
    world.pass_minutes()
    assert (world.state(), len(world.segmind.sent)) == (State.RENDERING, 1)
    assert world.segmind.pages_requested == []


def test_a_function_that_was_killed_while_it_refused_a_removed_clip_leaves_no_unknown_job(
    world: World,
) -> None:
    world.advance(world.claimed(), State.SUBMITTING)
    world.s3.delete_object(Bucket="input", Key="clip.mp4")
    world.segmind.pages = [history_page(history_row(video_url=OTHER_CLIP_URL))]
    world.pass_minutes(9, every=3)
    assert world.state() is not State.SUBMIT_UNKNOWN


# ─── Requests and time ────────────────────────────────────────────────────────────────────────


def test_an_endless_and_slow_history_does_not_make_other_jobs_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_response(world)
    requested: list[int] = []

    def slow_page(page: int, *_: str) -> Response:
        requested.append(page)
        world.clock.now += 20
        return history_page(*[{"request_id": f"x-{page}"}] * 100)

    monkeypatch.setattr(world.segmind, "history_page", slow_page)
    sweep_after(world, 60)
    assert requested == [1, 2]
    job = world.job()
    assert job.state is State.SUBMIT_UNKNOWN
    assert job.search is None or job.search.passes == 0
    assert job.follow_up
    assert job.follow_up.at > world.clock.now


@pytest.mark.parametrize(("seconds", "pages"), [(15, [1, 2, 3]), (15.5, [1, 2])])
def test_a_search_that_takes_longer_than_30_seconds_continues_at_the_next_page(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float, pages: list[int]
) -> None:
    lose_response(world)
    requested: list[int] = []

    def slow_page(page: int, *_: str) -> Response:
        requested.append(page)
        world.clock.now += seconds
        return history_page(history_row(f"o-{page}", video_url=OTHER_CLIP_URL))

    monkeypatch.setattr(world.segmind, "history_page", slow_page)
    sweep_after(world, 60)
    assert requested == pages
    search = world.job().search
    assert search
    assert (search.next_page, search.passes) == (pages[-1] + 1, 0)
    sweep_after(world, 60)
    assert requested[len(pages)] == pages[-1] + 1


def test_a_search_with_an_unclear_row_that_runs_out_of_time_begins_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_response(world)
    requested: list[int] = []

    def slow_page(page: int, *_: str) -> Response:
        requested.append(page)
        world.clock.now += 31
        return history_page(row_with_body(None))

    monkeypatch.setattr(world.segmind, "history_page", slow_page)
    for _ in range(2):
        sweep_after(world, 60)
    assert requested == [1, 1]


def test_each_sweep_reads_the_history_anew(world: World) -> None:
    lose_response(world)
    for _ in range(2):
        world.clock.now += 60
        world.app.sweep.run()
    assert [page for page, *_ in world.segmind.pages_requested] == [1, 1]


def test_without_a_free_request_the_history_is_not_read(table: Any) -> None:
    world = World(table, requests_per_minute=1)
    lose_response(world)
    world.sweep()
    sweep_after(world, 61)
    assert world.segmind.pages_requested == []
    sweep_after(world, 61)
    assert len(world.segmind.pages_requested) == 1


def test_every_page_costs_a_request(table: Any) -> None:
    world = World(table, requests_per_minute=3)
    lose_response(world)
    rows = [history_row("o", video_url="https://x/")] * 100
    world.segmind.pages = [history_page(*rows)] * 10
    sweep_after(world, 120)
    assert len(world.segmind.pages_requested) <= 3


def test_a_long_pause_is_not_an_unreadable_history(world: World) -> None:
    lose_response(world)
    world.app.admission.pause(1000)
    world.pass_minutes(16, every=4)
    assert (world.state(), world.segmind.pages_requested) == (State.SUBMIT_UNKNOWN, [])
    world.segmind.pages = [history_page(history_row())]
    world.pass_minutes(2)
    assert (world.state(), len(world.segmind.sent)) == (State.RENDERING, 1)


@pytest.mark.slow
def test_a_request_rate_below_the_pages_of_the_history_takes_longer_and_notifies_nobody(
    table: Any,
) -> None:
    world = World(table, requests_per_minute=5)
    lose_response(world)
    world.segmind.pages = [history_page(*other_rows(100))] * 5
    world.segmind.pages.append(history_page(history_row("r-9")))
    world.pass_minutes(20)
    assert (world.state(), world.job().hold_reason) == (State.RENDERING, None)


# ─── A person is notified ─────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    "received", [Response(0, "ReadTimeout"), response(401), response(200, "<html>")]
)
def test_a_history_that_is_unreadable_for_15_minutes_leaves_the_job_to_a_person(
    world: World, received: Response
) -> None:
    lose_response(world)
    world.segmind.pages = [received]
    world.pass_minutes(16, every=2)
    assert world.state() is State.SUBMIT_UNKNOWN
    world.pass_minutes(2)
    status = status_of(world, "clip.mp4")
    assert (status["state"], status["held"]) == ("HELD", "attention")
    assert "history does not say" in status["reason"]
    [(name, detail)] = world.bus.published
    assert (name, detail["held"], detail["job"]) == ("Held", "attention", "j1")
    world.segmind.pages = []
    world.pass_minutes(8, every=4)
    assert world.job().hold_reason is HoldReason.ATTENTION
    assert (len(world.segmind.sent), world.events) == (1, ["Held"])


@pytest.mark.parametrize(("seconds", "held"), [(900, False), (901, True)])
def test_a_person_is_notified_when_a_history_is_unreadable_for_more_than_15_minutes(
    world: World, seconds: int, held: bool
) -> None:
    lose_response(world)
    world.segmind.pages = [BAD_GATEWAY]
    sweep_after(world, 60)
    sweep_after(world, seconds)
    assert (world.state() is State.HELD) == held
    again = 900 if held else 60
    assert world.job().follow_up == FollowUp(FollowUpQueue.DUE, int(world.clock.now) + again)
    if held:
        sweep_after(world, 900)  # it is searched for, although a person was notified
        assert world.job().follow_up == FollowUp(FollowUpQueue.DUE, int(world.clock.now) + 900)


def test_a_history_that_is_readable_in_between_notifies_nobody(world: World) -> None:
    lose_response(world)
    for _ in range(3):
        world.segmind.pages = [BAD_GATEWAY]
        sweep_after(world, 600)
        sweep_after(world, 120)
        world.segmind.pages = []
        sweep_after(world, 60)
        world.queue.jobs.clear()
    world.segmind.pages = [BAD_GATEWAY]
    sweep_after(world, 600)
    assert world.state() is State.SUBMIT_UNKNOWN


def test_one_unreadable_page_after_readable_ones_notifies_nobody(world: World) -> None:
    lose_response(world)
    world.app.admission.open_circuit(HoldReason.CREDITS, "no credits")
    world.segmind.submit_responses = [NO_CREDITS] * 50
    for _ in range(10):  # it is absent, and waits in SUBMIT_UNKNOWN until it is admitted
        sweep_after(world, 120)
        world.queue.jobs.clear()
    assert world.job().is_proven_absent
    world.segmind.pages = [BAD_GATEWAY]
    sweep_after(world, 61)
    assert world.job().hold_reason is not HoldReason.ATTENTION


def test_a_response_that_is_lost_twice_leaves_the_job_to_a_person(world: World) -> None:
    lose_response(world)
    world.segmind.submit_responses = [TIMED_OUT] * 9
    world.pass_minutes(14, every=2)
    job = world.job()
    assert len(world.segmind.sent) == 2
    assert (job.state, job.hold_reason) == (State.HELD, HoldReason.ATTENTION)
    assert "twice" in (job.reason or "")
    assert world.events == ["Held"]


def test_a_job_that_is_left_to_a_person_is_not_sent_by_a_second_drop(world: World) -> None:
    lose_response(world)
    world.segmind.submit_responses = [TIMED_OUT] * 9
    world.pass_minutes(12, every=2)
    world.segmind.submit_responses = []
    world.submit("j1")
    assert world.job().hold_reason is HoldReason.ATTENTION
    assert len(world.segmind.sent) == 2


def test_a_pause_does_not_hide_that_a_person_must_look(world: World) -> None:
    lose_response(world)
    world.segmind.submit_responses = [TIMED_OUT] * 9
    world.pass_minutes(12, every=2)
    world.app.admission.pause(60)
    world.submit("j1")
    assert world.job().hold_reason is HoldReason.ATTENTION


@pytest.mark.slow
def test_a_sweep_that_is_killed_before_it_notifies_a_person_notifies_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_response(world)
    world.segmind.pages = [BAD_GATEWAY]
    world.pass_minutes(14)
    world.clock.now += 200
    monkeypatch.setattr(world.app.status_files, "publish", kill)
    with pytest.raises(Killed):
        world.app.sweep.run()
    monkeypatch.undo()
    assert world.job().hold_reason is HoldReason.ATTENTION
    world.segmind.pages = []
    world.pass_minutes(60, every=5)
    assert status_of(world, "clip.mp4").get("held") == "attention"
    assert world.events == ["Held"]


@pytest.mark.slow
def test_a_job_that_is_left_to_a_person_is_adopted_when_its_request_appears(
    world: World,
) -> None:
    lose_response(world)
    world.segmind.pages = [BAD_GATEWAY]
    world.pass_minutes(20, every=2)
    assert world.job().hold_reason is HoldReason.ATTENTION
    row = history_row("r-9", "COMPLETED") | {"generation_url": RESULT_URL}
    world.segmind.pages = [history_page(row)]
    world.pass_minutes(24 * 60, every=60)
    job = world.job()
    assert (job.request_id, job.hold_reason, job.reason) == ("r-9", None, None)


@pytest.mark.parametrize("page", [history_page(), BAD_GATEWAY])
@pytest.mark.parametrize("late", [0, 1])
def test_a_job_that_is_left_to_a_person_is_searched_for_while_its_file_can_exist(
    world: World, page: Response, late: int
) -> None:
    lose_response(world)
    search = HistorySearch(notified_at=int(world.clock.now))
    world.advance("j1", State.HELD, due_in=60, search=search, hold_reason=HoldReason.ATTENTION)
    world.segmind.pages = [page]
    sweep_after(world, FILE_LIFETIME_SECONDS + late)
    next_search = FollowUp(FollowUpQueue.DUE, int(world.clock.now) + 900)
    assert world.job().follow_up == (None if late else next_search)


@pytest.mark.slow
def test_jobs_that_are_left_to_a_person_release_their_leases(table: Any) -> None:
    world = World(table, requests_per_minute=3)
    jobs = ("j0", "j1")
    world.segmind.submit_responses = [response(200, "<html>")] * 2
    for job_id in jobs:
        world.submit(world.claimed(job_id, f"{job_id}.mp4"))
    world.segmind.pages = [BAD_GATEWAY]
    world.pass_minutes(20, every=2)
    assert [world.job(job_id).hold_reason for job_id in jobs] == [HoldReason.ATTENTION] * 2
    assert world.admission.leases.expire_at == {}


def test_a_history_that_ignores_the_page_ends_with_the_first_repetition(world: World) -> None:
    lose_response(world)
    world.segmind.pages = [history_page(*other_rows(3))] * 100
    world.pass_minutes()
    assert [page for page, _, _ in world.segmind.pages_requested] == [1, 2]
    search = world.job().search
    assert search
    assert search.passes == 1

"""Faults that once broke a law, each as it was found: kills and interleavings, histories that prove nothing, jobs that stop others."""

import contextlib
import io
import json
import socket
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from botocore.response import StreamingBody

from retake.adapters.segmind import ResultFiles
from retake.rules.contract import Answer
from retake.rules.gate import PRICE
from retake.rules.states import Held

from .conftest import TIMED_OUT, World, signed
from .test_intake import take, told
from .test_presets import jobs, pass_by
from .test_presets import take as take_all

URL = "https://input.s3.eu-central-1.amazonaws.com/clip.mp4"


def accepted(rid: str) -> Answer:
    return Answer(200, json.dumps({"request_id": rid, "status": "QUEUED"}))


def row(request_id: str, status: str = "PENDING", **body: Any) -> dict[str, Any]:
    sent = {"video_url": URL, "mode": "adhere_1"} | body
    return {"request_id": request_id, "model_status": status, "request_body": sent}


def page(*rows: Any, **more: Any) -> Answer:
    return Answer(200, json.dumps({"history": rows} | more))


def unknown(world: World, job: str = "j1", **fields: Any) -> None:
    world.segmind.submit_answers = [TIMED_OUT]
    world.submission().submit(world.claimed(job, **fields))
    assert world.state(job) == "SUBMIT_UNKNOWN"


def marked(request_id: str, job: str) -> dict[str, Any]:
    return row(request_id, video_url=signed("input", "clip.mp4", f"{job}-0.mp4"))


def start_again(world: World) -> None:
    """Drop the files of a failed job again."""
    old = world.job()
    again = {name: old[name] for name in ("id", "bucket", "key", "mode", "video")} | {"state": "CLAIMED", "versions": "w"}
    assert world.jobs.add(again, old)


class Died(BaseException):
    pass


def die(*_: Any, **__: Any) -> None:
    raise Died


def test_a_request_belongs_to_its_submit_before_the_job_says_so(world: World, monkeypatch: Any) -> None:
    advance = world.jobs.advance

    def killed(job: Any, to: Any, **fields: Any) -> Any:
        return die() if to == "RENDERING" else advance(job, to, **fields)

    monkeypatch.setattr(world.jobs, "advance", killed)
    with pytest.raises(Died):
        world.submission().submit(world.claimed("j1"))
    monkeypatch.undo()
    unknown(world, "j2", rerun=2)  # not processed by Segmind at all
    world.segmind.pages = [page(row("r-1"))]  # no mark is left in it
    world.minutes_pass(3)
    assert world.job("j1")["request_id"] == "r-1"
    assert world.job("j2").get("request_id") != "r-1"


def test_a_job_that_starts_again_does_not_take_its_own_old_request_for_the_new_one(world: World) -> None:
    world.rendering()
    world.move("j1", "FAILED", reason="out of memory")
    world.settlement.settle("j1")
    start_again(world)
    world.segmind.submit_answers = [TIMED_OUT]  # accepted as r-2 and paid, the answer is lost; its row is late by two minutes
    world.submission().submit("j1")
    world.segmind.pages = [page(row("r-1", "FAILED"))]
    world.minutes_pass(2)
    assert world.state() == "SUBMIT_UNKNOWN"
    world.segmind.pages = [page(row("r-2"), row("r-1", "FAILED"))]
    world.minutes_pass(1)
    assert (world.state(), world.job().get("request_id")) == ("RENDERING", "r-2")


def test_a_write_that_was_made_and_repeated_counts_as_made(world: World, monkeypatch: Any) -> None:
    """The first attempt of the write RENDERING is applied, its answer is lost, botocore repeats it: ConditionalCheckFailed."""
    real = world.table.update_item
    seen: list[int] = []

    def twice(**a: Any) -> Any:
        answer = real(**a)
        if a["ExpressionAttributeValues"].get(":state") == "RENDERING" and not seen:
            seen.append(1)
            return real(**a)  # botocore's own retry
        return answer

    monkeypatch.setattr(
        world.jobs, "_table", type("T", (), {"__getattr__": lambda s, n: twice if n == "update_item" else getattr(world.table, n)})()
    )
    world.submission().submit(world.claimed("j1"))
    assert world.state() == "RENDERING"
    assert world.runs.alive == {("j1", 0)}, "no wait-loop until sweep, 300 s later"
    assert world.jobs.owner("r-1") == "j1-0.mp4"


def test_a_lost_job_leaves_the_request_of_another_whose_submit_is_under_way(world: World) -> None:
    unknown(world, "j1")  # version 1 of clip.mp4; paid as r-1, its history row is late
    world.clock.now += 61

    def meanwhile() -> None:  # j2 = version 2 of clip.mp4, same note: Segmind has it as r-2, the answer is on its way
        world.segmind.pages = [page(marked("r-2", "j2"))]
        world.sweeping().sweep()

    world.segmind.during = meanwhile
    world.segmind.submit_answers = [accepted("r-2")]
    world.submission().submit(world.claimed("j2"))
    ids = [world.job(j).get("request_id") for j in ("j1", "j2")]
    assert len(set(ids)) == 2, f"two jobs have one request, and r-1 (paid) has none: {ids}"


def test_two_versions_of_a_clip_both_lost_find_their_own_requests(world: World) -> None:
    unknown(world, "j1")
    world.clock.now += 1
    unknown(world, "j2")  # the clip was overwritten: other content, same key, same note
    world.segmind.pages = [page(marked("r-2", "j2"), marked("r-1", "j1"))]  # newest first, as asked for
    world.minutes_pass(2)
    assert (world.job("j1")["request_id"], world.job("j2")["request_id"]) == ("r-1", "r-2")


SENT = {"video_url": URL, "mode": "adhere_1", "prompt": "ink "}
STRANGE = {
    "nested envelope beside another list": Answer(
        200, json.dumps({"filters": ["modify-video"], "data": {"items": [row("r-9", prompt="ink ")]}})
    ),
    "nested envelope beside an empty list": Answer(200, json.dumps({"errors": [], "data": {"requests": [row("r-9", prompt="ink ")]}})),
    "total says there are rows": Answer(200, json.dumps({"data": [], "total": 37})),
    "request_body not written yet": page({"request_id": "r-9", "model_status": "PENDING", "request_body": None}),
    "request_body has no prompt": page(row("r-9")),
    "prompt stripped": page(row("r-9", prompt="ink")),
    "url rewritten to another host, same path": page(row("r-9", prompt="ink ", video_url="https://cdn.segmind.com/clip.mp4")),
    "url rewritten path-style": page(row("r-9", prompt="ink ", video_url="https://s3.eu-central-1.amazonaws.com/input/clip.mp4")),
    "request_body under 'input'": page({"request_id": "r-9", "model_status": "PENDING", "request_body": {"input": SENT}}),
    "request_body doubly stringified": page({"request_id": "r-9", "model_status": "PENDING", "request_body": json.dumps(json.dumps(SENT))}),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_history_that_does_not_prove_an_absence_leads_to_no_second_payment(world: World, name: str) -> None:
    unknown(world, prompt="ink ")
    world.segmind.pages = [STRANGE[name]]
    world.minutes_pass(8)
    assert len(world.segmind.sent) == 1, "paid twice"


def test_a_history_with_fewer_rows_a_page_than_asked_for_is_read_to_its_end(world: World) -> None:
    unknown(world)
    others = [row(f"o-{n}", video_url="https://input.example/other.mp4") for n in range(50)]
    world.segmind.pages = [page(*others, total=51), page(row("r-9"), total=51)]
    world.minutes_pass(8)
    assert (len(world.segmind.sent), world.job()["request_id"]) == (1, "r-9")


def test_a_second_try_that_is_withheld_goes_on_looking_for_the_first(world: World) -> None:
    """absent -> SUBMITTING -> 402 -> HELD credits for hours; the row of the first POST shows up in between."""
    unknown(world)
    world.segmind.submit_answers = [Answer(402, "no credits")] * 50
    world.minutes_pass(6)
    world.segmind.pages = [page(row("r-9"))]
    world.minutes_pass(8, every=2)
    n = len(world.segmind.sent)
    world.segmind.submit_answers = [accepted("r-10")]
    world.minutes_pass(20, every=2)
    assert world.job().get("request_id") == "r-9", (
        f"paid twice, r-9 forgotten: {world.job().get('request_id')}, posts {n} -> {len(world.segmind.sent)}"
    )


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403, "<html>403 Forbidden - Request blocked by WAF</html>"),
        Answer(406, '{"error": "rejected value: prompt \\"a bank balance on fire\\""}'),
        Answer(403, '{"error": "prompt blocked by moderation"}'),
    ],
    ids=["WAF", "406 echoing a money word", "moderation"],
)
def test_a_job_that_alone_draws_an_accounts_refusal_does_not_stop_the_others(world: World, answer: Answer) -> None:
    def send(request: dict[str, Any]) -> Answer:
        world.segmind.sent.append(request)
        return answer if request.get("prompt") == "bad" else accepted("r-" + request["prompt"])

    world.segmind.send = send
    world.submission().submit(world.claimed("bad", "bad.mp4", prompt="bad"))
    for n in range(3):
        world.clock.now += 1
        world.submission().submit(world.claimed(f"good{n}", f"good{n}.mp4", prompt=f"good{n}"))
    world.minutes_pass(6 * 60, every=10)
    print([r["prompt"] for r in world.segmind.sent])
    assert [world.state(f"good{n}") for n in range(3)] == ["RENDERING"] * 3, "healthy jobs held for 6 hours by one prompt"


def test_killed_before_the_person_was_told_it_tells_later(world: World, monkeypatch: Any) -> None:
    unknown(world)
    world.segmind.pages = [Answer(502, "<html>")]
    world.minutes_pass(14)
    world.clock.now += 200
    monkeypatch.setattr(world.answers, "tell", die)
    with pytest.raises(Died):
        world.sweeping().sweep()
    monkeypatch.undo()
    assert world.job()["held"] == "attention"
    world.segmind.pages = []
    world.minutes_pass(60, every=5)
    told = json.loads(world.read("clip.mp4.job.json") or b"{}")
    assert (told.get("held"), world.events) == ("attention", ["Retake Held"]), f"nobody is ever asked: {told.get('state')}, {world.events}"


def test_one_hiccup_of_the_history_asks_no_person(world: World) -> None:
    unknown(world)
    world.gate.keep_back(world_held(), "no credits")
    world.segmind.submit_answers = [Answer(402, "none")] * 50
    world.clock.now += 0
    for _ in range(10):  # looks see nothing; the gate is shut, so it waits as SUBMIT_UNKNOWN, absent
        world.clock.now += 120
        world.sweeping().sweep()
        world.queue.jobs.clear()
    assert world.job()["absent"]
    world.segmind.pages = [Answer(502, "<html>")]  # once
    world.clock.now += 61
    world.sweeping().sweep()
    world.segmind.pages = []
    assert world.job().get("held") != "attention", "ONE unreadable look after 20 minutes of readable ones"


def world_held() -> Any:
    return Held.CREDITS


def test_a_request_limit_below_the_pages_of_the_history_takes_longer_and_asks_no_person(table: Any) -> None:
    world = World(table, requests_per_minute=5)
    unknown(world)
    others = [row(f"o-{n}", video_url="https://input.example/other.mp4") for n in range(100)]
    world.segmind.pages = [page(*others)] * 5 + [page(row("r-9"))]
    world.minutes_pass(20)
    assert (world.state(), world.job().get("held")) == ("RENDERING", None), "the history was readable all the time"


def test_an_outage_is_probed_by_one_job_at_a_time(table: Any) -> None:
    world = World(table)
    world.segmind.submit_answers = [Answer(503, "<html>")] * 500
    for number in range(30):
        world.submission().submit(world.claimed(f"j{number}", f"c{number}.mp4"))
    world.minutes_pass(60, every=2)
    assert len(world.segmind.sent) < 20, "each is a second try that is used up"
    ids = iter(range(100))
    world.segmind.send = lambda request: accepted(f"ok-{next(ids)}")  # type: ignore[method-assign]
    world.minutes_pass(60, every=4)
    states = [world.state(f"j{number}") for number in range(30)]
    assert states.count("RENDERING") >= 20, states
    assert world.events[:1] == ["Retake Held"]
    assert "Retake Resumed" in world.events


def test_held_jobs_that_cannot_be_sent_let_the_later_ones_go_on(world: World, monkeypatch: Any) -> None:
    real = world.input.stage

    def stage(file: Any, job: str) -> Any:
        if file.key.startswith("bad"):  # e.g. CopyObject of a tagged .MP4: the role has no s3:GetObjectTagging
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "CopyObject")
        return real(file, job)

    monkeypatch.setattr(world.input, "stage", stage)
    world.gate.pause(60)
    for n in range(10):
        world.submission().submit(world.claimed(f"bad{n}", f"bad{n}.mp4"))
    world.clock.now += 1
    world.submission().submit(world.claimed("good", "good.mp4"))
    for _ in range(10):
        world.clock.now += 60
        world.sweeping().sweep()
        woken, world.queue.jobs = world.queue.jobs, []
        for job in woken:
            with contextlib.suppress(ClientError):  # SQS tries five times, then the DLQ
                world.submission().submit(job)
    assert world.state("good") == "RENDERING", (
        f"23 slots free, nothing held at the gate, and {world.state('good')}: {world.job('good')['reason']}"
    )


def test_people_are_told_of_a_hold_though_the_bus_was_away(world: World) -> None:
    world.segmind.submit_answers = [Answer(402, "no credits")]
    world.bus.broken = True
    with pytest.raises(RuntimeError):
        world.submission().submit(world.claimed("j1"))
    world.bus.broken = False
    world.segmind.submit_answers = [Answer(402, "no credits")] * 50
    world.submission().submit("j1")  # SQS brings the message back
    world.minutes_pass(180, every=10)
    assert "Retake Held" in world.events, "the account is out of credits for three hours and nobody was told"


def test_people_are_told_of_the_budget_though_the_bus_was_away(table: Any) -> None:
    world = World(table, daily_budget_usd=0)
    world.bus.broken = True
    with pytest.raises(RuntimeError):
        world.submission().submit(world.claimed("j1"))
    world.bus.broken = False
    world.submission().submit("j1")
    world.minutes_pass(120, every=10)
    assert "Retake Held" in world.events


def test_killed_between_a_hold_and_its_answer_it_is_told_later(world: World, monkeypatch: Any) -> None:
    world.gate.keep_back(Held.CREDITS, "no credits")
    world.claimed("j1")
    world.answers.tell("j1")
    monkeypatch.setattr(world.answers, "tell", die)
    with pytest.raises(Died):
        world.submission().submit("j1")
    monkeypatch.undo()
    world.submission().submit("j1")  # the message comes again
    world.segmind.submit_answers = [Answer(402, "no credits")] * 50
    told = json.loads(world.read("clip.mp4.job.json") or b"{}")
    assert told["state"] == "HELD", f"the answer says {told['state']}: {told['message']}"


def outputs(world: World) -> dict[str, Any]:
    keys = [i["Key"] for i in world.s3.list_objects_v2(Bucket="output").get("Contents", ())]
    return {k: json.loads(world.read(k) or b"") for k in keys if k.endswith(".json")}


def settle_delivered(world: World, job: str) -> None:
    world.move(job, "DELIVERING", result_url="https://x/")
    world.answers.tell(job)
    world.move(job, "DELIVERED", result="s3://output/clip.mp4")
    world.settlement.settle(job)


def test_a_typo_that_is_taken_back_leaves_no_stale_answer(world: World, film: bytes) -> None:
    world.drop("clip.mp4", film)
    world.drop("clip.json", b'{"prompt": "ink"}')
    [a] = take(world, "clip.json")
    world.submission().submit(a)
    world.drop("clip.json", b'{"promt": "ink"}')
    take(world, "clip.json")  # B is refused, and A's answer goes beside
    world.drop("clip.json", b'{"prompt": "ink"}')
    take(world, "clip.json")  # A has its name again
    settle_delivered(world, a)
    of_a = {name: told["state"] for name, told in outputs(world).items() if told["job"] == a}
    assert of_a == {"clip.mp4.job.json": "DELIVERED"}, of_a


def test_killed_between_taking_a_place_and_telling_it_is_told_later(world: World, film: bytes, monkeypatch: Any) -> None:
    world.drop("clip.mp4", film)
    world.drop("clip.json", b'{"prompt": "ink"}')
    [a] = take(world, "clip.json")
    world.submission().submit(a)
    settle_delivered(world, a)
    world.drop("clip.json", b'{"promt": "ink"}')
    take(world, "clip.json")
    world.drop("clip.json", b'{"prompt": "ink"}')
    monkeypatch.setattr(world.answers, "tell", die)
    with pytest.raises(Died):
        take(world, "clip.json")
    monkeypatch.undo()
    take(world, "clip.json", "clip.mp4")  # SQS brings the message back
    world.minutes_pass(30, every=5)
    assert {n: t["state"] for n, t in outputs(world).items()} == {"clip.mp4.job.json": "DELIVERED"}, outputs(world)


def test_settling_a_failed_run_leaves_the_lease_of_the_run_that_followed(world: World, monkeypatch: Any) -> None:
    world.rendering()
    world.move("j1", "FAILED", reason="no")
    tell = world.answers.tell

    def slow(job: str) -> None:  # between settle's read and its release the files are dropped again
        monkeypatch.setattr(world.answers, "tell", tell)
        start_again(world)
        world.segmind.submit_answers = [accepted("r-2")]
        world.submission().submit("j1")
        assert world.state() == "RENDERING"
        tell(job)

    monkeypatch.setattr(world.answers, "tell", slow)
    world.settlement.settle("j1")
    assert (list(world.jobs.gate()[0].leases), world.spent) == (["j1"], PRICE), "renders without a lease, costs nothing in the ledger"


def test_a_late_end_of_a_failed_run_does_not_disturb_the_new_submit(world: World) -> None:
    """The old run's Settle state (or its late event) finds SUBMITTING and makes sweep give the POST up at once."""
    world.rendering()
    world.move("j1", "FAILED", reason="no")
    start_again(world)

    def during() -> None:
        world.settlement.settle("j1")  # Step Functions goes on with the old run
        world.sweeping().sweep()

    world.segmind.during = during
    world.segmind.submit_answers = [Answer(429, "slow down")]
    world.submission().submit("j1")
    assert world.state() == "HELD", f"definitely refused (429), but {world.state()}: five minutes, and the only second try is used up"


def test_a_download_without_a_length_that_ends_early_is_not_delivered(world: World) -> None:
    whole = b"\0\0\0\x18ftypisom" + b"\0" * 12 + (100_000).to_bytes(4) + b"mdat" + b"x" * 99_992
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()

    def serve() -> None:
        while True:
            try:
                c, _ = server.accept()
            except OSError:
                return
            c.recv(65536)
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nConnection: close\r\n\r\n" + whole[:40_000])
            c.close()

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/r.mp4"
    world.move(world.rendering(), "DELIVERING", result_url=url)
    world.delivery(ResultFiles(url)).deliver(world.loop())
    server.close()
    got = world.read("clip.mp4") or b""
    assert world.state() != "DELIVERED" or len(got) == len(whole), f"DELIVERED with {len(got)} of {len(whole)} bytes"


def test_an_answer_that_repeats_the_input_does_not_deliver_it(world: World) -> None:
    """Model-specific keys: the result repeats `video_url`, the input, and has its output under a name nobody knows."""
    ours = "https://input.s3.eu-central-1.amazonaws.com/clip.mp4?X-Amz-Signature=other"
    body = {
        "status": "COMPLETED",
        "request_id": "r-1",
        "video_url": ours,
        "output": None,
        "generation": {"href": "https://images.segmind.com/r.mp4"},
    }
    world.rendering()
    world.segmind.status_answer = Answer(200, '{"status": "COMPLETED"}')
    world.segmind.result_answer = Answer(200, json.dumps(body))
    world.polling.poll(world.loop())
    assert world.job().get("result_url") is None, "the customer gets his own clip back, paid, DELIVERED"


def test_a_gateway_error_that_says_failed_ends_no_job(world: World) -> None:
    world.rendering()
    world.segmind.status_answer = Answer(502, '{"status": "failed", "message": "upstream connect error"}')
    world.polling.poll(world.loop())
    assert world.state() == "RENDERING", world.state()


def test_an_address_in_an_error_is_no_result(world: World) -> None:
    world.rendering()
    world.segmind.status_answer = Answer(200, '{"status": "COMPLETED"}')
    world.segmind.result_answer = Answer(503, '{"error": "maintenance", "url": "https://status.segmind.com"}')
    world.polling.poll(world.loop())
    assert world.state() == "RENDERING", world.job().get("result_url")


def test_a_job_that_cannot_be_sent_is_not_the_only_probe(world: World, monkeypatch: Any) -> None:
    real = world.input.stage

    def stage(file: Any, job: str) -> Any:
        if file.key.startswith("bad"):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "CopyObject")
        return real(file, job)

    monkeypatch.setattr(world.input, "stage", stage)
    world.gate.keep_back(Held.CREDITS, "no credits")
    world.submission().submit(world.claimed("bad", "bad.mp4"))
    world.clock.now += 1
    world.submission().submit(world.claimed("good", "good.mp4"))
    for _ in range(60):  # credits are back; ten hours
        world.clock.now += 600
        world.sweeping().sweep()
        woken, world.queue.jobs = world.queue.jobs, []
        for job in woken:
            with contextlib.suppress(ClientError):
                world.submission().submit(job)
    assert world.state("good") == "RENDERING", world.state("good")


def test_removed_clips_use_up_no_probes(world: World) -> None:
    world.gate.keep_back(Held.CREDITS, "no credits")
    for n in range(6):
        world.submission().submit(world.claimed(f"gone{n}", f"gone{n}.mp4"))
        for v in world.s3.list_object_versions(Bucket="input", Prefix=f"gone{n}.mp4")["Versions"]:
            world.s3.delete_object(Bucket="input", Key=v["Key"], VersionId=v["VersionId"])
        world.clock.now += 1
    world.submission().submit(world.claimed("good", "good.mp4"))
    minutes = 0
    while world.state("good") != "RENDERING" and minutes < 300:
        world.minutes_pass(1)
        minutes += 1
    assert minutes <= 8, f"credits were there all the time; {minutes} minutes, no POST was made to find out"


def test_killed_while_a_sidecar_is_paired_its_answer_goes_later(world: World, film: bytes, monkeypatch: Any) -> None:
    world.drop("clip.json", b"{}")
    take(world, "clip.json")
    world.clock.now += 10**6
    take(world, "clip.json")
    assert "clip.json.job.json" in outputs(world)
    world.drop("clip.mp4", film)
    monkeypatch.setattr(world.answers, "forget", die)
    with pytest.raises(Died):
        take(world, "clip.mp4")
    monkeypatch.undo()
    take(world, "clip.mp4")
    world.minutes_pass(60, every=10)
    assert "clip.json.job.json" not in outputs(world), outputs(world)["clip.json.job.json"]["message"]


def test_a_job_left_to_a_person_is_adopted_when_its_request_turns_up(world: World) -> None:
    unknown(world)
    world.segmind.pages = [Answer(502, "<html>")]
    world.minutes_pass(20, every=2)
    world.segmind.pages = [page(row("r-9", "COMPLETED") | {"generation_url": "https://images.segmind.com/r.mp4"})]
    world.minutes_pass(24 * 60, every=60)
    assert world.job().get("request_id") == "r-9", world.job()["reason"]


def test_killed_before_a_strange_result_was_told_it_is_told_later(world: World, monkeypatch: Any) -> None:
    world.rendering()
    world.segmind.status_answer = Answer(200, '{"status": "COMPLETED"}')
    world.segmind.result_answer = Answer(200, '{"status": "COMPLETED", "strange": 1}')
    monkeypatch.setattr(world.answers, "tell", die)
    with pytest.raises(Died):
        world.polling.poll(world.loop())
    monkeypatch.undo()
    world.clock.now += 120
    for _ in range(3):
        world.polling.poll(world.loop())
        world.clock.now += 60
    assert "its result has no address" in json.loads(world.read("clip.mp4.job.json") or b"{}").get("reason", "")


def test_a_job_left_to_a_person_frees_its_place_at_segmind(table: Any) -> None:
    world = World(table, requests_per_minute=3)
    for n in range(2):
        unknown(world, f"j{n}", key=f"c{n}.mp4") if False else None
    world.segmind.submit_answers = [Answer(200, "<html>")] * 2
    for n in range(2):
        world.submission().submit(world.claimed(f"j{n}", f"c{n}.mp4"))
    world.segmind.pages = [Answer(502)]
    world.minutes_pass(20, every=2)
    assert [world.job(f"j{n}")["held"] for n in range(2)] == ["attention"] * 2
    assert world.jobs.gate()[0].leases == {}, "nobody asks about them any more, and they shut the gate for the rest of the hour"


@pytest.mark.parametrize("preset_first", [True, False])
def test_a_sidecar_that_is_deleted_makes_no_second_job_of_its_clip_and_the_preset(world: World, film: bytes, preset_first: bool) -> None:
    world.clock.now = time.time()
    files = {"a/_retake.json": b'{"prompt": "oil"}', "a/clip.json": b'{"prompt": "own"}', "a/clip.mp4": film}
    for key in list(files)[not preset_first :]:
        world.drop(key, files[key])
        take_all(world, key)
    world.s3.delete_object(Bucket="input", Key="a/clip.json")
    take_all(world, "a/clip.mp4")  # its event, a second time
    world.drop("a/_retake.json", files["a/_retake.json"])
    take_all(world, "a/_retake.json", "a/clip.mp4", "a/clip.json")
    pass_by(world, 100)
    assert [job["prompt"] for job in jobs(world)] == ["own"]
    assert told(world, "a/clip.mp4")["state"] == "RENDERING"


def test_a_failed_job_does_not_start_again_because_its_sidecar_is_deleted(world: World, film: bytes) -> None:
    world.drop("clip.json", b"{}")
    world.drop("clip.mp4", film)
    take_all(world, "clip.mp4")
    (job,) = jobs(world)
    world.move(job["id"], "FAILED", reason="no")
    world.settlement.settle(job["id"])
    world.s3.delete_object(Bucket="input", Key="clip.json")
    take_all(world, "clip.mp4")
    assert told(world, "clip.mp4")["state"] == "FAILED"
    world.drop("clip.mp4", film)
    world.drop("clip.json", b"{}")
    take_all(world, "clip.mp4")
    assert told(world, "clip.mp4")["state"] == "RENDERING"


@pytest.mark.parametrize("came", [b"", b"{}", b'{"prompt": '])
def test_a_preset_that_came_half_is_not_taken_for_a_broken_one(world: World, monkeypatch: Any, came: bytes) -> None:
    world.drop("_retake.json", b'{"prompt": "oil"}')
    whole = world.s3.get_object(Bucket="input", Key="_retake.json")
    monkeypatch.setattr(world.s3, "get_object", lambda **_: whole | {"Body": StreamingBody(io.BytesIO(came), whole["ContentLength"])})
    with pytest.raises(IncompleteReadError):
        world.intake.take("_retake.json")
    assert outputs(world) == {}


@pytest.mark.parametrize("late", ["the refusal itself", "sweep, for the one who was killed"])
def test_a_preset_that_has_been_corrected_is_not_told_to_be_broken(world: World, monkeypatch: Any, late: str) -> None:
    settle = world.settlement.settle

    def corrected_before(job: str) -> None:
        monkeypatch.setattr(world.settlement, "settle", settle)
        world.drop("_retake.json", b"{}")
        take_all(world, "_retake.json")
        if late == "the refusal itself":
            settle(job)

    monkeypatch.setattr(world.settlement, "settle", corrected_before)
    world.drop("_retake.json", b"{")
    take_all(world, "_retake.json")
    world.minutes_pass(10)
    assert outputs(world) == {}
    world.drop("_retake.json", b"{")
    take_all(world, "_retake.json")
    assert told(world, "_retake.json")["state"] == "REFUSED"


def test_an_overdue_answer_does_not_undo_that_a_preset_starts_the_clip(world: World, film: bytes, monkeypatch: Any) -> None:
    world.clock.now = time.time() - 200
    world.drop("clip.mp4", film)
    take_all(world, "clip.mp4")
    world.clock.now = time.time()
    tell = world.answers.tell_waiting

    def preset_comes(place: Any) -> None:
        monkeypatch.setattr(world.answers, "tell_waiting", tell)
        world.drop("_retake.json", b"{}")
        take_all(world, "_retake.json")
        tell(place)

    monkeypatch.setattr(world.answers, "tell_waiting", preset_comes)
    take_all(world, "clip.mp4")
    world.queue.later.clear()  # the message is lost
    world.clock.now += 60
    world.sweeping().sweep()
    take_all(world, *world.queue.keys)
    assert len(jobs(world)) == 1


def test_the_longest_preset_and_the_longest_address_fit_into_a_row(world: World, film: bytes) -> None:
    folder = "f" * 1000 + "/"
    world.drop(f"{folder}_retake.json", b'{"prompt": "%s"}' % (b"\x7f" * 65_500))  # each sign six when it is escaped
    world.drop(f"{folder}clip.json", json.dumps({"first_frame_url": "https://a.b/" + "🎬" * 2036}, ensure_ascii=False).encode())
    world.drop(f"{folder}clip.mp4", film)
    take_all(world, f"{folder}clip.json", f"{folder}clip.mp4")
    place = world.jobs.place("input", f"{folder}clip.mp4")
    assert place["newest"] == jobs(world)[0]["id"]
    assert sum(len(f"{name}{value}".encode()) for name, value in place.items()) < 200_000  # DynamoDB takes 400 KB


def test_killed_before_its_row_is_written_a_clip_whose_sidecar_is_deleted_is_not_forgotten(
    world: World, film: bytes, monkeypatch: Any
) -> None:
    for key, body in {"clip.mp4": film, "clip.json": b"{}"}.items():
        world.drop(key, body)
        time.sleep(1)  # the sidecar is newer, by the clock of the bucket
    monkeypatch.setattr(world.jobs, "add", die)
    with pytest.raises(Died):
        take_all(world, "clip.mp4")
    monkeypatch.undo()
    world.s3.delete_object(Bucket="input", Key="clip.json")
    take_all(world, "clip.mp4")
    assert told(world, "clip.mp4")["state"] == "RENDERING"


def test_a_history_too_long_to_be_read_to_its_end_proves_no_absence(world: World) -> None:
    unknown(world)
    world.segmind.pages = [page(row(f"r-{n}", video_url="https://input.s3.eu-central-1.amazonaws.com/other.mp4")) for n in range(1, 60)]
    for _ in range(12):
        world.minutes_pass()
    assert len(world.segmind.sent) == 1
    world.minutes_pass(20)
    assert world.job()["held"] == Held.ATTENTION

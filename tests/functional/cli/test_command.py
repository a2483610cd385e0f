"""The real command, as an operator runs it, on the embedded cloud."""

import json
import signal
import time

from tests.support.desk import Desk
from tests.support.events import account_event

REGION = "eu-central-1"


def test_the_way_from_a_drop_to_the_doctor(desk: Desk) -> None:
    desk.clip("one.mp4")
    desk.clip("two.mp4")
    (desk.folder / "shoot/two.json").write_text('{"prompt": "ink", "mode": "reimagine_1"}')
    (desk.folder / "shoot/three.mov").write_bytes(b"x")
    modes = ("--mode", "flex_1", "--mode", "flex_3")
    drop = ("drop", "shoot", "--prompt", "a watercolor painting", *modes)
    keys = ["shoot/one.flex_1.mp4", "shoot/one.flex_3.mp4", "shoot/two.mp4"]

    plan = desk.json(*drop, "--dry-run", code=1)
    assert [job["key"] for job in plan["jobs"]] == keys
    assert plan["usd"] == 1.8
    assert len(plan["refused"]) == 1
    assert desk.json("ls") == []

    output = desk.run(*drop, "--wait", code=1)
    assert "the clip is not a video by its content" in output
    assert "3 of 3 retakes saved; 1.80 USD" in output
    retakes = desk.folder / "retakes"
    saved = {str(path.relative_to(retakes)) for path in retakes.rglob("*.mp4")}
    assert saved == set(keys)

    assert desk.json(*drop, "--dry-run", code=1)["usd"] == 0
    listed = desk.json("ls", "--state", "delivered", "--prefix", "shoot/one")
    assert {job["key"] for job in listed} == set(keys[:2])
    assert len(desk.json("ls", "--limit", "1")) == 1
    job = desk.json("show", "shoot/two.mp4")
    assert (job["mode"], job["prompt"], job["state"]) == ("reimagine_1", "ink", "DELIVERED")
    assert desk.json("show", job["job"][:8])["job"] == job["job"]
    costs = desk.json("cost")
    total = {"jobs": 3, "estimated_usd": 1.8, "usd": 1.8, "unpriced_jobs": 0}
    assert costs["total"] == total
    assert costs["today"]["spent_usd"] == 1.8
    assert desk.stack.ledger()["credits"] > 99_000, "the simulator's balance covers the budget"
    verdicts = {finding["about"]: finding["verdict"] for finding in desk.json("doctor")}
    assert verdicts["key"] == verdicts["credits"] == verdicts["stack"] == "fine"
    desk.run("watch", "--until-done")


def test_an_interrupted_drop_continues_and_the_same_command_resumes_it(desk: Desk) -> None:
    clip = desk.clip("slow.mp4")
    desk.stack.rule(endpoint="submit", match="slow.mp4", settings={"render_seconds": 8})
    drop = ("drop", str(clip), "--prompt", "slow.mp4", "--wait", "--out", "here")
    process = desk.start(*drop)
    assert process.stdout
    for line in process.stdout:
        if "RENDERING" in line:
            break
    process.send_signal(signal.SIGINT)
    output = process.stdout.read()
    assert process.wait(30) == 130
    assert "continue in the cloud" in output
    assert "Traceback" not in output
    desk.run(*drop)
    assert (desk.folder / "here/slow.mp4").stat().st_size
    assert len(desk.stack.submitted("slow.mp4")) == 1


def test_a_new_clip_with_a_new_sidecar_is_one_job(desk: Desk) -> None:
    clip = desk.clip("changed.mp4", "old")
    desk.run("drop", str(clip), "--prompt", "old", "--wait")
    desk.clip("changed.mp4", "new")
    desk.run("drop", str(clip), "--prompt", "new", "--wait")
    submitted = desk.stack.submitted("changed.mp4")
    assert [request["body"]["prompt"] for request in submitted] == ["old", "new"]


def test_a_failure_is_reported_and_can_be_retried(desk: Desk) -> None:
    clip = desk.clip("blocked.mp4")
    failure = {"fail": "content blocked"}
    desk.stack.rule(endpoint="submit", match="blocked", times=1, settings=failure)
    output = desk.run(
        "drop", str(clip), "--prompt", "blocked", "--prefix", "fails", "--wait", code=1
    )
    assert "FAILED" in output
    assert "content blocked" in output
    assert "fails/blocked.mp4" in desk.run("doctor")
    would_be = desk.run("retry", "--failed", "--prefix", "fails/", "--dry-run")
    assert "would be dropped again" in would_be
    assert "dropped again" in desk.run("retry", "--failed", "--prefix", "fails/")
    desk.stack.until("fails/blocked.mp4", "DELIVERED")
    assert "made again" in desk.run("refinish", "fails/blocked.mp4")
    assert "it is delivered" in desk.run("retry", "fails/blocked.mp4", code=1)


def test_dead_drops_are_sent_back(desk: Desk) -> None:
    stack, outputs = desk.stack, desk.stack.cloud.outputs
    body = {"detail": {"bucket": {"name": stack.input}, "object": {"key": "nothing.mp4"}}}
    stack.sqs.send_message(QueueUrl=outputs["DropDeadLetterQueueUrl"], MessageBody=json.dumps(body))
    assert "retake redrive" in desk.run("doctor", code=1)
    assert desk.json("redrive") == {"sent_back": 1, "notices": 0, "ends": 0, "left": 0}
    stack.eventually(lambda: stack.dead_letters() == 0, "an empty dead-letter queue")
    desk.run("doctor")


def test_dead_events_are_sent_back_deleted_or_left(desk: Desk) -> None:
    stack, outputs = desk.stack, desk.stack.cloud.outputs
    end = {"source": "aws.states", "detail": {"input": "{}"}}
    bodies = (
        json.dumps(end),
        json.dumps({"requestPayload": end}),
        account_event("Held", held="key", message="m"),
        '"nonsense"',
    )
    for body in bodies:
        stack.sqs.send_message(QueueUrl=outputs["EventDeadLetterQueueUrl"], MessageBody=body)
    assert "4 events could not be processed" in desk.run("doctor", code=1)
    stack.age("email", sent_at=int(time.time()))  # the next digest is minutes away
    before = stack.waiting("NotificationQueueUrl")
    output = desk.run("redrive")
    assert "1 notification sent back; the next email digest includes them" in output
    assert "2 ends of wait loops deleted; sweep follows up the jobs" in output
    assert "1 unknown event left in the queue" in output
    assert stack.waiting("NotificationQueueUrl") == before + 1
    assert stack.waiting("EventDeadLetterQueueUrl") == 1
    stack.sqs.purge_queue(QueueUrl=outputs["EventDeadLetterQueueUrl"])


def test_the_doctor_finds_an_empty_balance(desk: Desk) -> None:
    desk.stack.configure_simulator(credits=0.2)
    try:
        assert "add credits" in desk.run("doctor", code=1)
    finally:
        desk.stack.configure_simulator(credits=100)


def test_what_does_not_exist_is_explained_in_plain_words(desk: Desk) -> None:
    aws = desk.aws_environment
    output = desk.run("ls", "--stack", "other", "--region", REGION, code=2, **aws)
    assert "there is no stack other" in output
    assert "slow" in desk.run("ls", RETAKE_STACK="retake", AWS_REGION=REGION, **aws)
    assert "no AWS profile" in desk.run("ls", "--profile", "nobody", code=2)
    assert "there is no job" in desk.json("show", "nothing", code=2)["error"]
    assert "choose one of" in desk.run("drop", "shoot", "--mode", "flex_9", code=2)
    assert "does not exist" in desk.run("drop", "nothing.mp4", code=2)

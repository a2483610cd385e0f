"""The real command, as a user runs it, on the embedded cloud."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.cloud import ROOT, Wanted, running
from tests import media
from tests.stack import Stack

LAYERS = [ROOT / "layers/retake/python", ROOT / "layers/dependencies/python"]


class Desk:
    """A folder beside a running embedded cloud, and the command in it."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.folder, self.stack = folder, stack
        (folder / ".local").mkdir()
        (folder / ".local/outputs.json").write_text(json.dumps(stack.cloud.outputs))
        (folder / "shoot").mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RETAKE_"))}
        path = os.pathsep.join([str(ROOT), *map(str, LAYERS), os.environ.get("PYTHONPATH", "")])
        self.environment = kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background inherit that it is ignored
        )

    def run(self, *words: str, code: int = 0, **environment: str) -> str:
        """Run `retake …`, expect its exit code and no traceback, and give what it says."""
        process = self.start(*words, **environment)
        said, _ = process.communicate(timeout=240)
        assert process.returncode == code, said
        assert "Traceback" not in said
        return said

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))

    def clip(self, name: str, title: str = "") -> Path:
        """Make a clip whose content is its own."""
        return media.clip(self.folder / "shoot" / name, "-metadata", f"title={title or name}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    wanted = Wanted(wait_scale=0.005, daily_budget_usd=100_000, simulator=("--render-seconds", "0.5"))
    with running(wanted, tmp_path_factory.mktemp("cloud")) as cloud:
        stack = Stack(cloud)
        yield Desk(tmp_path_factory.mktemp("desk"), stack)
        stack.check()


def test_from_drop_to_doctor(desk: Desk) -> None:
    desk.clip("one.mp4")
    desk.clip("two.mp4")
    (desk.folder / "shoot/two.json").write_text('{"prompt": "ink", "mode": "reimagine_1"}')
    (desk.folder / "shoot/film.mov").write_bytes(b"x")
    drop = ("drop", "shoot", "--prompt", "a watercolour", "--mode", "flex_1", "--mode", "flex_3")
    keys = ["shoot/one.flex_1.mp4", "shoot/one.flex_3.mp4", "shoot/two.mp4"]

    plan = desk.json(*drop, "--dry-run", code=1)
    assert ([job["key"] for job in plan["jobs"]], plan["usd"], len(plan["refused"])) == (keys, 1.8, 1)
    assert desk.json("ls") == []

    said = desk.run(*drop, "--wait", code=1)
    assert "a .mov file is not taken" in said
    assert "3 of 3 are here; 1.80 USD" in said
    saved = {str(path.relative_to(desk.folder / "retakes")) for path in (desk.folder / "retakes").rglob("*.mp4")}
    assert saved == set(keys)

    assert desk.json(*drop, "--dry-run", code=1)["usd"] == 0
    listed = desk.json("ls", "--state", "delivered", "--prefix", "shoot/one")
    assert {job["key"] for job in listed} == set(keys[:2])
    assert len(desk.json("ls", "--limit", "1")) == 1
    story = desk.json("show", "shoot/two.mp4")
    assert (story["mode"], story["prompt"], story["state"]) == ("reimagine_1", "ink", "DELIVERED")
    assert desk.json("show", story["job"][:8])["job"] == story["job"]
    costs = desk.json("cost")
    assert costs["total"] == {"jobs": 3, "usd": 1.8}
    assert costs["today"]["spent_usd"] == 1.8
    assert desk.stack.ledger()["credits"] > 99_000, "the simulator's balance covers the budget"
    found = {finding["about"]: finding["verdict"] for finding in desk.json("doctor")}
    assert found["key"] == found["credits"] == found["stack"] == "fine"
    desk.run("watch", "--until-done")


def test_what_is_interrupted_goes_on_and_is_picked_up(desk: Desk) -> None:
    clip = desk.clip("slow.mp4")
    desk.stack.rule(endpoint="submit", match="slow.mp4", settings={"render_seconds": 8})
    drop = ("drop", str(clip), "--prompt", "fog", "--wait", "--out", "here")
    process = desk.start(*drop)
    assert process.stdout
    for line in process.stdout:
        if "RENDERING" in line:
            break
    process.send_signal(signal.SIGINT)
    said = process.stdout.read()
    assert process.wait(30) == 130
    assert "goes on in the cloud" in said
    assert "Traceback" not in said
    desk.run(*drop)
    assert (desk.folder / "here/slow.mp4").stat().st_size
    assert len(desk.stack.submitted("slow.mp4")) == 1


def test_a_new_clip_with_a_new_note_is_one_job(desk: Desk) -> None:
    clip = desk.clip("changed.mp4", "old")
    desk.run("drop", str(clip), "--prompt", "old", "--wait")
    desk.clip("changed.mp4", "new")
    desk.run("drop", str(clip), "--prompt", "new", "--wait")
    assert [request["body"]["prompt"] for request in desk.stack.submitted("changed.mp4")] == ["old", "new"]


def test_a_failure_is_told_and_tried_again(desk: Desk) -> None:
    clip = desk.clip("blocked.mp4")
    desk.stack.rule(endpoint="submit", match="blocked", times=1, settings={"fail": "content blocked"})
    said = desk.run("drop", str(clip), "--prompt", "fog", "--prefix", "fails", "--wait", code=1)
    assert "FAILED" in said
    assert "content blocked" in said
    assert "fails/blocked.mp4" in desk.run("doctor")
    assert "dropped again" in desk.run("retry", "--failed", "--prefix", "fails/")
    desk.stack.until("fails/blocked.mp4", "DELIVERED")
    assert "it is delivered" in desk.run("retry", "fails/blocked.mp4", code=1)


def test_dead_drops_are_sent_back(desk: Desk) -> None:
    body = {"detail": {"bucket": {"name": desk.stack.input}, "object": {"key": "nothing.mp4"}}}
    desk.stack.sqs.send_message(QueueUrl=desk.stack.cloud.outputs["DropDeadLetterQueueUrl"], MessageBody=json.dumps(body))
    assert "retake redrive" in desk.run("doctor", code=1)
    assert desk.json("redrive") == {"sent_back": 1, "notices": 0, "ends": 0, "left": 0}
    deadline = time.monotonic() + 30
    while desk.stack.dead_letters() and time.monotonic() < deadline:
        time.sleep(0.2)
    desk.run("doctor")


def test_dead_events_are_mailed_or_left_to_sweep(desk: Desk) -> None:
    sqs, outputs = desk.stack.sqs, desk.stack.cloud.outputs
    end = {"source": "aws.states", "detail": {"input": "{}"}}
    notice = {"source": "retake", "detail-type": "Retake Held", "detail": {"held": "key", "message": "m"}}
    for body in (end, {"requestPayload": end}, notice, "nonsense"):
        sqs.send_message(QueueUrl=outputs["EventDeadLetterQueueUrl"], MessageBody=json.dumps(body))
    assert "4 events could not be taken" in desk.run("doctor", code=1)
    desk.stack.age("mail", sent_at=int(time.time()))  # the next mail is minutes away
    before = desk.stack.waiting("NoticeQueueUrl")
    said = desk.run("redrive")
    assert "1 notices are sent back: the next mail tells of them" in said
    assert "2 ends of wait-loops are removed: sweep looks after their jobs" in said
    assert "1 events are left in their queue" in said
    assert desk.stack.waiting("NoticeQueueUrl") == before + 1
    assert desk.stack.waiting("EventDeadLetterQueueUrl") == 1
    sqs.purge_queue(QueueUrl=outputs["EventDeadLetterQueueUrl"])


def test_an_empty_balance_is_found(desk: Desk) -> None:
    desk.stack.segmind("PUT", "/_simulator/settings", json={"credits": 0.2})
    try:
        assert "top up" in desk.run("doctor", code=1)
    finally:
        desk.stack.segmind("PUT", "/_simulator/settings", json={"credits": 100})


def test_what_is_not_there_is_told_in_words(desk: Desk) -> None:
    aws = {"AWS_ENDPOINT_URL": desk.stack.cloud.outputs["Endpoint"], "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    assert "there is no stack other" in desk.run("ls", "--stack", "other", "--region", "eu-central-1", code=2, **aws)
    assert "slow" in desk.run("ls", RETAKE_STACK="retake", AWS_REGION="eu-central-1", **aws)
    assert "no AWS profile" in desk.run("ls", "--profile", "nobody", code=2)
    assert "there is no job" in desk.json("show", "nothing", code=2)["error"]
    assert "choose one of" in desk.run("drop", "shoot", "--mode", "flex_9", code=2)
    assert "does not exist" in desk.run("drop", "nothing.mp4", code=2)

"""What the permissions are for, as short plays: what comes before `yield` is done with all permissions, what follows needs the one."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from local.cloud import STACK, Cloud
from retake.rules.planner import Plan
from retake.rules.states import ENDED, Held
from tests import media
from tests.pipeline.test_events import EVENTS
from tests.stack import Stack

PATIENCE = 120  # seconds for what is not denied
GRACE = 2  # seconds that a denial may be overcome in: a retry, another function
DENIAL = re.compile(r"AccessDenied|not authorized to perform|\(403\) when calling")


class Denied(Exception):
    """A call was denied, and what should happen did not."""


class Scene(Stack):
    """One play: `key` is its clip, `role` the role whose permission is in question."""

    def __init__(self, cloud: Cloud, clip: Path, look: Path) -> None:
        super().__init__(cloud)
        self.clip, self.look, self.key, self.role, self.since = clip, look, "", "", 0
        self._logs, self._lambda = cloud.client("logs"), cloud.client("lambda")
        resources = cloud.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
        self.names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}

    @property
    def verb(self) -> str:
        """The function whose role is in question."""
        return self.role.removesuffix("Role")

    @property
    def job(self) -> dict[str, Any]:
        """The row of the clip's one job."""
        (row,) = [job for job in self.jobs() if job["key"] == self.key]
        return row

    def eventually(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until `look` gives something, not much longer than until a call is denied."""
        deadline, denied = time.monotonic() + PATIENCE, ""
        while time.monotonic() < deadline:
            if found := look():
                return found
            if not denied and (denied := self.denial()):
                deadline = time.monotonic() + GRACE
            time.sleep(0.2)
        raise Denied(denied) if denied else TimeoutError(f"not within {PATIENCE} s: {what}")

    def denial(self) -> str:
        """Give what the function's log tells of a denied call since the permission went; empty when it tells of none."""
        if not self.since or f"{self.verb}Log" not in self.names:
            return ""
        events = self._logs.filter_log_events(logGroupName=self.names[f"{self.verb}Log"], startTime=self.since, limit=10000)["events"]
        return next((_words(event["message"]) for event in events if DENIAL.search(event["message"])), "")

    def invoke(self, verb: str, **event: Any) -> Any:
        """Call a function and wait for its answer."""
        answer = self._lambda.invoke(FunctionName=self.names[f"{verb}Function"], Payload=json.dumps(event).encode())
        said = answer["Payload"].read().decode()
        if "FunctionError" in answer:
            raise Denied(_words(said)) if DENIAL.search(said) else RuntimeError(said)
        return json.loads(said)

    def send(self, verb: str, **event: Any) -> None:
        """Call a function as an event does, which waits for nothing."""
        self._lambda.invoke(FunctionName=self.names[f"{verb}Function"], InvocationType="Event", Payload=json.dumps(event).encode())

    def look_at_job(self, verb: str) -> Any:
        """Call a function for the clip's job, as the wait-loop does; sweep finds it by itself."""
        if verb == "Sweep":
            return self.invoke(verb)
        return self.invoke(verb, job_id=self.job["id"], polls=0, age=0, wait_seconds=0, plan=Plan.learn().as_input())

    def start_anew(self, *verbs: str) -> None:
        """Replace the workers of functions, which keep the key for some minutes."""
        for verb in verbs:
            self._lambda.update_function_configuration(FunctionName=self.names[f"{verb}Function"], Timeout=60)
            self.invoke(verb, **json.loads((EVENTS / f"{verb.lower()}.json").read_text()))

    def settled(self, *states: str) -> None:
        """Wait until the clip's job has ended as it should, and is settled."""
        answer = self.until(self.key, *ENDED)
        if "HTTP 403" in str(answer.get("message")):
            raise Denied(str(answer["message"]))
        assert answer["state"] in (states or ("DELIVERED",)), answer
        self.eventually(lambda: "queue" not in self.job, "a settled job")

    def rewind(self, state: str, **fields: Any) -> None:
        """Put the clip's job back to a state, as a function left it that was killed."""
        self.age(self.job["pk"], state=state, queue="due", at=int(time.time()) + 600, **fields)

    def leave(self, suffix: str) -> None:
        """Leave an answer beside the result, as a function did that was killed."""
        self.s3.put_object(Bucket=self.output, Key=self.key + suffix, Body=b'{"state": "left over"}')

    def stop_run(self, job: str) -> None:
        """Stop a job's wait-loop once it runs, as a person could."""
        machine = self.cloud.outputs["StateMachineArn"]
        run = machine.replace(":stateMachine:", ":execution:") + f":{job}-0"
        self.eventually(lambda: run in str(self.states.list_executions(stateMachineArn=machine, statusFilter="RUNNING")), "its run")
        self.states.stop_execution(executionArn=run)

    def hold(self, probe_at: float) -> None:
        """Put a hold in force until the second `probe_at`."""
        self._gate("SET #hold = :hold", {":hold": {"held": Held.CREDITS, "reason": "a test", "probe_at": int(probe_at), "wait": 60}})

    def lift(self) -> None:
        """End the hold."""
        self._gate("REMOVE #hold", {})

    def late(self, endpoint: str) -> Callable[[], bool]:
        """Have the next answer on the clip's request come late; gives what tells whether it was asked for."""
        self.rule(endpoint=endpoint, match=self.key, times=1, fault="delay", seconds=3)
        return lambda: any(rule["match"] == self.key and rule["fault"] == "delay" and rule["hits"] for rule in self.ledger()["rules"])

    def _gate(self, change: str, values: dict[str, Any]) -> None:
        self.table.update_item(
            Key={"pk": "gate", "sk": "gate"},
            UpdateExpression=f"{change} ADD v :one",
            ExpressionAttributeNames={"#hold": "hold"},
            ExpressionAttributeValues={":one": 1} | values,
        )


Scenario = Callable[[Scene], Iterator[None]]


def a_drop_is_delivered(scene: Scene) -> Iterator[None]:
    yield
    scene.drop_pair(scene.key, scene.clip)
    scene.settled()
    assert scene.read(scene.key)


def a_note_that_comes_first(scene: Scene) -> Iterator[None]:
    note = scene.key[:-4] + ".json"
    scene.drop(note, {})
    place = {"pk": f"place#{scene.input}/{note}", "sk": "place"}
    scene.eventually(lambda: "Item" in scene.table.get_item(Key=place), "a note that waits")
    scene.quiet()
    yield
    scene.drop(scene.key, scene.clip)
    scene.settled()


def a_broken_note_is_refused(scene: Scene) -> Iterator[None]:
    scene.drop(scene.key, scene.clip)
    scene.until(scene.key, "WAITING")
    scene.quiet()
    yield
    scene.drop(scene.key[:-4] + ".json", {"promt": "x"})
    scene.until(scene.key, "REFUSED")
    scene.eventually(lambda: "queue" not in scene.job, "a settled refusal")


def a_mended_note_is_taken(scene: Scene) -> Iterator[None]:
    scene.drop_pair(scene.key, scene.clip, {"promt": "x"})
    scene.settled("REFUSED")
    scene.quiet()
    yield
    scene.drop(scene.key[:-4] + ".json", {"prompt": "x"})
    scene.until(scene.key, "DELIVERED")


def a_first_frame_that_comes_last(scene: Scene) -> Iterator[None]:
    frame = scene.key[:-4] + ".png"
    scene.drop_pair(scene.key, scene.clip, {"first_frame": frame.rpartition("/")[2]})
    scene.eventually(lambda: frame in (scene.until(scene.key, "WAITING"))["message"], "a word on the frame")
    scene.quiet()
    yield
    scene.drop(frame, scene.look)
    scene.settled()


def an_upper_case_clip_is_copied(scene: Scene) -> Iterator[None]:
    scene.key = scene.key[:-4] + ".MP4"
    yield
    scene.drop_pair(scene.key, scene.clip)
    scene.settled()


def a_clip_overwritten_while_it_is_held(scene: Scene) -> Iterator[None]:
    scene.hold(time.time() + 600)
    scene.drop_pair(scene.key, scene.clip)
    first = scene.until(scene.key, "HELD")["job"]
    scene.quiet()
    scene.drop(scene.key, scene.clip.read_bytes() + b"\0\0\0\x08free")
    scene.eventually(lambda: scene.until(scene.key, "HELD", "CLAIMED")["job"] != first, "another job")
    scene.quiet()
    yield
    scene.hold(0)
    scene.invoke("Sweep")
    scene.until(f"{scene.key[:-4]}.{first[:8]}.mp4", "DELIVERED")


def a_new_worker_reads_the_key(scene: Scene) -> Iterator[None]:
    scene.start_anew("Submit", "Poll")
    yield
    scene.drop_pair(scene.key, scene.clip)
    scene.settled()


def a_failed_render_is_told(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, settings={"fail": "blocked"})
    yield
    scene.drop_pair(scene.key, scene.clip)
    scene.settled("FAILED")


def a_leftover_answer_is_replaced(scene: Scene) -> Iterator[None]:
    if scene.verb == "Poll":
        _render_without_an_address(scene)
    else:
        scene.drop_pair(scene.key, scene.clip)
        scene.settled()
        scene.rewind("DELIVERING" if scene.verb == "Deliver" else "DELIVERED")
    if scene.verb == "Deliver":
        scene.rule(endpoint="file", match=scene.key, times=1, fault="answer", status=503)
    elif scene.verb == "Sweep":
        scene.age(scene.job["pk"], at=0)
    scene.leave(".error.json")
    yield
    try:
        scene.look_at_job(scene.verb)
        scene.eventually(lambda: scene.read(scene.key + ".error.json") is None, "the leftover is gone")
    finally:
        if scene.verb == "Poll":
            scene.rewind("FAILED", reason="a test")


def a_job_that_ends_meanwhile(scene: Scene) -> Iterator[None]:
    if scene.verb == "Poll":  # another run's poll ends it, while this one is told of a result without an address
        _render_without_an_address(scene)
        asked, end = scene.late("result"), "FAILED"
    else:  # another delivery finds the file gone, while this one still waits for it
        scene.drop_pair(scene.key, scene.clip)
        scene.settled()
        scene.leave(".job.json")
        scene.rewind("DELIVERING")
        scene.segmind("PUT", "/_simulator/settings", json={"file_life_seconds": 0})
        asked, end = scene.late("file"), "LOST"
    yield
    with ThreadPoolExecutor() as pool:
        looking = pool.submit(scene.look_at_job, scene.verb)
        scene.eventually(lambda: asked() or looking.done(), "a request")
        scene.rewind(end, reason="a test")
        looking.result()
    assert (scene.answer(scene.key) or {})["state"] == end


def _render_without_an_address(scene: Scene) -> None:
    """Have a clip rendered of which the result tells no address, and no wait-loop ask for it: each poll writes that into the answer."""
    scene.rule(endpoint="submit", match=scene.key, settings={"shape": "unknown"})
    scene.drop_pair(scene.key, scene.clip)
    job = scene.eventually(lambda: (answer := scene.answer(scene.key)) and answer.get("reason") and answer["job"], "a reason")
    scene.stop_run(job)
    scene.rewind("RENDERING", reason="-")


def a_broken_upload_is_ended(scene: Scene) -> Iterator[None]:
    noise = "nullsrc=size=320x240:rate=10:duration=1,geq=random(1)*255:128:128"  # does not compress: some blocks are read before it breaks
    scene.drop_pair(scene.key, media.ffmpeg(scene.clip.with_name("noise.mp4"), "-f", "lavfi", "-i", noise))
    scene.settled()
    scene.rewind("DELIVERING")
    scene.rule(endpoint="file", match=scene.key, times=1, fault="chunked", bytes=100_000)
    scene.rule(endpoint="file", match=scene.key, times=1, fault="answer", status=503)
    yield
    assert scene.look_at_job("Deliver")["next"] == "WAIT"
    uploads = scene.s3.list_multipart_uploads(Bucket=scene.output).get("Uploads", [])
    if scene.key in [upload["Key"] for upload in uploads]:  # deliver goes on without a word
        raise Denied("the upload was left unfinished")


def a_free_slot_wakes_the_next(scene: Scene) -> Iterator[None]:
    key = scene.key
    scene.drop_pair(key, scene.clip)
    scene.settled()
    scene.quiet()
    scene.hold(time.time() + 600)
    scene.key = key[:-4] + "-next.mp4"
    scene.drop_pair(scene.key, scene.clip)
    scene.until(scene.key, "HELD")
    scene.quiet()
    scene.lift()
    scene.key = key
    scene.rewind("DELIVERED")
    yield
    scene.look_at_job("Settle")
    scene.until(key[:-4] + "-next.mp4", "DELIVERED")


def a_held_job_goes_on(scene: Scene) -> Iterator[None]:
    scene.hold(time.time() + 600)
    scene.drop_pair(scene.key, scene.clip)
    scene.until(scene.key, "HELD")
    scene.quiet()
    yield
    scene.hold(0)
    scene.invoke("Sweep")
    scene.settled()


def a_result_is_mailed(scene: Scene) -> Iterator[None]:
    scene.drop_pair(scene.key, scene.clip)
    scene.settled()
    scene.eventually(lambda: scene.waiting("NoticeQueueUrl"), "its event in the queue")
    yield

    def mailed() -> bool:
        scene.mail()
        return scene.waiting("NoticeQueueUrl") == 0

    scene.eventually(mailed, "an empty notice queue")


def a_lost_answer_is_found(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, times=1, fault="reset", processed=True)
    scene.drop_pair(scene.key, scene.clip)
    scene.until(scene.key, "SUBMIT_UNKNOWN")
    scene.start_anew("Sweep")
    yield
    scene.due_now()
    scene.invoke("Sweep")
    scene.until(scene.key, "RENDERING")
    scene.invoke("Sweep")
    scene.settled()


def a_stopped_run_is_taken_up_again(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, settings={"render_seconds": 5})
    scene.drop_pair(scene.key, scene.clip)
    job = scene.until(scene.key, "RENDERING")["job"]
    scene.stop_run(job)
    scene.eventually(lambda: scene.job["at"] <= time.time(), "a word from settle")
    yield
    scene.invoke("Sweep")
    scene.settled()


def an_end_that_was_not_settled(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, settings={"fail": "blocked"})
    scene.drop_pair(scene.key, scene.clip)
    scene.settled("FAILED")
    scene.s3.delete_object(Bucket=scene.output, Key=scene.key + ".error.json")
    scene.leave(".job.json")
    scene.rewind("FAILED")
    scene.age(scene.job["pk"], at=0)
    yield
    scene.invoke("Sweep")
    scene.settled("FAILED")


def an_event_that_settle_does_not_take(scene: Scene) -> Iterator[None]:
    yield
    scene.send("Settle", detail={"input": "nonsense"})
    queue = scene.cloud.outputs["EventDeadLetterQueueUrl"]
    scene.eventually(lambda: scene.sqs.receive_message(QueueUrl=queue).get("Messages"), "the event among the dead letters")


def _words(text: str) -> str:
    """Give the part of a log message that names the denied call."""
    found = re.search(r"An error occurred \([^)]*\) when calling the \w+ operation", text)
    return found[0] if found else text[-300:]

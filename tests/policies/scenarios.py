"""What the permissions are for, as short scenarios.

What comes before `yield` is done with all permissions; what follows needs the permission in
question.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from local.cloud import STACK, Cloud
from retake.domain.input_files import sidecar_key, staged_render_key, stem
from retake.domain.job import TERMINAL, FollowUpQueue, Job
from retake.domain.poll_schedule import PollSchedule
from retake.domain.status_file import ERROR_SUFFIX, JOB_SUFFIX
from retake.domain.wait_loop import WaitLoop
from retake.services.fetch import MAX_FINISH_ATTEMPTS
from tests.support import media
from tests.support.stack import Stack
from tests.support.template import EVENTS

PATIENCE_SECONDS = 120  # for what is not denied
GRACE_SECONDS = 2  # in which a denial may be overcome: by a retry, or another function
HOLD_SECONDS = 600
DENIAL = re.compile(r"AccessDenied|not authorized to perform|\(403\) when calling")
# Does not compress, so some blocks are read before a download breaks.
NOISE = "nullsrc=size=320x240:rate=10:duration=1,geq=random(1)*255:128:128"


class DeniedError(Exception):
    """A call was denied, and what should happen did not."""


class Scene(Stack):
    """Where one scenario is played.

    Attributes:
        clip: a small clip.
        look: a small image.
        key: the key of the scenario's clip.
        role: the role whose permission is in question.
        since: when the permission was removed, in milliseconds since the epoch; 0 if it was not.
        names: the physical names of the stack's resources.
    """

    def __init__(self, cloud: Cloud, clip: Path, look: Path) -> None:
        super().__init__(cloud)
        self.clip, self.look = clip, look
        self.key, self.role, self.since = "", "", 0
        self._logs, self._functions = cloud.client("logs"), cloud.client("lambda")
        found = cloud.client("cloudformation").describe_stack_resources(StackName=STACK)
        self.names: dict[str, str] = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in found["StackResources"]
        }

    @property
    def verb(self) -> str:
        """Return the function whose role is in question."""
        return self.role.removesuffix("Role")

    @property
    def job(self) -> Job:
        """Return the clip's only job."""
        return self.job_of(self.key)

    def eventually(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until `look` returns something, not much longer than until a call is denied."""
        deadline, denial = time.monotonic() + PATIENCE_SECONDS, ""
        while time.monotonic() < deadline:
            if found := look():
                return found
            if not denial:
                denial = self.denial()
                if denial:
                    deadline = time.monotonic() + GRACE_SECONDS
            time.sleep(0.2)
        if denial:
            raise DeniedError(denial)
        raise TimeoutError(f"not within {PATIENCE_SECONDS} s: {what}")

    def denial(self) -> str:
        """Return what the function's log says about a denied call since the removal, if it does."""
        log = f"{self.verb}Log"
        if not self.since or log not in self.names:
            return ""
        found = self._logs.filter_log_events(
            logGroupName=self.names[log], startTime=self.since, limit=10000
        )
        messages = (event["message"] for event in found["events"])
        return next((_denied_call(text) for text in messages if DENIAL.search(text)), "")

    # ─── Functions ────────────────────────────────────────────────────────────────────────────

    def invoke(self, verb: str, event: dict[str, Any] | None = None) -> Any:
        """Call a function and return what it returns."""
        name, payload = self.names[f"{verb}Function"], json.dumps(event or {}).encode()
        response = self._functions.invoke(FunctionName=name, Payload=payload)
        text = response["Payload"].read().decode()
        if "FunctionError" not in response:
            return json.loads(text)
        if DENIAL.search(text):
            raise DeniedError(_denied_call(text))
        raise RuntimeError(text)

    def send(self, verb: str, event: dict[str, Any]) -> None:
        """Call a function as EventBridge does, without waiting for it."""
        self._functions.invoke(
            FunctionName=self.names[f"{verb}Function"],
            InvocationType="Event",
            Payload=json.dumps(event).encode(),
        )

    def process_job(self, verb: str) -> Any:
        """Call a function for the clip's job, as the wait loop does; `sweep` finds it itself."""
        if verb == "Sweep":
            return self.invoke(verb)
        job = self.job
        loop = WaitLoop(job_id=job.id, run=job.run, schedule=PollSchedule.learn())
        return self.invoke(verb, loop.as_event())

    def replace_workers(self, *verbs: str) -> None:
        """Replace the workers of functions, which keep the API key for some minutes."""
        for verb in verbs:
            self._functions.update_function_configuration(
                FunctionName=self.names[f"{verb}Function"], Timeout=60
            )
            self.invoke(verb, json.loads((EVENTS / f"{verb.lower()}.json").read_text()))

    def stop_wait_loop(self, job_id: str) -> None:
        """Stop a job's wait loop as soon as it runs, as a person can."""
        name = f"{job_id}-0"
        self.eventually(lambda: name in self.running_executions(), "its execution")
        self.stop_execution(name)

    # ─── The clip's job ───────────────────────────────────────────────────────────────────────

    def until_settled(self, *states: str) -> None:
        """Wait until the clip's job has ended as it should, and is settled."""
        status = self.until(self.key, *TERMINAL)
        if "HTTP 403" in str(status.get("message")):
            raise DeniedError(str(status["message"]))
        assert status["state"] in (states or ("DELIVERED",)), status
        self.eventually(lambda: self.job.follow_up is None, "a settled job")

    def rewind(self, state: str, **fields: Any) -> None:
        """Put the clip's job back into a state, as a function left it that was killed."""
        due_at = int(time.time()) + HOLD_SECONDS
        follow_up = {"follow_up": FollowUpQueue.DUE, "follow_up_at": due_at}
        self.age(f"job#{self.job.id}", **{"state": state, **follow_up, **fields})

    def make_due(self) -> None:
        """Make the clip's job due for follow-up."""
        self.age(f"job#{self.job.id}", follow_up_at=0)

    def leave(self, suffix: str) -> None:
        """Leave a status file behind, as a function did that was killed."""
        body = b'{"state": "left over"}'
        self.s3.put_object(Bucket=self.output, Key=self.key + suffix, Body=body)

    def hold_jobs(self) -> None:
        """Hold all jobs."""
        self.open_circuit(time.time() + HOLD_SECONDS)

    def delay_response(self, endpoint: str) -> Callable[[], bool]:
        """Delay Segmind's next response about the clip; return what tells if it was requested."""
        self.rule(endpoint=endpoint, match=self.key, times=1, fault="delay", seconds=3)

        def is_requested() -> bool:
            rules = [rule for rule in self.ledger()["rules"] if rule["match"] == self.key]
            return any(rule["fault"] == "delay" and rule["hits"] for rule in rules)

        return is_requested


Scenario = Callable[[Scene], Iterator[None]]


def a_drop_is_delivered(scene: Scene) -> Iterator[None]:
    yield
    scene.drop_pair(scene.key, scene.clip)
    scene.until_settled()
    assert scene.read(scene.key)


def a_clip_joins_its_waiting_sidecar(scene: Scene) -> Iterator[None]:
    sidecar = sidecar_key(scene.key)
    scene.drop(sidecar, {})
    record = {"pk": f"input#{scene.input}/{sidecar}", "sk": "input"}
    scene.eventually(lambda: "Item" in scene.table.get_item(Key=record), "a waiting sidecar")
    scene.until_drained()
    yield
    scene.drop(scene.key, scene.clip)
    scene.until_settled()


def an_invalid_sidecar_is_refused(scene: Scene) -> Iterator[None]:
    scene.drop(scene.key, scene.clip)
    scene.until(scene.key, "WAITING")
    scene.until_drained()
    yield
    scene.drop(sidecar_key(scene.key), {"promt": "x"})
    scene.until(scene.key, "REFUSED")
    scene.eventually(lambda: scene.job.follow_up is None, "a settled refusal")


def a_corrected_sidecar_is_accepted(scene: Scene) -> Iterator[None]:
    scene.drop_pair(scene.key, scene.clip, {"promt": "x"})
    scene.until_settled("REFUSED")
    scene.until_drained()
    yield
    scene.drop(sidecar_key(scene.key), {"prompt": "x"})
    scene.until(scene.key, "DELIVERED")


def a_first_frame_arrives_last(scene: Scene) -> Iterator[None]:
    frame = f"{stem(scene.key)}.png"
    scene.drop_pair(scene.key, scene.clip, {"first_frame": frame.rpartition("/")[2]})
    scene.eventually(
        lambda: frame in scene.until(scene.key, "WAITING")["message"],
        "the first frame in the message",
    )
    scene.until_drained()
    yield
    scene.drop(frame, scene.look)
    scene.until_settled()


def a_first_frame_is_prepared(scene: Scene) -> Iterator[None]:
    frame = f"{stem(scene.key)}.png"
    yield
    scene.drop(frame, scene.look)
    scene.drop_pair(scene.key, scene.clip, {"first_frame": frame.rpartition("/")[2]})
    scene.until_settled()


def a_clip_with_sound_is_finished(scene: Scene) -> Iterator[None]:
    sound = ("-f", "lavfi", "-i", "sine", "-shortest", "-c:v", "copy")
    clip = media.ffmpeg(scene.clip.with_name("sound.mp4"), "-i", str(scene.clip), *sound)
    yield
    scene.drop_pair(scene.key, clip)
    scene.until_settled()


def a_new_worker_reads_the_key(scene: Scene) -> Iterator[None]:
    scene.replace_workers("Submit", "Poll")
    yield
    scene.drop_pair(scene.key, scene.clip)
    scene.until_settled()


def a_failed_render_is_reported(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, settings={"fail": "blocked"})
    yield
    scene.drop_pair(scene.key, scene.clip)
    scene.until_settled("FAILED")


_IN_STATE = {"Fetch": "FETCHING", "Finish": "FINISHING"}  # in which a function finds a job


def a_leftover_status_file_is_replaced(scene: Scene) -> Iterator[None]:
    if scene.verb == "Poll":
        _render_without_a_url(scene)
    else:
        scene.drop_pair(scene.key, scene.clip)
        scene.until_settled()
        scene.rewind(_IN_STATE.get(scene.verb, "DELIVERED"))
    if scene.verb == "Fetch":
        scene.rule(endpoint="file", match=scene.key, times=1, fault="answer", status=503)
    elif scene.verb == "Sweep":
        scene.make_due()
    scene.leave(ERROR_SUFFIX)
    yield
    try:
        scene.process_job(scene.verb)
        scene.eventually(
            lambda: scene.read(scene.key + ERROR_SUFFIX) is None, "the leftover is gone"
        )
    finally:
        if scene.verb == "Poll":
            scene.rewind("FAILED", reason="a test")


def a_film_that_cannot_be_finished_is_delivered_as_rendered(scene: Scene) -> Iterator[None]:
    scene.drop_pair(scene.key, scene.clip)
    scene.until_settled()
    scene.rewind("FINISHING", finish_attempts=MAX_FINISH_ATTEMPTS)
    yield
    assert scene.process_job("Fetch")["next"] == "SETTLE"
    assert scene.job.warnings


def a_job_ends_meanwhile(scene: Scene) -> Iterator[None]:
    if scene.verb == "Poll":
        # Another poll ends it, while this one waits for a result without a URL.
        _render_without_a_url(scene)
        is_requested, end = scene.delay_response("result"), "FAILED"
    else:
        # Another fetch finds that the file is gone, while this one still waits for it.
        scene.drop_pair(scene.key, scene.clip)
        scene.until_settled()
        scene.leave(JOB_SUFFIX)
        scene.rewind("FETCHING")
        scene.configure_simulator(file_life_seconds=0)
        is_requested, end = scene.delay_response("file"), "LOST"
    yield
    with ThreadPoolExecutor() as pool:
        processing = pool.submit(scene.process_job, scene.verb)
        scene.eventually(lambda: is_requested() or processing.done(), "a request")
        scene.rewind(end, reason="a test")
        processing.result()
    assert (scene.status(scene.key) or {})["state"] == end


def _render_without_a_url(scene: Scene) -> None:
    """Have a clip rendered whose result has no URL, and stop its wait loop.

    Each poll writes into the status file that it has no URL.
    """
    scene.rule(endpoint="submit", match=scene.key, settings={"shape": "unknown"})
    scene.drop_pair(scene.key, scene.clip)
    scene.eventually(lambda: (scene.status(scene.key) or {}).get("reason"), "a reason")
    scene.stop_wait_loop(scene.job.id)
    scene.rewind("RENDERING", reason="-")


def a_broken_upload_is_aborted(scene: Scene) -> Iterator[None]:
    noise = media.ffmpeg(scene.clip.with_name("noise.mp4"), "-f", "lavfi", "-i", NOISE)
    scene.drop_pair(scene.key, noise)
    scene.until_settled()
    scene.rewind("FETCHING")
    scene.rule(endpoint="file", match=scene.key, times=1, fault="chunked", bytes=100_000)
    scene.rule(endpoint="file", match=scene.key, times=1, fault="answer", status=503)
    yield
    assert scene.process_job("Fetch")["next"] == "WAIT"
    uploads = scene.s3.list_multipart_uploads(Bucket=scene.staging).get("Uploads", [])
    if staged_render_key(scene.job.id) in [upload["Key"] for upload in uploads]:  # not logged
        raise DeniedError("the upload was left unfinished")


def a_free_slot_wakes_the_next_job(scene: Scene) -> Iterator[None]:
    key, next_key = scene.key, f"{stem(scene.key)}-next.mp4"
    scene.drop_pair(key, scene.clip)
    scene.until_settled()
    scene.until_drained()
    scene.hold_jobs()
    scene.drop_pair(next_key, scene.clip)
    scene.until(next_key, "HELD")
    scene.until_drained()
    scene.close_circuit()
    scene.rewind("DELIVERED")
    yield
    scene.process_job("Settle")
    scene.until(next_key, "DELIVERED")


def a_held_job_continues(scene: Scene) -> Iterator[None]:
    scene.hold_jobs()
    scene.drop_pair(scene.key, scene.clip)
    scene.until(scene.key, "HELD")
    scene.until_drained()
    yield
    scene.open_circuit(probe_at=0)
    scene.invoke("Sweep")
    scene.until_settled()


def a_result_is_emailed(scene: Scene) -> Iterator[None]:
    scene.drop_pair(scene.key, scene.clip)
    scene.until_settled()
    scene.eventually(lambda: scene.waiting("NotificationQueueUrl"), "its event in the queue")
    yield

    def is_emailed() -> bool:
        scene.send_digest()
        return scene.waiting("NotificationQueueUrl") == 0

    scene.eventually(is_emailed, "an empty notification queue")


def the_events_of_a_drop_are_lost(scene: Scene) -> Iterator[None]:
    frame = f"{stem(scene.key)}.png"
    with scene.losing_events():
        scene.drop(frame, scene.look)
        scene.drop_pair(scene.key, scene.clip, {"first_frame": Path(frame).name})
    yield
    scene.audit()
    scene.until_settled()
    if denial := scene.denial():  # the audit only logs that a record cannot be read
        raise DeniedError(denial)


def a_lost_response_is_found(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, times=1, fault="reset", processed=True)
    scene.drop_pair(scene.key, scene.clip)
    scene.until(scene.key, "SUBMIT_UNKNOWN")
    scene.replace_workers("Sweep")
    yield
    scene.make_all_due()
    scene.invoke("Sweep")
    scene.until(scene.key, "RENDERING")
    scene.invoke("Sweep")
    scene.until_settled()


def a_stopped_execution_is_replaced(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, settings={"render_seconds": 5})
    scene.drop_pair(scene.key, scene.clip)
    scene.stop_wait_loop(scene.until(scene.key, "RENDERING")["job"])
    scene.eventually(lambda: _is_due(scene.job), "that settle makes it due")
    yield
    scene.invoke("Sweep")
    scene.until_settled()


def an_ended_job_is_settled(scene: Scene) -> Iterator[None]:
    scene.rule(endpoint="submit", match=scene.key, settings={"fail": "blocked"})
    scene.drop_pair(scene.key, scene.clip)
    scene.until_settled("FAILED")
    scene.s3.delete_object(Bucket=scene.output, Key=scene.key + ERROR_SUFFIX)
    scene.leave(JOB_SUFFIX)
    scene.rewind("FAILED")
    scene.make_due()
    yield
    scene.invoke("Sweep")
    scene.until_settled("FAILED")


def an_event_that_settle_cannot_process_is_kept(scene: Scene) -> Iterator[None]:
    yield
    scene.send("Settle", {"detail": {"input": "nonsense"}})
    queue = scene.cloud.outputs["EventDeadLetterQueueUrl"]
    scene.eventually(
        lambda: scene.sqs.receive_message(QueueUrl=queue).get("Messages"), "a dead letter"
    )


def _is_due(job: Job) -> bool:
    return job.follow_up is not None and job.follow_up.at <= time.time()


def _denied_call(text: str) -> str:
    """Return the part of a log message that names the denied call."""
    found = re.search(r"An error occurred \([^)]*\) when calling the \w+ operation", text)
    return found[0] if found else text[-300:]

"""Two stacks in one account and Region know nothing of each other."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from local.cloud import LOCAL_KEY, Cloud, CloudConfig, deploy, running
from retake.domain.job import State
from tests.support.mailbox import mailbox, received
from tests.support.stack import Stack

QUEUES = ("DropQueueUrl", "DropDeadLetterQueueUrl", "EventDeadLetterQueueUrl")


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[list[Stack]]:
    """Two stacks in one account: `retake` and `second`."""
    config = CloudConfig(wait_scale=0.005, simulator=("--render-seconds", "0.3"))
    with running(config, tmp_path) as cloud:
        simulator = cloud.outputs["Simulator"]
        parameters = {
            "SegmindApiKey": LOCAL_KEY,
            "SegmindBaseUrl": simulator,
            "SegmindHistoryUrl": f"{simulator}/inference-request",
            "RequestsPerMinute": "10000",
        }
        outputs = deploy(cloud.outputs["Endpoint"], parameters, tmp_path, stack="second")
        yield [Stack(cloud), Stack(Cloud(cloud.outputs | outputs, cloud.pids))]


def test_events_emails_jobs_and_buckets_of_two_stacks_do_not_mix(
    stacks: list[Stack], clip: Path
) -> None:
    own = {stack.input: f"own/{stack.input}.mp4" for stack in stacks}
    lost = {"fault": "reset", "processed": True}
    with ExitStack() as context:
        mailboxes = [context.enter_context(mailbox(stack)) for stack in stacks]
        stacks[0].rule(endpoint="submit", match="same/lost", times=2, **lost)
        stacks[0].rule(endpoint="submit", match="own/", settings={"render_seconds": 3})
        for stack in stacks:
            # Content, key, and instructions are the same, so only the bucket tells them apart.
            for key in ("same/clip.mp4", "same/lost.mp4", own[stack.input]):
                stack.drop_pair(key, clip)
        for stack in stacks:
            stack.until(own[stack.input], "RENDERING")
            find_wait_loop = partial(stack.running_executions_of, own[stack.input])
            (wait_loop,) = stack.eventually(find_wait_loop, "its wait loop")
            stack.stop_execution(wait_loop)
        for stack in stacks:
            keys = ("same/clip.mp4", "same/lost.mp4", own[stack.input])
            stack.recover(dict.fromkeys(keys, "DELIVERED"))
        assert stacks[0].unmet_rules("") == []
        for stack, queue in zip(stacks, mailboxes, strict=True):
            (other,) = (each for each in stacks if each is not stack)
            check_jobs(stack, own[stack.input])
            check_logs(stack, other)
            check_emails(stack, other, queue)
    paid = [request["request_id"] for request in stacks[0].ledger()["requests"] if request["paid"]]
    known = [job.request_id for stack in stacks for job in stack.jobs()]
    assert sorted(paid) == sorted(map(str, known))


def check_jobs(stack: Stack, own_key: str) -> None:
    """Check that a stack has its own jobs and files, and that its queues are empty."""
    keys = {"same/clip.mp4", "same/lost.mp4", own_key}
    assert {(job.bucket, job.key) for job in stack.jobs()} == {(stack.input, key) for key in keys}
    assert {job.state for job in stack.jobs()} == {State.DELIVERED}
    listed = stack.s3.list_objects_v2(Bucket=stack.output)["Contents"]
    files = {key + suffix for key in keys for suffix in ("", ".job.json")}
    assert {item["Key"] for item in listed} == files
    for job in stack.jobs():
        (request,) = [each for each in stack.submitted(job.key) if job.request_id in each.values()]
        assert f"/{stack.staging}/" in request["body"]["video_url"]
        assert stack.is_film(job.key, str(job.request_id))
    assert [stack.waiting(queue) for queue in QUEUES] == [0, 0, 0]


def check_logs(stack: Stack, other: Stack) -> None:
    """Check that the functions of a stack never saw a job of another one."""
    logs, functions = stack.cloud.client("logs"), stack.cloud.client("lambda")
    prefix = stack.cloud.outputs["SubmitFunctionName"].partition("Submit")[0]
    groups = [
        each["LoggingConfig"]["LogGroup"]
        for each in functions.list_functions()["Functions"]
        if each["FunctionName"].startswith(prefix)
    ]
    events = [logs.filter_log_events(logGroupName=name, limit=10000)["events"] for name in groups]
    text = "".join(event["message"] for group in events for event in group)
    assert all(job.id in text for job in stack.jobs())
    assert not any(job.id in text for job in other.jobs())
    assert other.input not in text


def check_emails(stack: Stack, other: Stack, queue: str) -> None:
    """Check that the emails of a stack are about its own outcomes."""

    def all_sent() -> bool:
        stack.send_digest()
        return stack.waiting("NotificationQueueUrl") == 0

    stack.eventually(all_sent, "the emails")
    text = "".join(email["Message"] for email in received(stack, queue))
    for job in stack.jobs():
        assert f"s3://{stack.output}/{job.key}" in text
    assert other.output not in text

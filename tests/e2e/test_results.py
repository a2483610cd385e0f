"""From a request to its result: every shape, broken downloads, stopped executions, events."""

import json
from pathlib import Path
from typing import Any

from local.simulator.settings import JSON_SHAPES, SHAPES
from tests.support.stack import Stack


def check_delivered(pipeline: Stack, key: str) -> None:
    """Wait for a retake, and compare it with what Segmind has."""
    status = pipeline.until(key, "DELIVERED")
    assert pipeline.is_film(key, status["request_id"]), key


def test_every_shape_of_a_result_is_understood(pipeline: Stack, clip: Path) -> None:
    shapes = [shape for shape in (*SHAPES, *JSON_SHAPES) if shape != "unknown"]
    for shape in shapes:
        settings = {"shape": shape}
        pipeline.rule(endpoint="submit", match=f"shape/{shape}.", settings=settings)
        pipeline.drop_pair(f"shape/{shape}.mp4", clip)
    for shape in shapes:
        check_delivered(pipeline, f"shape/{shape}.mp4")
    assert pipeline.unmet_rules("shape/") == []


def test_a_result_of_unknown_shape_is_kept_for_a_person(pipeline: Stack, clip: Path) -> None:
    pipeline.rule(endpoint="submit", match="strange/", settings={"shape": "unknown"})
    pipeline.drop_pair("strange/clip.mp4", clip)

    def with_reason() -> dict[str, Any] | None:
        status = pipeline.status("strange/clip.mp4")
        return status if status and status.get("reason") else None

    status = pipeline.eventually(with_reason, "a reason")
    assert status["state"] == "RENDERING"
    assert "no URL" in status["reason"]


def test_failures_have_their_reason_and_cost_nothing(pipeline: Stack, clip: Path) -> None:
    forms: list[dict[str, Any]] = [
        {"fail_as": "error"},
        {"fail_as": "detail"},
        {"fail_as": "detail_list"},
        {"fail_as": "error", "failed_status": 200},
    ]
    for number, form in enumerate(forms):
        settings = {"fail": f"blocked {number}"} | form
        pipeline.rule(endpoint="submit", match=f"fail/{number}.", settings=settings)
        pipeline.drop_pair(f"fail/{number}.mp4", clip)
    for number in range(len(forms)):
        status = pipeline.until(f"fail/{number}.mp4", "FAILED")
        assert f"blocked {number}" in status["message"]
        assert status["paid"] is False
        assert pipeline.read(f"fail/{number}.mp4") is None


def test_downloads_that_break_or_hide_their_length_arrive_complete(
    pipeline: Stack, clip: Path
) -> None:
    faults: dict[str, dict[str, Any]] = {
        "broken": {"fault": "break", "bytes": 500, "times": 2},
        "chunked": {"fault": "chunked"},
        "late": {"fault": "delay", "seconds": 1},
    }
    for name, fault in faults.items():
        pipeline.rule(endpoint="file", match=f"download/{name}.", **fault)
        pipeline.drop_pair(f"download/{name}.mp4", clip)
    for name in faults:
        check_delivered(pipeline, f"download/{name}.mp4")
    assert pipeline.unmet_rules("download/") == []


def test_a_file_that_is_not_a_video_or_has_another_length_is_not_delivered(
    pipeline: Stack, clip: Path
) -> None:
    faults: dict[str, dict[str, Any]] = {
        "page": {"fault": "content", "body": "<html>sorry</html>"},
        "short": {"fault": "length", "bytes": 100},
    }
    for name, fault in faults.items():
        pipeline.rule(endpoint="file", match=f"wrong/{name}.", times=2, **fault)
        pipeline.drop_pair(f"wrong/{name}.mp4", clip)
    for name in faults:
        check_delivered(pipeline, f"wrong/{name}.mp4")
    assert pipeline.unmet_rules("wrong/") == []


def test_a_stopped_execution_is_replaced(pipeline: Stack, clip: Path) -> None:
    pipeline.rule(endpoint="submit", match="stopped/", settings={"render_seconds": 6})
    pipeline.drop_pair("stopped/clip.mp4", clip)
    job_id = pipeline.until("stopped/clip.mp4", "RENDERING")["job"]
    execution = f"{job_id}-0"
    pipeline.eventually(lambda: execution in pipeline.running_executions(), "its execution")
    pipeline.stop_execution(execution)
    pipeline.eventually(
        lambda: pipeline.job_of("stopped/clip.mp4").version > 3, "that settle makes it due"
    )
    pipeline.sweep()
    pipeline.until("stopped/clip.mp4", "DELIVERED")
    assert len(pipeline.submitted("stopped/")) == 1


def test_each_outcome_is_published_as_one_event(pipeline: Stack, clip: Path) -> None:
    queue = subscribe(pipeline, clip_suffix="outcome/clip.mp4")
    pipeline.drop("outcome/clip.json", {"mode": "x"})
    pipeline.drop("outcome/clip.mp4", clip)
    pipeline.until("outcome/clip.mp4", "REFUSED")
    pipeline.drop("outcome/clip.json", {"mode": "flex_1"})
    pipeline.until("outcome/clip.mp4", "DELIVERED")

    events: list[dict[str, Any]] = []

    def both() -> bool:
        received = pipeline.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        events.extend(json.loads(message["Body"]) for message in received.get("Messages", []))
        return len(events) >= 2

    pipeline.eventually(both, "two events")
    assert [event["detail-type"] for event in events] == ["Retake Refused", "Retake Delivered"]
    assert events[1]["detail"]["result"] == f"s3://{pipeline.output}/outcome/clip.mp4"


def subscribe(pipeline: Stack, clip_suffix: str) -> str:
    """Create a queue that receives the events about a clip, and return its URL."""
    queue: str = pipeline.sqs.create_queue(QueueName="outcomes")["QueueUrl"]
    attributes = pipeline.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    pattern = {"source": ["retake"], "detail": {"clip": [{"suffix": clip_suffix}]}}
    events = pipeline.cloud.client("events")
    events.put_rule(Name="outcomes", EventPattern=json.dumps(pattern))
    target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
    events.put_targets(Rule="outcomes", Targets=[target])
    return queue

"""From a request to its result: every shape, broken downloads, and runs that end in the middle."""

import json
from pathlib import Path

from local.simulator.settings import JSON_SHAPES, SHAPES
from tests.stack import Stack


def test_every_shape_of_a_result_is_understood(pipeline: Stack, clip: Path) -> None:
    shapes = [shape for shape in (*SHAPES, *JSON_SHAPES) if shape != "unknown"]
    for shape in shapes:
        pipeline.rule(endpoint="submit", match=f"shape/{shape}.", settings={"shape": shape})
        pipeline.drop_pair(f"shape/{shape}.mp4", clip)
    for shape in shapes:
        answer = pipeline.until(f"shape/{shape}.mp4", "DELIVERED")
        assert pipeline.read(f"shape/{shape}.mp4") == pipeline.rendered(answer["request_id"]), shape


def test_a_result_of_unknown_shape_keeps_the_job_for_a_person(pipeline: Stack, clip: Path) -> None:
    pipeline.rule(endpoint="submit", match="strange/", settings={"shape": "unknown"})
    pipeline.drop_pair("strange/clip.mp4", clip)
    answer = pipeline.eventually(lambda: (a := pipeline.answer("strange/clip.mp4")) and a.get("reason") and a, "a reason")
    assert answer["state"] == "RENDERING"
    assert "no address" in answer["reason"]


def test_failures_tell_their_reason_and_cost_nothing(pipeline: Stack, clip: Path) -> None:
    for number, settings in enumerate(
        [{"fail_as": "error"}, {"fail_as": "detail"}, {"fail_as": "detail_list"}, {"fail_as": "error", "failed_status": 200}]
    ):
        pipeline.rule(endpoint="submit", match=f"fail/{number}.", settings={"fail": f"blocked {number}"} | settings)
        pipeline.drop_pair(f"fail/{number}.mp4", clip)
    for number in range(4):
        answer = pipeline.until(f"fail/{number}.mp4", "FAILED")
        assert f"blocked {number}" in answer["message"]
        assert answer["paid"] is False
        assert pipeline.read(f"fail/{number}.mp4") is None


def test_downloads_that_break_or_hide_their_length_arrive_whole(pipeline: Stack, clip: Path) -> None:
    faults = {
        "broken": {"fault": "break", "bytes": 500, "times": 2},
        "chunked": {"fault": "chunked"},
        "late": {"fault": "delay", "seconds": 1},
    }
    for name, fault in faults.items():
        pipeline.rule(endpoint="file", match=f"download/{name}.", **fault)
        pipeline.drop_pair(f"download/{name}.mp4", clip)
    for name in faults:
        answer = pipeline.until(f"download/{name}.mp4", "DELIVERED")
        assert pipeline.read(f"download/{name}.mp4") == pipeline.rendered(answer["request_id"]), name


def test_a_result_that_is_no_video_or_lies_about_its_length_is_not_delivered(pipeline: Stack, clip: Path) -> None:
    faults = {"page": {"fault": "content", "body": "<html>sorry</html>"}, "liar": {"fault": "length", "bytes": 100}}
    for name, fault in faults.items():
        pipeline.rule(endpoint="file", match=f"lies/{name}.", times=2, **fault)
        pipeline.drop_pair(f"lies/{name}.mp4", clip)
    for name in faults:
        answer = pipeline.until(f"lies/{name}.mp4", "DELIVERED")
        assert pipeline.read(f"lies/{name}.mp4") == pipeline.rendered(answer["request_id"]), name


def test_a_run_that_was_stopped_is_taken_up_again(pipeline: Stack, clip: Path) -> None:
    pipeline.rule(endpoint="submit", match="stopped/", settings={"render_seconds": 6})
    pipeline.drop_pair("stopped/clip.mp4", clip)
    job = pipeline.until("stopped/clip.mp4", "RENDERING")["job"]
    pipeline.eventually(lambda: f"{job}-0" in pipeline.running(), "its run")
    pipeline.stop(f"{job}-0")
    pipeline.eventually(lambda: pipeline.table.get_item(Key={"pk": f"job#{job}", "sk": "job"})["Item"]["v"] > 3, "a word from settle")
    pipeline.sweep()
    pipeline.until("stopped/clip.mp4", "DELIVERED")
    assert len(pipeline.submitted("stopped/")) == 1


def test_one_event_per_outcome(pipeline: Stack, clip: Path) -> None:
    queue = pipeline.sqs.create_queue(QueueName="outcomes")["QueueUrl"]
    arn = pipeline.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = pipeline.cloud.client("events")
    events.put_rule(Name="outcomes", EventPattern=json.dumps({"source": ["retake"], "detail": {"clip": [{"suffix": "outcome/clip.mp4"}]}}))
    events.put_targets(Rule="outcomes", Targets=[{"Id": "queue", "Arn": arn}])
    pipeline.drop("outcome/clip.json", {"mode": "x"})
    pipeline.drop("outcome/clip.mp4", clip)
    pipeline.until("outcome/clip.mp4", "REFUSED")
    pipeline.drop("outcome/clip.json", {"mode": "flex_1"})
    pipeline.until("outcome/clip.mp4", "DELIVERED")

    seen: list[dict[str, object]] = []

    def both() -> bool:
        for message in pipeline.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            seen.append(json.loads(message["Body"]))
        return len(seen) >= 2

    pipeline.eventually(both, "two events")
    assert [event["detail-type"] for event in seen] == ["Retake Refused", "Retake Delivered"]
    assert seen[1]["detail"]["result"] == f"s3://{pipeline.output}/outcome/clip.mp4"  # type: ignore[index]

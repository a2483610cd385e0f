"""An account's trouble is not a job's failure: budget, credits, key."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import Wanted, deploy, running
from tests.stack import Stack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("poor")


@pytest.fixture(scope="module")
def poor(folder: Path) -> Iterator[Stack]:
    with running(Wanted(wait_scale=0.005, daily_budget_usd=1.9, simulator=("--render-seconds", "0.3")), folder) as cloud:
        yield Stack(cloud)


def drop(stack: Stack, clip: Path, name: str, number: int) -> list[str]:
    keys = [f"{name}/{n}.mp4" for n in range(number)]
    for key in keys:
        stack.drop(key, clip)
        stack.drop(key[:-4] + ".json", {"prompt": key})
    return keys


def probe_now(stack: Stack) -> None:
    """Let the time come to try whether a hold is over."""
    stack.table.update_item(
        Key={"pk": "gate", "sk": "gate"},
        UpdateExpression="SET #hold.probe_at = :past",
        ExpressionAttributeNames={"#hold": "hold"},
        ExpressionAttributeValues={":past": 0},
    )
    stack.sweep()


def outcomes(stack: Stack, keys: list[str]) -> list[tuple[str, str]]:
    answers = [stack.answer(key) or {} for key in keys]
    return [(str(answer.get("state")), str(answer.get("held", ""))) for answer in answers]


def test_the_budget_parks_the_rest_until_it_is_raised(poor: Stack, clip: Path, folder: Path) -> None:
    keys = drop(poor, clip, "budget", 6)
    poor.eventually(
        lambda: sorted(outcomes(poor, keys)) == [("DELIVERED", "")] * 3 + [("HELD", "budget")] * 3, "three delivered, three parked"
    )
    poor.sweep()
    poor.quiet()
    assert poor.ledger()["paid_requests"] == 3
    held = next(answer for key in keys if (answer := poor.answer(key)) and answer["state"] == "HELD")
    assert "1.9 USD" in held["reason"]
    parameters = {"SegmindApiKey": "SG_local_simulator", "SegmindBaseUrl": poor.cloud.outputs["Simulator"], "DailyBudgetUsd": "100"}
    parameters |= {"SegmindHistoryUrl": poor.cloud.outputs["Simulator"] + "/inference-request", "RequestsPerMinute": "10000"}
    deploy(poor.cloud.outputs["Endpoint"], parameters, folder)
    poor.recover(dict.fromkeys(keys, "DELIVERED"))
    assert poor.ledger()["paid_requests"] == 6
    poor.check()


def test_credits_that_run_out_hold_all_and_fail_none(poor: Stack, clip: Path) -> None:
    poor.segmind("PUT", "/_simulator/settings", json={"credits": 0.1})
    before = sum(poor.ledger()["calls"]["submit"].values())
    keys = drop(poor, clip, "first", 1)
    poor.until(keys[0], "HELD")
    keys += drop(poor, clip, "credits", 5)
    poor.eventually(lambda: set(outcomes(poor, keys)) == {("HELD", "credits")}, "all held")
    poor.quiet()
    probe_now(poor)
    poor.quiet()
    assert sum(poor.ledger()["calls"]["submit"].values()) - before == 2, "one finds out, and one probes"
    poor.segmind("PUT", "/_simulator/settings", json={"credits": 100})
    probe_now(poor)
    poor.recover(dict.fromkeys(keys, "DELIVERED"))
    poor.check()


def test_a_key_that_is_revoked_and_replaced(poor: Stack, clip: Path) -> None:
    poor.rule(endpoint="submit", match="running/", settings={"render_seconds": 3})
    running_keys = drop(poor, clip, "running", 1)
    poor.until(running_keys[0], "RENDERING")
    poor.segmind("PUT", "/_simulator/settings", json={"key": "SG_the_new_one"})
    keys = drop(poor, clip, "key", 3)
    poor.eventually(lambda: set(outcomes(poor, keys)) == {("HELD", "key")}, "all held")
    poor.cloud.client("secretsmanager").put_secret_value(SecretId=poor.cloud.outputs["SecretArn"], SecretString="SG_the_new_one")
    probe_now(poor)
    poor.recover(dict.fromkeys(keys + running_keys, "DELIVERED"))
    poor.check()


def test_the_key_is_in_no_log_row_answer_or_run(poor: Stack, folder: Path) -> None:
    keys = ("SG_local_simulator", "SG_the_new_one")
    logs = poor.cloud.client("logs")
    said = json.dumps(poor.table.scan()["Items"], default=str)
    for group in logs.describe_log_groups()["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"], limit=10000)["events"]
        said += "".join(event["message"] for event in events)
    for item in poor.s3.list_objects_v2(Bucket=poor.output)["Contents"]:
        if item["Key"].endswith(".json"):
            said += (poor.read(item["Key"]) or b"").decode()
    for run in poor.states.list_executions(stateMachineArn=poor.cloud.outputs["StateMachineArn"])["executions"]:
        said += json.dumps(poor.states.get_execution_history(executionArn=run["executionArn"])["events"], default=str)
    functions = poor.cloud.client("lambda").list_functions()["Functions"]
    said += json.dumps(functions, default=str) + (folder / "ministack.log").read_text()
    assert "job_id" in said
    for key in keys:
        assert key not in said

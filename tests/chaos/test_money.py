"""An account in trouble is not a failed job: budget, credits, key."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.cloud import CloudConfig, deploy, running
from retake.aws import cost_sums
from retake.domain.admission import Admission
from tests.support.stack import Stack

OLD_KEY, NEW_KEY = "SG_local_simulator", "SG_the_new_one"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("poor")


@pytest.fixture(scope="module")
def poor(folder: Path) -> Iterator[Stack]:
    """A stack whose budget covers three clips."""
    config = CloudConfig(
        wait_scale=0.005, daily_budget_usd=1.9, simulator=("--render-seconds", "0.3")
    )
    with running(config, folder) as cloud:
        yield Stack(cloud)


def drop(stack: Stack, clip: Path, name: str, number: int) -> list[str]:
    """Drop some pairs, and return the clips' keys."""
    keys = [f"{name}/{n}.mp4" for n in range(number)]
    for key in keys:
        stack.drop_pair(key, clip, {"prompt": key})
    return keys


def outcomes(stack: Stack, keys: list[str]) -> list[tuple[str, str]]:
    """Read the states and the hold reasons of clips."""
    found = [stack.status(key) or {} for key in keys]
    return [(str(status.get("state")), str(status.get("held", ""))) for status in found]


def submits(stack: Stack) -> int:
    """Count the submits that Segmind has received."""
    return sum(stack.ledger()["calls"]["submit"].values())


def test_jobs_beyond_the_budget_are_held_until_it_is_raised(
    poor: Stack, clip: Path, folder: Path
) -> None:
    keys = drop(poor, clip, "budget", 6)
    expected = [("DELIVERED", "")] * 3 + [("HELD", "budget")] * 3
    poor.eventually(
        lambda: sorted(outcomes(poor, keys)) == expected, "three delivered and three held"
    )
    poor.sweep()
    poor.until_drained()
    assert poor.ledger()["paid_requests"] == 3
    statuses = [poor.status(key) or {} for key in keys]
    held = next(status for status in statuses if status.get("state") == "HELD")
    assert "1.9 USD" in held["reason"]

    raise_budget(poor, folder)
    poor.recover(dict.fromkeys(keys, "DELIVERED"))
    assert poor.ledger()["paid_requests"] == 6
    poor.check()


def raise_budget(stack: Stack, folder: Path) -> None:
    """Deploy again with a higher budget."""
    simulator = stack.cloud.outputs["Simulator"]
    parameters = {
        "SegmindApiKey": OLD_KEY,
        "SegmindBaseUrl": simulator,
        "SegmindHistoryUrl": f"{simulator}/inference-request",
        "RequestsPerMinute": "10000",
        "DailyBudgetUsd": "100",
    }
    deploy(stack.cloud.outputs["Endpoint"], parameters, folder)


def test_the_books_agree_with_the_bill_however_it_is_made(
    poor: Stack, clip: Path, folder: Path
) -> None:
    """Segmind bills by the pixel, then by the second, and then reports no cost."""
    raise_budget(poor, folder)
    for name, settings in {
        "pixels": {"billing": "megapixel", "price": 0.5},
        "seconds": {"billing": "second", "price": 0.3},
        "silence": {"reports": "nothing"},
    }.items():
        poor.configure_simulator(**settings)
        poor.recover(dict.fromkeys(drop(poor, clip, name, 2), "DELIVERED"))
    assert sum(each.unpriced_jobs for each in cost_sums.read(poor.table)) == 2
    poor.eventually(lambda: has_all_costs(poor), "all costs are known")
    sums = cost_sums.read(poor.table)
    assert sum(each.billed_usd for each in sums) == pytest.approx(poor.ledger()["paid_total"])
    assert sum(each.unpriced_jobs for each in sums) == 0
    assert (poor.status("silence/0.mp4") or {})["cost_usd"] > 0
    poor.configure_simulator(billing="request", price=0.6, reports="cost")
    poor.check()


def has_all_costs(stack: Stack) -> bool:
    """Let the costs that are unknown be looked up; tell whether none is left."""

    def make_due(admission: Admission) -> Admission:
        bookings = {
            job: replace(booking, look_at=min(1, booking.look_at))
            for job, booking in admission.budget.bookings.items()
        }
        return replace(admission, budget=replace(admission.budget, bookings=bookings))

    stack.admission.change(make_due)
    stack.sweep()
    return not stack.admission.read().budget.bookings


def test_used_up_credits_hold_all_jobs_and_fail_none(poor: Stack, clip: Path) -> None:
    poor.configure_simulator(credits=0.1)
    before = submits(poor)
    keys = drop(poor, clip, "first", 1)
    poor.until(keys[0], "HELD")
    keys += drop(poor, clip, "credits", 5)
    poor.eventually(lambda: set(outcomes(poor, keys)) == {("HELD", "credits")}, "all held")
    poor.until_drained()
    poor.probe_now()
    poor.until_drained()
    assert submits(poor) - before == 2, "one finds out, and one probes"
    poor.configure_simulator(credits=100)
    poor.probe_now()
    poor.recover(dict.fromkeys(keys, "DELIVERED"))
    poor.check()


def test_jobs_survive_a_key_that_is_revoked_and_replaced(poor: Stack, clip: Path) -> None:
    poor.rule(endpoint="submit", match="running/", settings={"render_seconds": 3})
    running_keys = drop(poor, clip, "running", 1)
    poor.until(running_keys[0], "RENDERING")
    poor.configure_simulator(key=NEW_KEY)
    keys = drop(poor, clip, "key", 3)
    poor.eventually(lambda: set(outcomes(poor, keys)) == {("HELD", "key")}, "all held")
    secret = poor.cloud.outputs["SecretArn"]
    secrets_manager = poor.cloud.client("secretsmanager")
    secrets_manager.put_secret_value(SecretId=secret, SecretString=NEW_KEY)
    poor.probe_now()
    poor.recover(dict.fromkeys(keys + running_keys, "DELIVERED"))
    poor.check()


def test_the_key_is_in_no_log_item_status_file_or_execution(poor: Stack, folder: Path) -> None:
    everything = "".join(
        (
            json.dumps(poor.table.scan()["Items"], default=str),
            logs(poor),
            status_files(poor),
            execution_histories(poor),
            json.dumps(poor.cloud.client("lambda").list_functions()["Functions"], default=str),
            (folder / "ministack.log").read_text(),
        )
    )
    assert "job_id" in everything
    for key in (OLD_KEY, NEW_KEY):
        assert key not in everything


def logs(stack: Stack) -> str:
    """Read the messages of all log groups."""
    client = stack.cloud.client("logs")
    names = [group["logGroupName"] for group in client.describe_log_groups()["logGroups"]]
    return "".join(
        event["message"]
        for name in names
        for event in client.filter_log_events(logGroupName=name, limit=10000)["events"]
    )


def status_files(stack: Stack) -> str:
    """Read all status files."""
    listed = stack.s3.list_objects_v2(Bucket=stack.output)["Contents"]
    keys = [item["Key"] for item in listed if item["Key"].endswith(".json")]
    return "".join((stack.read(key) or b"").decode() for key in keys)


def execution_histories(stack: Stack) -> str:
    """Read what happened in all executions."""
    machine = stack.cloud.outputs["StateMachineArn"]
    executions = stack.step_functions.list_executions(stateMachineArn=machine)["executions"]
    arns = [execution["executionArn"] for execution in executions]
    histories = [stack.step_functions.get_execution_history(executionArn=arn) for arn in arns]
    return "".join(json.dumps(history["events"], default=str) for history in histories)

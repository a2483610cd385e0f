"""The live check's logic, against the simulator: `make live` itself needs an account and costs money."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from local.cloud import LOCAL_KEY
from retake.adapters.jobs import JobsTable
from retake.gatekeeper import Gatekeeper
from retake.rules.gate import Limits
from retake.rules.states import Held
from tests.live.__main__ import main
from tests.stack import Stack

YES = ("--yes", "--max-usd", "1")


class Live:
    """Runs the check beside a stack, and sees to it that the key is in nothing that it prints."""

    def __init__(self, stack: Stack, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._outputs, self._capsys = folder / "outputs.json", capsys
        self._outputs.write_text(json.dumps(stack.cloud.outputs))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main([f"--outputs={self._outputs}", *arguments])
        printed = self._capsys.readouterr()
        assert LOCAL_KEY not in printed.out + printed.err
        return code, printed.out, printed.err


@pytest.fixture
def live(pipeline: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Live:
    return Live(pipeline, tmp_path, capsys)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "0.60 USD"),
        (("--yes",), "0.60 USD"),
        (("--max-usd", "5"), "0.60 USD"),
        (("--yes", "--max-usd", "0.5"), "does not cover"),
        (("--yes", "--max-usd", "nan"), "does not cover"),
        (("--yes", "--max-usd", "inf"), "does not cover"),
    ],
)
def test_nothing_is_sent_without_a_yes_and_a_limit(pipeline: Stack, live: Live, arguments: tuple[str, ...], why: str) -> None:
    before = pipeline.ledger()["paid_requests"]
    code, _, said = live(*arguments)
    assert code == 2
    assert "Nothing was sent" in said
    assert why in said
    assert pipeline.ledger()["paid_requests"] == before


def test_nothing_is_sent_while_the_stack_would_keep_it_back(pipeline: Stack, live: Live) -> None:
    gate = Gatekeeper(JobsTable(pipeline.table), Limits(1000), time.time)
    gate.keep_back(Held.CREDITS, "Segmind's credits are used up")
    try:
        code, _, said = live(*YES)
    finally:
        gate.lift()
    assert code == 2
    assert "credits are used up" in said


@pytest.mark.parametrize(
    ("shape", "outline"),
    [
        ("output", {"output": "address at 127.0.0.1"}),
        ("json:output_videos", {"output": {"text of": {"videos": [{"url": "address at 127.0.0.1"}]}}}),
    ],
)
def test_it_tells_what_the_contract_leaves_open(pipeline: Stack, live: Live, shape: str, outline: dict[str, Any]) -> None:
    pipeline.rule(endpoint="submit", match="live/", times=1, settings={"shape": shape, "history_delay_seconds": 3})
    not_found = {"status": 404, "body": {"error": "not found"}, "headers": {"x-ratelimit": "9"}}
    pipeline.rule(endpoint="status", match="live/", times=10, fault="answer", **not_found)  # some for the pipeline, some for the check
    code, printed, _ = live(*YES, "--json")
    told = json.loads(printed)
    assert (code, told["verdict"]["problems"]) == (0, [])
    assert told["job"]["state"] == "DELIVERED"
    assert told["job"]["cost_usd"] == 0.6
    assert told["result"]["shape"].items() >= outline.items()
    assert told["metrics"]["told"].keys() >= {"cost", "remaining_credits", "total_time"}
    assert told["status"]["early_404"] is True
    assert told["status"]["seen"][-1]["word"] == "COMPLETED"
    history = told["history"]
    assert history["absent_at"]
    assert 3 <= history["there_after"] < 60
    assert history["list_key"] == ["data"]
    assert history["envelope"] == ["data", "page", "per_page", "total"]
    assert history["row_understood"] is history["would_be_found"] is True
    assert {"request_id", "generation_url", "request_body"} <= set(history["listed_fields"])
    assert told["limits"]["headers"] == {"x-ratelimit": "9"}
    assert told["limits"]["requests_of_this_check"] <= 24
    file = told["file"]
    assert (file["host"], file["content-type"], file["ranges"], file["same"]) == ("127.0.0.1", "video/mp4", True, True)
    assert file["etag"]


def test_a_failure_is_told_and_the_key_is_not_even_when_segmind_repeats_it(pipeline: Stack, live: Live) -> None:
    pipeline.rule(
        endpoint="submit", match="live/", times=1, settings={"fail": f"moderation refused it for {LOCAL_KEY}", "render_seconds": 2}
    )
    pipeline.rule(endpoint="status", match="live/", times=5, fault="word", word=LOCAL_KEY)  # some for the pipeline, some for the check
    code, printed, _ = live(*YES)
    assert code == 1
    assert "not delivered but FAILED: moderation refused it for (key)" in printed
    assert '"word": "(key)"' in printed


def test_a_copy_that_differs_from_the_result_is_told(pipeline: Stack, live: Live) -> None:
    pipeline.rule(endpoint="file", match="live/", times=1, fault="length", bytes=-100)
    code, printed, _ = live(*YES, "--json")
    assert code == 1
    assert json.loads(printed)["verdict"]["problems"] == ["what lies in the output bucket is not what Segmind serves"]

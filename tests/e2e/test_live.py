"""The live check, against the simulator; `make live` itself needs an account and costs money."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from local.cloud import LOCAL_KEY
from retake.domain.admission import Quotas
from retake.domain.job import HoldReason
from retake.services.admission_control import AdmissionControl
from tests.live.__main__ import main
from tests.live.check import PROMPT
from tests.support.stack import Stack

CONFIRMED = ("--yes", "--max-usd", "1")


class LiveCheck:
    """Runs the check next to a stack, and makes sure that it never prints the key."""

    def __init__(self, stack: Stack, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._outputs, self._capsys = folder / "outputs.json", capsys
        self._outputs.write_text(json.dumps(stack.cloud.outputs))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code, and what went to the two outputs."""
        code = main([f"--outputs={self._outputs}", *arguments])
        printed = self._capsys.readouterr()
        assert LOCAL_KEY not in printed.out + printed.err
        return code, printed.out, printed.err


@pytest.fixture
def live(pipeline: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> LiveCheck:
    return LiveCheck(pipeline, tmp_path, capsys)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "0.60 USD"),
        (("--yes",), "0.60 USD"),
        (("--max-usd", "5"), "0.60 USD"),
        (("--yes", "--max-usd", "0.5"), "does not cover"),
        (("--yes", "--max-usd", "nan"), "does not cover"),
        (("--yes", "--max-usd", "inf"), "does not cover"),
    ],
)
def test_nothing_is_sent_without_a_confirmation_and_a_limit(
    pipeline: Stack, live: LiveCheck, arguments: tuple[str, ...], reason: str
) -> None:
    before = pipeline.ledger()["paid_requests"]
    code, _, messages = live(*arguments)
    assert code == 2
    assert "Nothing was sent" in messages
    assert reason in messages
    assert pipeline.ledger()["paid_requests"] == before


def test_nothing_is_sent_while_the_stack_would_hold_the_clip(
    pipeline: Stack, live: LiveCheck
) -> None:
    admission = AdmissionControl(store=pipeline.admission, quotas=Quotas(1000), clock=time.time)
    admission.open_circuit(HoldReason.CREDITS, "Segmind's credits are used up")
    try:
        code, _, messages = live(*CONFIRMED)
    finally:
        admission.close_circuit()
    assert code == 2
    assert "credits are used up" in messages


@pytest.mark.parametrize(
    ("shape", "outline"),
    [
        ("output", {"output": "URL at 127.0.0.1"}),
        (
            "json:output_videos",
            {"output": {"text of": {"videos": [{"url": "URL at 127.0.0.1"}]}}},
        ),
    ],
)
def test_the_report_shows_what_the_api_leaves_open(
    pipeline: Stack, live: LiveCheck, shape: str, outline: dict[str, Any]
) -> None:
    settings = {"shape": shape, "history_delay_seconds": 3}
    pipeline.rule(endpoint="submit", match=PROMPT, times=1, settings=settings)
    pipeline.rule(
        endpoint="status",
        match=PROMPT,
        times=10,  # some for the pipeline, some for the check
        fault="answer",
        status=404,
        body={"error": "not found"},
        headers={"x-ratelimit": "9"},
    )
    code, printed, _ = live(*CONFIRMED, "--json")
    report = json.loads(printed)
    assert (code, report["verdict"]["problems"]) == (0, [])
    assert report["job"]["state"] == "DELIVERED"
    assert report["job"]["cost_usd"] == 0.6
    assert report["result"]["shape"].items() >= outline.items()
    assert report["metrics"]["reported"].keys() >= {"cost", "remaining_credits", "total_time"}
    assert report["status"]["early_404"] is True
    assert report["status"]["seen"][-1]["status"] == "COMPLETED"
    check_history(report["history"])
    assert report["limits"]["headers"] == {"x-ratelimit": "9"}
    assert report["limits"]["requests_of_this_check"] <= 24
    file = report["file"]
    assert (file["host"], file["content-type"]) == ("127.0.0.1", "video/mp4")
    assert (file["ranges"], file["same"]) == (True, True)
    assert file["etag"]


def check_history(history: dict[str, Any]) -> None:
    """Check what the report says about a history that lists the request after three seconds."""
    assert history["absent_at"]
    assert 3 <= history["there_after"] < 60
    assert history["list_key"] == ["data"]
    assert history["envelope"] == ["data", "page", "per_page", "total"]
    assert history["row_understood"] is history["would_be_found"] is True
    assert {"request_id", "generation_url", "request_body"} <= set(history["listed_fields"])


def test_a_failure_is_reported_without_the_key_even_when_segmind_repeats_it(
    pipeline: Stack, live: LiveCheck
) -> None:
    settings = {"fail": f"moderation refused it for {LOCAL_KEY}", "render_seconds": 2}
    pipeline.rule(endpoint="submit", match=PROMPT, times=1, settings=settings)
    # Some responses for the pipeline, some for the check.
    pipeline.rule(endpoint="status", match=PROMPT, times=5, fault="word", word=LOCAL_KEY)
    code, printed, _ = live(*CONFIRMED)
    assert code == 1
    assert "not delivered but FAILED: moderation refused it for (key)" in printed
    assert '"status": "(key)"' in printed


def test_a_delivered_file_that_differs_from_the_result_is_reported(
    pipeline: Stack, live: LiveCheck
) -> None:
    pipeline.rule(endpoint="file", match=PROMPT, times=1, fault="length", bytes=-100)
    code, printed, _ = live(*CONFIRMED, "--json")
    assert code == 1
    problem = "the render in the staging bucket differs from the file that Segmind serves"
    assert json.loads(printed)["verdict"]["problems"] == [problem]

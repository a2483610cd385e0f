"""The ready events are fit for their functions."""

import json
from pathlib import Path

import pytest

from tests.stack import Stack

EVENTS = Path(__file__).parents[2] / "events"


@pytest.mark.parametrize("verb", sorted(file.stem for file in EVENTS.glob("*.json")))
def test_a_ready_event_is_taken(pipeline: Stack, verb: str) -> None:
    functions = pipeline.cloud.client("lambda")
    (name,) = [f["FunctionName"] for f in functions.list_functions()["Functions"] if f"-{verb.capitalize()}Function" in f["FunctionName"]]
    answer = functions.invoke(FunctionName=name, Payload=(EVENTS / f"{verb}.json").read_bytes())
    said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    if verb in ("poll", "deliver"):
        assert said["next"] == "SETTLE", "there is no such job"
    if verb == "submit":
        assert said == {"batchItemFailures": []}

"""A function that dies between any two of its side effects loses nothing and pays nothing twice."""

import json
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Faults
from tests.stack import Stack

MOST_EFFECTS = 40


def recovered(stack: Stack, key: str, state: str) -> None:
    """Let time pass until a job has ended and is settled."""

    def ended() -> bool:
        rows = [job for job in stack.jobs() if job["key"] == key]
        if rows and all(job["state"] == state and "queue" not in job for job in rows):
            return True
        stack.due_now()
        stack.sweep()
        time.sleep(0.5)
        return False

    stack.eventually(ended, f"{key} {state} and settled")
    assert stack.until(key, state)["state"] == state


@pytest.mark.parametrize(
    ("function", "note", "state"),
    [
        ("Submit", {"prompt": "x"}, "DELIVERED"),
        ("Submit", {"promt": "x"}, "REFUSED"),
        ("Poll", {"prompt": "x"}, "DELIVERED"),
        ("Poll", {"prompt": "fails"}, "FAILED"),
        ("Deliver", {"prompt": "x"}, "DELIVERED"),
        ("Settle", {"prompt": "x"}, "DELIVERED"),
    ],
)
def test_a_function_killed_before_each_of_its_side_effects(
    fragile: Stack, faults: Faults, clip: Path, function: str, note: dict[str, str], state: str
) -> None:
    fragile.rule(endpoint="submit", match="-fails", settings={"fail": "blocked"})
    name = f"{function}-{'fails' if state == 'FAILED' else state.lower()}"
    for before in range(1, MOST_EFFECTS):
        key = f"kills/{name}-{before}.mp4"
        fragile.drop(key, clip)
        fragile.until(key, "WAITING")
        order = faults.arm(function, before)
        fragile.drop(key[:-4] + ".json", note | {"prompt": f"{name} {before}"} if "prompt" in note else note)
        recovered(fragile, key, state)
        died = faults.disarm()
        print(function, before, "died" if died else "lived", faults.trace(order)[before - 1 : before])
        paid = [request for request in fragile.submitted(f"{name}-{before}.mp4") if request["paid"]]
        assert len(paid) == (state == "DELIVERED"), json.dumps(paid)
        if state == "DELIVERED":
            (request,) = paid
            assert fragile.read(key) == fragile.rendered(request["request_id"])
        if not died:
            break
    else:
        raise AssertionError("the function never got through")
    assert before > 2, "no side effect was seen"
    fragile.check()

"""A function that dies between any two of its side effects loses nothing and pays nothing twice."""

import json
from pathlib import Path

import pytest

from tests.faults.conftest import Faults
from tests.stack import Stack

MOST_EFFECTS = 40


@pytest.mark.parametrize(
    ("function", "note", "state"),
    [
        ("Submit", {"prompt": "x"}, "DELIVERED"),
        ("Submit", {"promt": "x"}, "REFUSED"),
        ("Poll", {"prompt": "x"}, "DELIVERED"),
        ("Poll", {"prompt": "fails"}, "FAILED"),
        ("Deliver", {"prompt": "x"}, "DELIVERED"),
        ("Settle", {"prompt": "x"}, "DELIVERED"),
        ("Sweep", {"prompt": "x"}, "DELIVERED"),
    ],
)
def test_a_function_killed_before_each_of_its_side_effects(
    fragile: Stack, faults: Faults, clip: Path, function: str, note: dict[str, str], state: str
) -> None:
    fragile.rule(endpoint="submit", match="-fails", settings={"fail": "blocked"})
    name = f"{function}-{'fails' if state == 'FAILED' else state.lower()}"
    lived = 0
    for before in range(1, MOST_EFFECTS):
        key = f"kills/{name}-{before}.mp4"
        if function == "Sweep":  # it has something to do when an answer is lost
            fragile.rule(endpoint="submit", match=key, times=1, fault="reset", processed=True)
        fragile.drop(key, clip)
        fragile.until(key, "WAITING")
        order = faults.arm(function, before)
        fragile.drop(key[:-4] + ".json", note | {"prompt": f"{name} {before}"} if "prompt" in note else note)
        fragile.recover({key: state})
        died = faults.disarm()
        print(function, before, "died" if died else "lived", faults.trace(order)[before - 1 : before])
        paid = [request for request in fragile.submitted(f"{name}-{before}.mp4") if request["paid"]]
        assert len(paid) == (state == "DELIVERED"), json.dumps(paid)
        if state == "DELIVERED":
            (request,) = paid
            assert fragile.read(key) == fragile.rendered(request["request_id"])
        lived = 0 if died else lived + 1
        if lived == 2:  # once can be luck: two functions may have shared the work
            break
    else:
        raise AssertionError("the function never got through")
    assert before > 2, "no side effect was seen"
    fragile.check()

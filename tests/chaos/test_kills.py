"""A function that dies between any two of its side effects loses nothing and pays nothing twice."""

import json
import os
from pathlib import Path

import pytest

from retake.domain.input_files import sidecar_key
from tests.support.stack import Stack

from .killer import Killer

MAX_EFFECTS = 40
# The simulation kills functions between any two calls. KILLS=1 does that here, too.
EVERY = int(os.environ.get("KILLS", "6"))


@pytest.mark.parametrize(
    ("function", "sidecar", "state"),
    [
        ("Submit", {"prompt": "x"}, "DELIVERED"),
        ("Submit", {"promt": "x"}, "REFUSED"),
        ("Prepare", {"prompt": "x"}, "DELIVERED"),
        ("Poll", {"prompt": "x"}, "DELIVERED"),
        ("Poll", {"prompt": "fails"}, "FAILED"),
        ("Fetch", {"prompt": "x"}, "DELIVERED"),
        ("Finish", {"prompt": "x"}, "DELIVERED"),
        ("Settle", {"prompt": "x"}, "DELIVERED"),
        ("Sweep", {"prompt": "x"}, "DELIVERED"),
    ],
)
def test_a_function_may_die_before_each_of_its_side_effects(
    fragile: Stack,
    killer: Killer,
    clip: Path,
    function: str,
    sidecar: dict[str, str],
    state: str,
) -> None:
    fragile.rule(endpoint="submit", match="-fails", settings={"fail": "blocked"})
    name = f"{function}-{'fails' if state == 'FAILED' else state.lower()}"
    survived = 0
    for before in range(1, MAX_EFFECTS, EVERY):
        key = f"kills/{name}-{before}.mp4"
        if function == "Sweep":  # it has something to do when a response is lost
            fragile.rule(endpoint="submit", match=key, times=1, fault="reset", processed=True)
        fragile.drop(key, clip)
        fragile.until(key, "WAITING")
        order = killer.arm(function, before)
        own_prompt = {"prompt": f"{key} {name}"} if "prompt" in sidecar else {}
        fragile.drop(sidecar_key(key), sidecar | own_prompt)
        fragile.recover({key: state})
        died = killer.disarm()
        print(function, before, "died" if died else "survived", killer.effects(order, before))
        check_outcome(fragile, key, delivered=state == "DELIVERED")
        survived = 0 if died else survived + 1
        if survived == 2:  # once can be luck: two functions may have shared the work
            break
    else:
        raise AssertionError("the function never survived")
    assert before > 2, "no side effect was seen"
    fragile.check()


def check_outcome(fragile: Stack, key: str, *, delivered: bool) -> None:
    """Check that a clip is paid once and delivered, or not paid."""
    paid = [request for request in fragile.submitted(key) if request["paid"]]
    assert len(paid) == delivered, json.dumps(paid)
    if delivered:
        (request,) = paid
        assert fragile.is_film(key, request["request_id"])

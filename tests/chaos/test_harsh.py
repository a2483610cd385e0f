"""Drops of every kind on a cloud as harsh as AWS can be.

See `harsh.py` for the faults, and for HARSH and HARSH_SEED. `make simulate` adds kills and stops.
"""

import random
from pathlib import Path
from typing import Any

from retake.domain.input_files import preset_key, sidecar_key
from tests.support.stack import Stack

from .bad_responses import LOST
from .harsh import DROPS, SEED, Events, Harshness
from .harsh import KINDS as HARSHNESS

KINDS = ("pair", "framed", "lost", "refused", "preset", "failed", "pair", "unannounced")
ENDS = {"refused": "REFUSED", "failed": "FAILED"}
SLOW_FAULTS = ("delay", "slow")


class Drops:
    """Makes drops of every kind.

    Attributes:
        files: what is dropped, by key.
        ends: the states in which the clips end, by key.
    """

    def __init__(self, stack: Stack, clip: Path, look: Path, dice: random.Random) -> None:
        self._stack, self._clip, self._look, self._dice = stack, clip, look, dice
        self.files: list[tuple[str, Any]] = []
        self.ends: dict[str, str] = {}

    def add(self, number: int) -> None:
        """Add a clip with what belongs to it."""
        kind = KINDS[number % len(KINDS)]
        key = f"harsh/{number}-{kind}/clip.mp4"
        self.ends[key] = ENDS.get(kind, "DELIVERED")
        instructions: dict[str, Any] = {"prompt": key}
        match kind:
            case "framed":
                instructions["first_frame"] = "look.png"
                self.files.append((f"{key.rpartition('/')[0]}/look.png", self._look))
            case "refused":
                instructions = {"promt": key}
            case "failed":
                self._stack.rule(endpoint="submit", match=key, settings={"fail": "blocked"})
            case "lost":
                quick = [fault for fault in LOST.values() if fault["fault"] not in SLOW_FAULTS]
                fault = self._dice.choice(quick)
                self._stack.rule(endpoint="submit", match=key, times=1, **fault)
        beside = preset_key(key) if kind == "preset" else sidecar_key(key)
        self.files += [(key, self._clip), (beside, instructions)]


def test_drops_on_a_harsh_cloud_are_answered_and_paid_at_most_once(
    harsh: Stack, harshness: Harshness, clip: Path, look: Path
) -> None:
    print(f"HARSH={DROPS} HARSH_SEED={SEED} shares: {harshness.shares}")
    dice = random.Random(SEED)
    drops, events = Drops(harsh, clip, look, dice), Events(harsh, dice)
    for number in range(DROPS):
        drops.add(number)
    events.drop(drops.files + dice.choices(drops.files, k=DROPS), lost="unannounced")
    harsh.until_drained()
    harsh.audit()
    harsh.recover(drops.ends)
    harsh.until_drained()
    faults = harshness.faults() + events.faults
    faults["throttled functions"] = harsh.throttled_calls()
    print(dict(faults))

    harsh.release_forgotten_leases()
    harsh.check()
    assert harsh.dead_letters() == 0
    assert harsh.waiting("EventDeadLetterQueueUrl") == 0
    for key, end in drops.ends.items():
        paid = [request for request in harsh.submitted(key) if request["paid"]]
        assert len(paid) == (end == "DELIVERED"), (key, paid)
        if paid:
            assert harsh.is_film(key, paid[0]["request_id"])
    assert not [kind for kind in HARSHNESS if not faults[kind]], "AWS was kind"

"""Everything at once, at random: drops, repeats, kills, stopped runs, and Segmind's faults.

RANDOM_STEPS sets how long (default 40), RANDOM_SEED repeats a run.
"""

import contextlib
import os
import random
import time
from pathlib import Path

from botocore.exceptions import ClientError

from retake.rules.states import ENDED, Held, State
from tests.faults.conftest import Faults
from tests.faults.test_segmind import LOST, STRANGE
from tests.stack import Stack

STEPS = int(os.environ.get("RANDOM_STEPS", "40"))
SEED = int(os.environ.get("RANDOM_SEED", str(random.randrange(10**6))))
QUICK = {name: fault for name, fault in (LOST | STRANGE).items() if fault["fault"] not in ("delay", "slow")}


def test_whatever_happens_every_job_ends_and_is_paid_at_most_once(fragile: Stack, faults: Faults, clip: Path) -> None:
    print(f"RANDOM_SEED={SEED}")
    dice = random.Random(SEED)
    keys: list[str] = []

    def drop(key: str) -> None:
        files = [(key, clip), (key[:-4] + ".json", {"prompt": key})]
        for name, body in dice.sample(files, dice.choice((1, 2))) + files:
            fragile.drop(name, body)

    def stop_a_run() -> None:
        for run in dice.sample(runs := fragile.running(), min(1, len(runs))):
            with contextlib.suppress(ClientError):  # it has ended meanwhile
                fragile.stop(run)

    def trouble() -> None:
        endpoint = dice.choice(("submit", "status", "result", "history"))
        names = [name for name in QUICK if (name in LOST) == (endpoint == "submit")]
        where = "" if endpoint == "history" else f"random/{len(keys)}."
        fragile.rule(endpoint=endpoint, match=where, times=1, **QUICK[dice.choice(names)])

    for _ in range(STEPS):
        match dice.choice(("drop", "drop", "repeat", "kill", "stop", "trouble", "sweep")):
            case "drop":
                keys.append(f"random/{len(keys)}.mp4")
                drop(keys[-1])
            case "repeat" if keys:
                drop(dice.choice(keys))
            case "kill":
                faults.arm(dice.choice(("Submit", "Poll", "Deliver", "Settle", "Sweep")), dice.randint(1, 10))
            case "stop":
                stop_a_run()
            case "trouble":
                trouble()
            case "sweep":
                fragile.sweep()
        time.sleep(dice.random() / 2)
    faults.disarm()

    def through() -> bool:
        jobs = {job["key"]: job for job in fragile.jobs() if job["key"].startswith("random/")}
        if set(jobs) == set(keys) and all(_over(job) for job in jobs.values()):
            return True
        fragile.due_now()
        fragile.sweep()
        time.sleep(0.5)
        return False

    fragile.eventually(through, f"all {len(keys)} over, RANDOM_SEED={SEED}")
    fragile.quiet()
    fragile.check()
    for key in keys:
        assert sum(request["paid"] for request in fragile.submitted(key)) <= 1, key


def _over(job: dict[str, object]) -> bool:
    return (State(str(job["state"])) in ENDED and "queue" not in job) or job.get("held") == Held.ATTENTION

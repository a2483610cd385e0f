"""Everything at once, at random, on a harsh cloud: drops, repeats, kills, stops, Segmind's faults.

RANDOM_STEPS sets how long (default 40), RANDOM_SEED repeats a run, with HARSH_SEED.
"""

import os
import random
import time
from contextlib import suppress
from pathlib import Path

from botocore.exceptions import ClientError

from retake.domain.input_files import sidecar_key
from retake.domain.job import Job
from tests.support.stack import Stack

from .bad_responses import LOST, STRANGE
from .harsh import Harshness
from .killer import Killer

STEPS = int(os.environ.get("RANDOM_STEPS", "40"))
SEED = int(os.environ.get("RANDOM_SEED", str(random.randrange(10**6))))
SLOW_FAULTS = ("delay", "slow")
FUNCTIONS = ("Submit", "Poll", "Deliver", "Settle", "Sweep")
STEP_KINDS = ("drop", "drop", "repeat", "kill", "stop", "trouble", "sweep")


class Chaos:
    """Makes random trouble.

    Attributes:
        keys: the clips that were dropped.
    """

    def __init__(self, stack: Stack, killer: Killer, clip: Path) -> None:
        self._stack, self._killer, self._clip = stack, killer, clip
        self._dice = random.Random(SEED)
        self.keys: list[str] = []

    def step(self) -> None:
        """Do one thing, and wait a little."""
        match self._dice.choice(STEP_KINDS):
            case "drop":
                self.keys.append(f"random/{len(self.keys)}.mp4")
                self._drop(self.keys[-1])
            case "repeat" if self.keys:
                self._drop(self._dice.choice(self.keys))
            case "kill":
                self._killer.arm(self._dice.choice(FUNCTIONS), self._dice.randint(1, 10))
            case "stop":
                self._stop_an_execution()
            case "trouble":
                self._add_fault()
            case "sweep":
                self._stack.sweep()
        time.sleep(self._dice.random() / 2)

    def _drop(self, key: str) -> None:
        """Drop a pair, with one or both of its files before it."""
        files = [(key, self._clip), (sidecar_key(key), {"prompt": key})]
        for name, body in self._dice.sample(files, self._dice.choice((1, 2))) + files:
            self._stack.drop(name, body)

    def _stop_an_execution(self) -> None:
        running = self._stack.running_executions()
        for name in self._dice.sample(running, min(1, len(running))):
            with suppress(ClientError):  # it has ended meanwhile
                self._stack.stop_execution(name)

    def _add_fault(self) -> None:
        endpoint = self._dice.choice(("submit", "status", "result", "history"))
        faults = LOST if endpoint == "submit" else STRANGE
        quick = [fault for fault in faults.values() if fault["fault"] not in SLOW_FAULTS]
        clip = "" if endpoint == "history" else f"random/{len(self.keys)}."
        self._stack.rule(endpoint=endpoint, match=clip, times=1, **self._dice.choice(quick))


def test_whatever_happens_every_job_ends_and_is_paid_at_most_once(
    harsh: Stack, harshness: Harshness, clip: Path
) -> None:
    print(f"RANDOM_SEED={SEED} HARSH_SEED={harshness.seed}")
    killer = Killer(harshness.folder)
    chaos = Chaos(harsh, killer, clip)
    for _ in range(STEPS):
        chaos.step()
    killer.disarm()

    def all_ended() -> bool:
        jobs = {job.key: job for job in harsh.jobs() if job.key.startswith("random/")}
        if set(jobs) == set(chaos.keys) and all(map(is_over, jobs.values())):
            return True
        harsh.make_all_due()
        harsh.sweep()
        time.sleep(0.5)
        return False

    harsh.eventually(all_ended, f"the end of all {len(chaos.keys)} jobs, RANDOM_SEED={SEED}")
    harsh.until_drained()
    harsh.release_forgotten_leases()
    harsh.check()
    for key in chaos.keys:
        assert sum(request["paid"] for request in harsh.submitted(key)) <= 1, key


def is_over(job: Job) -> bool:
    """Tell whether a job is settled, or only a person can move it on."""
    return (job.has_ended and job.follow_up is None) or job.needs_attention

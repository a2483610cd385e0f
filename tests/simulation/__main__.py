"""Runs many histories, or one again, and prints what was reached and what did not hold.

The environment says what to run: SEEDS (how many histories), FIRST (the first seed), STEPS (drops
in each), SEED (one history, with its trace), and TEETH=1 (whether planted bugs are found).
"""

import os
import sys
from collections import Counter

from retake.domain.job import TRANSITIONS

from . import teeth
from .history import DROPS, Result
from .runs import replay, run

SEEDS = 300


def main() -> int:
    """Run what the environment asks for; return the exit code."""
    drops = int(os.environ.get("STEPS", DROPS))
    if os.environ.get("TEETH"):
        return teeth.main()
    if seed := os.environ.get("SEED"):
        return replay(int(seed), drops)
    first, seeds = int(os.environ.get("FIRST", 0)), int(os.environ.get("SEEDS", SEEDS))
    failed: list[Result] = []
    reached: Counter[tuple[str, str, str]] = Counter()
    for done, result in enumerate(run(range(first, first + seeds), drops), 1):
        reached += result.reached
        if result.problems:
            failed.append(result)
            print(f"seed {result.seed}: {result.problems[0]}", flush=True)
        if done % 500 == 0:
            print(f"{done} histories, {len(failed)} failed", flush=True)
    print(table(reached))
    missing = unreached(reached)
    if missing:
        print(f"never reached: {', '.join(missing)}")
    print(f"{seeds} histories of {drops} drops, {len(failed)} failed")
    if failed:
        print(f"see one with its trace: make simulate SEED={failed[0].seed}")
    return int(bool(failed or (missing and seeds >= SEEDS)))


def table(reached: Counter[tuple[str, str, str]]) -> str:
    """Return how often each transition was made, by what its function had met."""
    faults = sorted({fault for _, _, fault in reached}, key=lambda fault: (fault != "none", fault))
    steps = sorted({(old, new) for old, new, _ in reached})
    width = max((len(f"{old} -> {new}") for old, new in steps), default=0)
    lines = ["transitions of jobs, by the faults that their functions had met:"]
    lines += [f"{number:3} {fault}" for number, fault in enumerate(faults)]
    lines.append(" " * width + "".join(f"{number:8}" for number in range(len(faults))))
    for old, new in steps:
        counts = "".join(f"{reached[old, new, fault] or '.':>8}" for fault in faults)
        lines.append(f"{f'{old} -> {new}':{width}}{counts}")
    return "\n".join(lines)


# Somebody would have to remove the staged render when Segmind no longer has the file.
UNREACHABLE = {("FINISHING", "LOST")}


def unreached(reached: Counter[tuple[str, str, str]]) -> list[str]:
    """Return the transitions that a job can make, but did not."""
    seen = {(old, new) for old, new, _ in reached}
    possible = {
        (old, new)
        for old, following in TRANSITIONS.items()
        for new in following
        if old not in ("WAITING", "PREPARING")  # files that are not part of a job
    } - UNREACHABLE
    return [f"{old} -> {new}" for old, new in sorted(possible - seen)]


if __name__ == "__main__":
    sys.exit(main())

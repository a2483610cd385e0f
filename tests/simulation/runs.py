"""Runs histories on all processors, and one again with as few drops as still fail."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from .history import History, Result

SHOWN_PROBLEMS = 10


def run(seeds: range, drops: int) -> Iterator[Result]:
    """Run histories on all processors, and yield how they went, in order."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork"), _use_memory) as pool:
        yield from pool.map(partial(run_one, drops), seeds, chunksize=5)


def _use_memory() -> None:
    """Keep the files of functions in memory, where there is a file system for that."""
    if os.access("/dev/shm", os.W_OK):  # noqa: S108 - a folder of its own is made in it
        tempfile.tempdir = "/dev/shm"  # noqa: S108


def run_one(drops: int, seed: int, only: list[int] | None = None) -> Result:
    """Run one history; only a failed one keeps its trace."""
    history = History(seed, drops, only)
    try:
        result = history.run()
    except Exception as error:  # noqa: BLE001 - a defect of the simulation is shown, too
        problem = f"{type(error).__name__}: {error}"
        return Result(seed, [problem], history.kernel.trace, Counter(), 0)
    if not result.problems:
        result.trace.clear()
    return result


def replay(seed: int, drops: int) -> int:
    """Run one history again; if it fails, with as few drops as still fail, and its trace."""
    only = list(range(drops))
    result = run_one(drops, seed, only)
    if not result.problems:
        print(f"seed {seed}: all laws hold")
        return 0
    wanted = _kind(result.problems[0])
    step = max(1, len(only) // 2)
    while step:
        for first in range(0, len(only), step):
            fewer = only[:first] + only[first + step :]
            shorter = run_one(drops, seed, fewer)
            if any(_kind(problem) == wanted for problem in shorter.problems):
                only, result = fewer, shorter
                break
        else:
            step //= 2
    print("\n".join(result.trace))
    print(f"\nseed {seed} with the drops {only}:")
    for problem in result.problems[:SHOWN_PROBLEMS]:
        print(f"- {problem}")
    return 1


def _kind(problem: str) -> str:
    """Return what a problem is about, without names and numbers."""
    words = [word for word in problem.split() if word.isalpha()]
    return " ".join(words)

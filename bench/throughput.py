"""How many jobs a minute get through at one request limit, with the real gate and planner, many more jobs dropped than fit.

Run `python -m bench.throughput`; simulated time, standard library only. What wakes held jobs is as in the pipeline: the end of another,
and `sweep` every minute, ten at a time.
"""

import sys
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "layers/retake/python"))

from bench.waiting import lognormal
from retake.rules.gate import Gate, Limits, Shut
from retake.rules.planner import Plan

JOBS = 400
AT_ONCE = 10  # held jobs that are woken by one end, or one sweep
RELEARNED = 20  # jobs between two plans


class Line:
    """A line of jobs before one gate; renders last as the usual ones do, 164 s in the mean, sd 40 s."""

    def __init__(self, limits: Limits, jobs: int, seed: int) -> None:
        self.random, self.limits, self.gate, self.plan = Random(seed), limits, Gate(), Plan.learn()
        self.waiting = [f"j{number}" for number in reversed(range(jobs))]
        self.renders: list[float] = []
        self.requests: list[float] = []
        self.lags: list[float] = []
        self.ends: list[float] = []
        self._events: list[tuple[float, int, Any]] = []
        self._order = count()

    def run(self) -> None:
        """Let all jobs through."""
        self._at(0.0, self._sweep)
        while self._events:
            now, _, event = heappop(self._events)
            event(now)

    def _at(self, when: float, event: Any) -> None:
        heappush(self._events, (when, next(self._order), event))

    def _sweep(self, now: float) -> None:
        self._wake(now)
        if self.waiting:
            self._at(now + 60, self._sweep)

    def _wake(self, now: float) -> None:
        for _ in range(AT_ONCE):
            if not self.waiting or isinstance(admitted := self.gate.admit(self.waiting[-1], self.limits, now), Shut):
                return
            self.gate, job = admitted, self.waiting.pop()
            self.requests.append(now)
            self._follow(job, now, lognormal(self.random, 164, 40))

    def _follow(self, job: str, began: float, render: float) -> None:
        plan = self.plan.jittered(self.random.random())

        def poll(now: float, seen: bool = False) -> None:
            asked = self.gate.ask(self.limits, now)
            if isinstance(asked, Shut):
                self._at(now + asked.wait, lambda later: poll(later, seen))
                return
            self.gate = asked
            self.requests.append(now)
            if seen:
                self._end(job, now, render, now - began - render)
            elif now - began >= render:
                poll(now, seen=True)  # the result is asked for at once
            else:
                self._at(now + plan.wait(now - began, 0, self.gate.stretch(self.limits, now)), poll)

        self._at(began + plan.wait(0), poll)

    def _end(self, job: str, now: float, render: float, lag: float) -> None:
        self.gate = self.gate.release(job, now)
        self.ends.append(now)
        self.lags.append(lag)
        self.renders.append(render)
        if len(self.renders) % RELEARNED == 0:
            self.plan = Plan.learn(self.renders)
        self._wake(now)


def row(requests_per_minute: int, jobs: int = JOBS, seed: int = 1) -> dict[str, float]:
    """Measure one run: jobs a minute while the line is full, the most requests in any minute, the mean lag in seconds."""
    line = Line(Limits(requests_per_minute), jobs, seed)
    line.run()
    first, last = line.ends[jobs // 4], line.ends[-jobs // 4]
    within = sum(first < end <= last for end in line.ends)
    most = max(sum(start <= other < start + 60 for other in line.requests) for start in line.requests)
    return {
        "requests_per_minute": requests_per_minute,
        "in_flight": line.limits.in_flight,
        "jobs_a_minute": round(60 * within / (last - first), 2),
        "requests_a_job": round(len(line.requests) / jobs, 2),
        "most_requests_in_a_minute": most,
        "mean_lag": round(fmean(line.lags), 1),
    }


def rows(jobs: int = JOBS, seeds: int = 3) -> list[dict[str, float]]:
    """Measure the usual limits; medians over the seeds."""
    found = []
    for limit in (5, 50, 500):
        runs = [row(limit, jobs if limit < 500 else 4 * jobs, seed) for seed in range(seeds)]
        found.append({name: median(run[name] for run in runs) for name in runs[0]})
    return found


def markdown(found: list[dict[str, float]]) -> str:
    """Write the table."""
    names = list(found[0])
    head = "| " + " | ".join(name.replace("_", " ") for name in names) + " |\n" + "|---" * len(names) + "|\n"
    return head + "\n".join("| " + " | ".join(f"{row[name]:g}" for name in names) + " |" for row in found)


if __name__ == "__main__":
    print(markdown(rows()))

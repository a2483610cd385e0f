"""Ways of waiting for a render, side by side on the same simulated jobs: polls, lag, transitions, money, throughput.

Run `python -m bench.waiting` in the project's folder (`--quick` for a short one); standard library only. Each row is the median over the
seeds, with the least and the most for the ratio to the optimum. The optimum is that of dynamic programming over whole seconds for the very
jobs that are counted, under the planner's own cap on the gaps; it does not look at QUEUED, so a way that does may come out below 1.
"""

import argparse
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, log, sqrt
from pathlib import Path
from random import Random
from statistics import fmean, median, quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "layers/retake/python"))

from bench.costs import GB_SECOND, INVOCATION, MEMORY_GB, POLL_SECONDS, TRANSITION
from retake.rules.planner import LONGEST_GAP, WEIGHT, Plan

LIFE = 3480  # seconds; a run of the wait-loop ends then
LEARNED = 200  # jobs that a learned way has seen
RELEARNED = 20  # jobs between two plans while it learns
PER_MINUTE = 50  # requests
EXPRESS_GB, EXPRESS_GB_SECOND, EXPRESS_RUN = 0.0625, 16.667e-6, 1e-6  # USD
SMALL_GB = 0.125  # the least that Lambda gives; the functions import 60 MB


@dataclass(frozen=True)
class Job:
    """Seconds in Segmind's queue and of rendering; `failed` ones tell no render time, and one that never ends renders for ever."""

    queue: float
    render: float
    failed: bool = False

    @property
    def total(self) -> float:
        """Seconds from the submit to the end."""
        return self.queue + self.render


Draw = Callable[[Random, float], Job]  # the second argument runs from 0 to 1 over the jobs that are learned from, and stays 1
Way = Callable[[float, float, int], float]  # age, age when last seen queued, polls so far -> seconds to wait


def lognormal(random: Random, mean: float, sd: float) -> float:
    """Draw from the log-normal distribution of this mean and standard deviation."""
    variance = log(1 + (sd / mean) ** 2)
    return random.lognormvariate(log(mean) - variance / 2, sqrt(variance))


def ending(draw: Callable[[Random, float], float], queueing: float = 0) -> Draw:
    """Let 2 % fail early and 1 % never end, as it is in life; a share of `queueing` waits in the queue first, 240 s in the mean."""

    def job(random: Random, progress: float) -> Job:
        fate, render = random.random(), draw(random, progress)
        if fate < 0.02:
            return Job(0, random.uniform(2, 60), failed=True)
        queue = random.expovariate(1 / 240) if random.random() < queueing else 0
        return Job(queue, inf if fate > 0.99 else render)

    return job


def humps(first: tuple[float, float], second: tuple[float, float], share: float) -> Draw:
    """Mix two log-normal distributions, given as mean and standard deviation; `share` of the jobs are of the first."""
    return ending(lambda random, _: lognormal(random, *(first if random.random() < share else second)))


DISTRIBUTIONS: dict[str, Draw] = {
    "narrow": ending(lambda random, _: lognormal(random, 164, 8)),
    "usual": ending(lambda random, _: lognormal(random, 164, 40)),
    "wide": ending(lambda random, _: lognormal(random, 164, 100)),
    "two humps": humps((90, 10), (240, 25), 0.5),
    "queueing": ending(lambda random, _: lognormal(random, 164, 40), queueing=0.2),
    "drift up": ending(lambda random, progress: lognormal(random, 164 + 76 * progress, 41 + 19 * progress)),
    "drift down": ending(lambda random, progress: lognormal(random, 240 - 76 * progress, 60 - 19 * progress)),
    "jump": ending(lambda random, progress: lognormal(random, *((164, 40) if progress < 0.75 else (260, 50)))),
    "far humps": humps((60, 4), (700, 30), 0.7),
    "even": ending(lambda random, _: random.uniform(30, 600)),
    "boot, then memoryless": ending(lambda random, _: 40 + random.expovariate(1 / 150)),
    "long": ending(lambda random, _: lognormal(random, 900, 200)),
    "heavy tail": ending(lambda random, _: 100 * random.paretovariate(2.5)),
}
ODD = ("far humps", "even", "boot, then memoryless", "long", "heavy tail")


@dataclass
class Seen:
    """What following jobs came to: polls and lag a job (`lags` of those that ended), seconds slept inside calls, turns of the loop."""

    jobs: int
    polls: int
    turns: int
    slept: float
    lags: list[float]

    def cost(self, weight: float) -> float:
        """What is to be least: polls, and `weight` times the seconds of lag, a job."""
        return (self.polls + weight * sum(self.lags)) / self.jobs


def follow(way: Way, jobs: Iterable[Job], asleep: float = 0) -> Seen:
    """Poll each job until it has ended or its run has; gaps up to `asleep` seconds are slept through inside the call."""
    seen = Seen(0, 0, 0, 0, [])
    for job in jobs:
        age = queued = 0.0
        polls = 0
        while age < min(job.total, LIFE):
            if polls and age < job.queue:
                queued = age
            wait = way(age, queued, polls)
            short = polls > 0 and wait <= asleep
            seen.slept, seen.turns = seen.slept + (wait if short else 0), seen.turns + (not short)
            age, polls = min(age + wait, LIFE), polls + 1
        seen.jobs, seen.polls = seen.jobs + 1, seen.polls + polls
        if job.total <= LIFE:
            seen.lags.append(age - job.total)
    return seen


def every(seconds: float, first: float = 0) -> Way:
    """Poll at a fixed interval, perhaps after a longer first wait."""
    return lambda age, queued, polls: seconds if polls or not first else first


def growing(first: float, gap: float, growth: float, cap: float) -> Way:
    """Wait `first`, then gaps that grow to `cap`; twice as long while the job is queued."""
    return lambda age, queued, polls: min(cap, round(gap * growth ** (polls - 1)) * (1 + (0 < queued == age))) if polls else first


def quartiles(renders: Sequence[float]) -> Way:
    """Wait for the first quartile, then gaps of a quarter of the interquartile range, growing: the rule of two numbers."""
    low, _, high = quantiles(renders, n=4)
    return growing(low, (high - low) / 4, 1.1, LONGEST_GAP)


def planned(plan: Plan) -> Way:
    """Wait as the wait-loop does."""
    return lambda age, queued, polls: plan.wait(age, queued)


def optimum(totals: Iterable[float], weight: float = WEIGHT, cap: int = LONGEST_GAP) -> tuple[float, list[int]]:
    """Give the least cost a job, and the ages that have it: dynamic programming over whole seconds, no gap but the first over `cap`."""
    ordered = sorted(totals)
    sums = [0.0, *accumulate(total for total in ordered if total < inf)]
    ended = [bisect_left(ordered, age + 1e-9) for age in range(LIFE + 1)]
    cost, following = [0.0] * (LIFE + 1), [LIFE] * (LIFE + 1)
    for s in range(LIFE - 1, -1, -1):
        best = inf
        for u in range(s + 1, min(LIFE, s + cap if s else LIFE) + 1):
            lag = weight * (u * (ended[u] - ended[s]) - sums[ended[u]] + sums[ended[s]])
            if lag >= best:
                break
            if lag + cost[u] < best:
                best, following[s] = lag + cost[u], u
        cost[s] = best + len(ordered) - ended[s]
    ages = [following[0]]
    while ages[-1] < LIFE:
        ages.append(following[ages[-1]])
    return cost[0] / len(ordered), ages


def at_ages(ages: Sequence[int]) -> Way:
    """Poll at given ages, whatever is seen."""
    return lambda age, queued, polls: ages[polls] - age


def learn(draw: Draw, random: Random, weight: float = WEIGHT, jobs: int = LEARNED) -> tuple[Plan, list[float]]:
    """Let the planner work for some jobs as the pipeline would; give its plan, and the total times that were told.

    A render is learned as the plan counts it: from the age at which the job was last seen in the queue.
    """
    plan, renders, totals = Plan.learn((), weight), list[float](), list[float]()
    for number in range(jobs):
        job = draw(random, number / jobs)
        if number % RELEARNED == 0:
            plan = Plan.learn(renders, weight)
        age = queued = 0.0
        while age < min(job.total, LIFE):
            age += plan.wait(age, queued)
            queued = age if age < job.queue else queued
        if job.total < LIFE and not job.failed:
            renders.append(job.total - queued)
            totals.append(job.total)
    return Plan.learn(renders, weight), totals


def simulate(name: str, seed: int, jobs: int, weight: float = WEIGHT) -> list[dict[str, Any]]:
    """Follow the same jobs of a distribution in every way; one row for each."""
    random, draw = Random(f"{name} {seed}"), DISTRIBUTIONS[name]
    plan, totals = learn(draw, random, weight)
    held_out = [draw(random, 1) for _ in range(jobs)]
    best, ages = optimum((job.total for job in held_out), weight)
    learned = planned(plan)
    ways: dict[str, tuple[Way, float, float]] = {  # the way, the longest gap slept through inside a call, and the call's memory
        "every 2 s (the SDK's sample)": (every(2), 0, MEMORY_GB),
        "every 10 s": (every(10), 0, MEMORY_GB),
        "every 30 s (AWS sample)": (every(30), 0, MEMORY_GB),
        "back-off 2 s × 1.5, cap 30 s": (lambda age, queued, polls: min(30, 2 * 1.5**polls), 0, MEMORY_GB),
        "120 s, then 15 s × 1.05, cap 60 s": (growing(120, 15, 1.05, LONGEST_GAP), 0, MEMORY_GB),
        "quartiles of the last 200": (quartiles(totals), 0, MEMORY_GB),
        "planner, nothing learned": (planned(Plan.learn((), weight)), 0, MEMORY_GB),
        "planner, 200 learned": (learned, 0, MEMORY_GB),
        "the same, gaps to 10 s inside a call": (learned, 10, MEMORY_GB),
        "the same, gaps to 40 s inside a call of 128 MB": (learned, 40, SMALL_GB),
        "120 s, then every 5 s inside calls": (every(5, 120), 5, MEMORY_GB),
        "optimum": (at_ages(ages), 0, MEMORY_GB),
    }
    rows = []
    for way, (wait, asleep, memory) in ways.items():
        seen = follow(wait, held_out, asleep)
        calls = seen.turns * INVOCATION + (seen.polls * POLL_SECONDS + seen.slept) * memory * GB_SECOND
        usd = seen.turns * 3 * TRANSITION + calls
        rows.append(_row(name, way, seen, 3 * seen.turns / jobs, 1000 * usd / jobs, best, weight))
        if way == "planner, 200 learned":
            # On paper: the parent waits for the first age (Wait, StartSyncExecution, Choice), the child lives from there to the end.
            living = sum(min(job.total, LIFE) for job in held_out) + sum(seen.lags) - jobs * plan.ages[0]
            usd = jobs * (3 * TRANSITION + EXPRESS_RUN) + max(0, living) * EXPRESS_GB * EXPRESS_GB_SECOND + calls
            rows.append(_row(name, "the same in an Express child (on paper)", seen, 3, 1000 * usd / jobs, best, weight))
    return rows


def _row(name: str, way: str, seen: Seen, transitions: float, usd: float, best: float, weight: float) -> dict[str, Any]:
    polls, lags = seen.polls / seen.jobs, quantiles(seen.lags, n=20)
    return {
        "distribution": name,
        "way": way,
        "polls": polls,
        "lag_mean": fmean(seen.lags),
        "lag_p50": lags[9],
        "lag_p95": lags[18],
        "transitions": transitions,
        "usd_per_1000": usd,
        "jobs_per_minute": PER_MINUTE / (2 + polls),
        "ratio": seen.cost(weight) / best,
    }


def rows(names: Iterable[str] = DISTRIBUTIONS, seeds: int = 5, jobs: int = 3000, weight: float = WEIGHT) -> list[dict[str, Any]]:
    """Simulate each distribution with some seeds; give one row a distribution and way: medians, and for each figure its least and most."""
    table = []
    for name in names:
        for runs in zip(*(simulate(name, seed, jobs, weight) for seed in range(seeds)), strict=True):
            figures = [figure for figure, value in runs[0].items() if isinstance(value, float | int)]
            values = {figure: [run[figure] for run in runs] for figure in figures}
            spread = {f"{figure}_spread": (min(value), max(value)) for figure, value in values.items()}
            table.append(runs[0] | {figure: median(value) for figure, value in values.items()} | spread)
    return table


def markdown(table: Iterable[dict[str, Any]]) -> str:
    """Write rows as a Markdown table."""
    lines = [
        f"| distribution | way | polls | p50 / p95 lag | transitions | USD per 1,000 | jobs/min at {PER_MINUTE} requests/min"
        " | cost ÷ optimum (least–most) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        least, most = row["ratio_spread"]
        lines.append(
            f"| {row['distribution']} | {row['way']} | {row['polls']:.1f} | {row['lag_p50']:.1f} / {row['lag_p95']:.0f} "
            f"| {row['transitions']:.0f} | {row['usd_per_1000']:.2f} | {row['jobs_per_minute']:.1f} "
            f"| {row['ratio']:.2f} ({least:.2f}–{most:.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description="Ways of waiting for a render, side by side.")
    options.add_argument("--quick", action="store_true", help="one seed, few jobs: does it still run?")
    options.add_argument("--weight", type=float, default=WEIGHT, help="polls that a second of lag is worth")
    options.add_argument("--only", action="append", choices=DISTRIBUTIONS, help="a distribution; may be repeated, all if none is named")
    given = options.parse_args()
    size = {"seeds": 1, "jobs": 300} if given.quick else {}
    sys.stdout.write(markdown(rows(given.only or DISTRIBUTIONS, weight=given.weight, **size)) + "\n")


if __name__ == "__main__":
    main()

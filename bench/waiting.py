"""Compare ways of waiting for a render on the same simulated jobs: polls, lag, money, throughput.

Run `python -m bench.waiting`; it only needs the standard library. Each row is the median over the
seeds, with the minimum and maximum for the ratio to the optimum. The optimum is the result of
dynamic programming over whole seconds for the very jobs that are counted, with the same cap on gaps
as the poll schedule. It does not look at QUEUED, so a way that does may come out below 1.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, median, quantiles
from typing import Any

from bench.costs import GB_SECOND, INVOCATION, MEMORY_GB, POLL_SECONDS, TRANSITION
from bench.polling import (
    EXECUTION_SECONDS,
    Outcome,
    Way,
    at_ages,
    backoff,
    every,
    follow,
    growing,
    learn,
    optimum,
    planned,
    quartiles,
)
from bench.renders import DISTRIBUTIONS, Job
from retake.domain.poll_schedule import MAX_GAP_SECONDS, POLLS_PER_LAG_SECOND, PollSchedule

REQUESTS_PER_MINUTE = 50
TRANSITIONS_PER_ITERATION = 3
SMALL_GB = 0.125  # the least that Lambda offers; the functions import 60 MB
# Prices of Step Functions Express in USD, and the memory that it bills at least.
EXPRESS_GB = 0.0625
EXPRESS_GB_SECOND = 16.667e-6
EXPRESS_EXECUTION = 1e-6
LEARNED = "poll schedule, 200 renders learned"


@dataclass(frozen=True)
class Contender:
    """A way of waiting.

    Attributes:
        name: its name in the table.
        way: when it polls.
        max_sleep: the longest gap that is slept through inside a call, in seconds.
        memory_gb: the memory of that call.
    """

    name: str
    way: Way
    max_sleep: float = 0
    memory_gb: float = MEMORY_GB


def contenders(
    schedule: PollSchedule, totals: Sequence[float], ages: Sequence[int], weight: float
) -> list[Contender]:
    """Return all ways of waiting.

    Parameters:
        schedule: the learned schedule.
        totals: the totals that it was learned from.
        ages: the optimal ages.
        weight: polls that a second of lag is worth.
    """
    untaught, learned = planned(PollSchedule.learn((), weight)), planned(schedule)
    fixed = growing(120, 15, 1.05, MAX_GAP_SECONDS)
    return [
        Contender("every 2 s (the SDK's sample)", every(2)),
        Contender("every 10 s", every(10)),
        Contender("every 30 s (AWS sample)", every(30)),
        Contender("backoff from 2 s × 1.5, at most 30 s", backoff(2, 1.5, 30)),
        Contender("120 s, then 15 s × 1.05, at most 60 s", fixed),
        Contender("quartiles of the last 200", quartiles(totals)),
        Contender("poll schedule, nothing learned", untaught),
        Contender(LEARNED, learned),
        Contender("same, gaps up to 10 s inside a call", learned, 10),
        Contender("same, gaps up to 40 s inside a 128 MB call", learned, 40, SMALL_GB),
        Contender("120 s, then every 5 s inside calls", every(5, 120), 5),
        Contender("optimum", at_ages(ages)),
    ]


def simulate(
    name: str, seed: int, jobs: int, weight: float = POLLS_PER_LAG_SECOND
) -> list[dict[str, Any]]:
    """Follow the same jobs in every way and return a row for each.

    Parameters:
        name: one of DISTRIBUTIONS.
        seed: seed of the random numbers.
        jobs: how many jobs.
        weight: polls that a second of lag is worth.
    """
    random, draw = Random(f"{name} {seed}"), DISTRIBUTIONS[name]
    schedule, totals = learn(draw, random, weight)
    sample = [draw(random, 1) for _ in range(jobs)]
    best, ages = optimum((job.total for job in sample), weight)
    rows = []
    for contender in contenders(schedule, totals, ages, weight):
        outcome = follow(contender.way, sample, contender.max_sleep)
        calls = _calls_usd(outcome, contender.memory_gb)
        transitions = TRANSITIONS_PER_ITERATION * outcome.iterations
        usd = transitions * TRANSITION + calls
        common = {
            "distribution": name,
            "polls": outcome.polls / jobs,
            **_lag_figures(outcome),
            "jobs_per_minute": REQUESTS_PER_MINUTE / (2 + outcome.polls / jobs),
            "ratio": outcome.cost(weight) / best,
        }
        rows.append(
            {
                "way": contender.name,
                **common,
                "transitions": transitions / jobs,
                "usd_per_1000": 1000 * usd / jobs,
            }
        )
        if contender.name == LEARNED:
            usd = _express_usd(sample, outcome, schedule.ages[0]) + calls
            rows.append(
                {
                    "way": "same, in an Express child (calculated)",
                    **common,
                    "transitions": TRANSITIONS_PER_ITERATION,
                    "usd_per_1000": 1000 * usd / jobs,
                }
            )
    return rows


def _calls_usd(outcome: Outcome, memory_gb: float) -> float:
    seconds = outcome.polls * POLL_SECONDS + outcome.slept
    return outcome.iterations * INVOCATION + seconds * memory_gb * GB_SECOND


def _express_usd(jobs: Sequence[Job], outcome: Outcome, first_age: int) -> float:
    """Calculate the state machines' cost if an Express child did the polling.

    The parent waits for the first age (Wait, StartSyncExecution, Choice), and the child runs from
    there to the end.
    """
    ends = sum(min(job.total, EXECUTION_SECONDS) for job in jobs) + sum(outcome.lags)
    child_seconds = max(0, ends - len(jobs) * first_age)
    executions = len(jobs) * (TRANSITIONS_PER_ITERATION * TRANSITION + EXPRESS_EXECUTION)
    return executions + child_seconds * EXPRESS_GB * EXPRESS_GB_SECOND


def _lag_figures(outcome: Outcome) -> dict[str, float]:
    twentieths = quantiles(outcome.lags, n=20)
    return {
        "lag_mean": fmean(outcome.lags),
        "lag_p50": twentieths[9],
        "lag_p95": twentieths[18],
    }


def rows(
    names: Iterable[str] = DISTRIBUTIONS,
    seeds: int = 5,
    jobs: int = 3000,
    weight: float = POLLS_PER_LAG_SECOND,
) -> list[dict[str, Any]]:
    """Simulate distributions with several seeds.

    Returns:
        A row for each distribution and way: the median of every figure, and its minimum and
        maximum under the name `<figure>_spread`.
    """
    table = []
    for name in names:
        by_seed = (simulate(name, seed, jobs, weight) for seed in range(seeds))
        table += [_summary(runs) for runs in zip(*by_seed, strict=True)]
    return table


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    summary = dict(runs[0])
    for figure, value in runs[0].items():
        if isinstance(value, float | int):
            values = [run[figure] for run in runs]
            summary[figure] = median(values)
            summary[f"{figure}_spread"] = (min(values), max(values))
    return summary


def markdown(table: Iterable[dict[str, Any]]) -> str:
    """Write rows as a Markdown table."""
    return "\n".join(_table(table))


def _table(table: Iterable[dict[str, Any]]) -> Iterator[str]:
    heads = (
        "distribution",
        "way",
        "polls",
        "p50 / p95 lag, s",
        "transitions",
        "USD per 1,000 jobs",
        f"jobs/min at {REQUESTS_PER_MINUTE} requests/min",
        "cost ÷ optimum (min–max)",
    )
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in table:
        least, most = row["ratio_spread"]
        cells = (
            row["distribution"],
            row["way"],
            f"{row['polls']:.1f}",
            f"{row['lag_p50']:.1f} / {row['lag_p95']:.0f}",
            f"{row['transitions']:.0f}",
            f"{row['usd_per_1000']:.2f}",
            f"{row['jobs_per_minute']:.1f}",
            f"{row['ratio']:.2f} ({least:.2f}–{most:.2f})",
        )
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare ways of waiting for a render.")
    parser.add_argument("--quick", action="store_true", help="one seed and few jobs, as a test")
    parser.add_argument(
        "--weight",
        type=float,
        default=POLLS_PER_LAG_SECOND,
        help="polls that a second of lag is worth",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=DISTRIBUTIONS,
        help="a distribution; may be repeated (default: all)",
    )
    options = parser.parse_args()
    size = {"seeds": 1, "jobs": 300} if options.quick else {}
    print(markdown(rows(options.only or DISTRIBUTIONS, weight=options.weight, **size)))


if __name__ == "__main__":
    main()

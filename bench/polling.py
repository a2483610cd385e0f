"""Ways of polling a job until its end: the product's schedule, fixed rules, and the optimum."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from random import Random
from statistics import quantiles

from bench.renders import Draw, Job
from retake.domain.poll_schedule import MAX_GAP_SECONDS, POLLS_PER_LAG_SECOND, PollSchedule

EXECUTION_SECONDS = 3480  # after which an execution of the wait loop gives up
LEARNED_JOBS = 200  # that a schedule has been learned from
RELEARN_JOBS = 20  # between two schedules while they are learned

# Returns the seconds until the next poll, from the job's age, its age when it was last seen
# queued, and the number of polls so far.
Way = Callable[[float, float, int], float]


@dataclass
class Outcome:
    """What it took to follow some jobs to their end.

    Attributes:
        jobs: how many.
        polls: all polls.
        iterations: iterations of the wait loop; fewer than polls if calls sleep between polls.
        slept: seconds that calls slept.
        lags: seconds between the end and its poll, for each job that ended.
    """

    jobs: int = 0
    polls: int = 0
    iterations: int = 0
    slept: float = 0
    lags: list[float] = field(default_factory=list)

    def cost(self, weight: float) -> float:
        """Return what a schedule minimizes: polls, plus `weight` per second of lag, per job."""
        return (self.polls + weight * sum(self.lags)) / self.jobs


def follow(way: Way, jobs: Iterable[Job], max_sleep: float = 0) -> Outcome:
    """Poll each job until it has ended or its execution has given up.

    Parameters:
        way: when to poll.
        jobs: what to poll.
        max_sleep: gaps up to so many seconds are slept through inside a call.
    """
    outcome = Outcome()
    for job in jobs:
        age = queued_at = 0.0
        polls = 0
        while age < min(job.total, EXECUTION_SECONDS):
            if polls and age < job.queue:
                queued_at = age
            wait = way(age, queued_at, polls)
            if polls > 0 and wait <= max_sleep:
                outcome.slept += wait
            else:
                outcome.iterations += 1
            age = min(age + wait, EXECUTION_SECONDS)
            polls += 1
        outcome.jobs += 1
        outcome.polls += polls
        if job.total <= EXECUTION_SECONDS:
            outcome.lags.append(age - job.total)
    return outcome


def every(seconds: float, first: float = 0) -> Way:
    """Poll at a fixed interval, after a longer first wait if one is given."""
    return lambda age, queued_at, polls: seconds if polls or not first else first


def backoff(first: float, growth: float, cap: float) -> Way:
    """Poll at growing intervals from the start."""
    return lambda age, queued_at, polls: min(cap, first * growth**polls)


def growing(first: float, gap: float, growth: float, cap: float) -> Way:
    """Poll after a first wait, then at growing intervals, twice as long while the job is queued."""

    def wait(age: float, queued_at: float, polls: int) -> float:
        if not polls:
            return first
        is_queued = 0 < queued_at == age
        return min(cap, round(gap * growth ** (polls - 1)) * (2 if is_queued else 1))

    return wait


def quartiles(renders: Sequence[float]) -> Way:
    """Poll after the first quartile, then at growing intervals of a quarter of the middle half."""
    low, _, high = quantiles(renders, n=4)
    return growing(low, (high - low) / 4, 1.1, MAX_GAP_SECONDS)


def planned(schedule: PollSchedule) -> Way:
    """Poll as the wait loop does."""
    return lambda age, queued_at, polls: schedule.seconds_until_next(age, queued_at)


def at_ages(ages: Sequence[int]) -> Way:
    """Poll at given ages, whatever the polls show."""
    return lambda age, queued_at, polls: ages[polls] - age


def optimum(
    totals: Iterable[float], weight: float = POLLS_PER_LAG_SECOND, cap: int = MAX_GAP_SECONDS
) -> tuple[float, list[int]]:
    """Find the ages with the least cost for known jobs, by dynamic programming.

    Parameters:
        totals: seconds from the submit to the end of each job.
        weight: polls that a second of lag is worth.
        cap: the longest gap in seconds, except for the first.

    Returns:
        The cost per job, and the ages in whole seconds.
    """
    ordered = sorted(totals)
    sums = [0.0, *accumulate(total for total in ordered if total < inf)]
    ended = [bisect_left(ordered, age + 1e-9) for age in range(EXECUTION_SECONDS + 1)]
    cost = [0.0] * (EXECUTION_SECONDS + 1)
    following = [EXECUTION_SECONDS] * (EXECUTION_SECONDS + 1)
    for s in range(EXECUTION_SECONDS - 1, -1, -1):
        best = inf
        last = min(EXECUTION_SECONDS, s + cap) if s else EXECUTION_SECONDS
        for u in range(s + 1, last + 1):
            lag = weight * (u * (ended[u] - ended[s]) - sums[ended[u]] + sums[ended[s]])
            if lag >= best:
                break
            if lag + cost[u] < best:
                best = lag + cost[u]
                following[s] = u
        cost[s] = best + len(ordered) - ended[s]
    ages = [following[0]]
    while ages[-1] < EXECUTION_SECONDS:
        ages.append(following[ages[-1]])
    return cost[0] / len(ordered), ages


def learn(
    draw: Draw, random: Random, weight: float = POLLS_PER_LAG_SECOND, jobs: int = LEARNED_JOBS
) -> tuple[PollSchedule, list[float]]:
    """Follow some jobs as the product would, and learn from them.

    Parameters:
        draw: draws the jobs.
        random: the source of randomness.
        weight: polls that a second of lag is worth.
        jobs: how many jobs.

    Returns:
        The schedule after these jobs, and the total seconds of those that can be learned from.
    """
    schedule = PollSchedule.learn((), weight)
    renders: list[float] = []
    totals: list[float] = []
    for number in range(jobs):
        job = draw(random, number / jobs)
        if number % RELEARN_JOBS == 0:
            schedule = PollSchedule.learn(renders, weight)
        age = queued_at = 0.0
        while age < min(job.total, EXECUTION_SECONDS):
            age += schedule.seconds_until_next(age, queued_at)
            queued_at = age if age < job.queue else queued_at
        if job.total < EXECUTION_SECONDS and not job.failed:
            # As the product counts: from the age at which the job was last seen queued.
            renders.append(job.total - queued_at)
            totals.append(job.total)
    return PollSchedule.learn(renders, weight), totals

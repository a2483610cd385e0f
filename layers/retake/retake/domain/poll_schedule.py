"""When to ask Segmind again: requests are scarce, and lag is what people notice.

A schedule is a list of ages, in seconds since the submit, at which a job is polled. It is the
cheapest list for the recent render times, where a poll costs 1 and a second between the end of a
render and the poll that sees it costs `POLLS_PER_LAG_SECOND`. With F the share of renders that
have ended by an age, the cost of continuing from a poll at age s that found the job unfinished,
times the share of jobs this happens to, is

    cost(s) = 1 - F(s) + min over u of (w * sum of (u - x) over renders x in (s, u] + cost(u)),
              s < u <= s + MAX_GAP_SECONDS,

solved from the last render backwards. Between two renders nothing is gained by asking later than
right after the first, so the renders themselves, and a few ages between those that are far apart,
are the only candidates: about 100 sums for each of 200, a few milliseconds.

The renders are recent ones: if the newest batch takes longer or shorter than the rest, the rest is
forgotten, and newer ones weigh more. Each is spread to its neighbors, so that a schedule does not
follow the accidents of 200 samples. While there are few, the published mean stands in. Past the
longest render the gaps grow up to the cap.

Ages correct themselves where a list of waits would not: a poll that comes late (a pause, a replaced
execution) is followed by the next planned one. A job that was still in Segmind's queue begins its
schedule then, because its render cannot have begun before.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt

from .limits import RECORD_LIFETIME_SECONDS

# Gives 4.7 polls at 10 s mean lag for the usual renders (mean 164 s, standard deviation 40 s).
POLLS_PER_LAG_SECOND = 0.5
MAX_GAP_SECONDS = 60  # a longer gap is fragile when queues appear
MAX_RENDER_SECONDS = RECORD_LIFETIME_SECONDS - MAX_GAP_SECONDS  # longer ones are not learned from
RENDER_WINDOW = 200  # renders that a schedule is learned from
HALF_LIFE = 60  # renders after which one weighs half
NEIGHBORS = 5  # places to either side that a render is spread over
# Size of a newest batch, and the standard deviations by which it must differ until older renders
# are forgotten. The fewer are left, the less is learned from them, and the surer it must be.
CHANGE_TESTS = ((50, 2.5), (25, 3.0))
TAIL_GROWTH = 1.5  # of the gaps past the last planned age
MAX_AGES = 40
# Quantiles of a log-logistic distribution: Segmind's published mean, 164 s, and a spread that is a
# guess, as others quote minutes more.
PRIOR = tuple(155.4 * (n / (40 - n)) ** 0.18 for n in range(1, 40))
PRIOR_RENDERS = 6  # renders that the prior weighs at first; half as much after so many, and so on
WeightedRender = tuple[float, float]  # a render's seconds, and its weight


@dataclass(frozen=True)
class PollSchedule:
    """The ages at which a job is polled, in whole seconds since its submit, ascending."""

    ages: tuple[int, ...]

    @classmethod
    def learn(
        cls, renders: Sequence[float] = (), weight: float = POLLS_PER_LAG_SECOND
    ) -> "PollSchedule":
        """Return the schedule that is cheapest for renders like the recent ones.

        Parameters:
            renders: seconds that renders took, oldest first, counted as `seconds_until_next`
                counts.
            weight: polls that a second of lag is worth.
        """
        usable = [x for x in renders[-RENDER_WINDOW:] if 0 < x < MAX_RENDER_SECONDS]
        weighted = sorted([*_prior(len(usable)), *_spread(_current(usable))])
        return cls(tuple(_cheapest(weighted, weight)))

    def jittered(self, fraction: float) -> "PollSchedule":
        """Shift the schedule by up to a quarter of its first gap either way.

        Without it, jobs that were dropped together would be polled together.

        Parameters:
            fraction: random in [0, 1).
        """
        shift = round((fraction - 0.5) * self._gap(0) / 2)
        return PollSchedule(tuple(max(n, age + shift) for n, age in enumerate(self.ages, 1)))

    def seconds_until_next(self, age: float, queued_at: float = 0, stretch: float = 1) -> int:
        """Return the seconds until the next poll.

        Parameters:
            age: seconds since the submit.
            queued_at: the age at which the job was last seen in Segmind's queue, 0 if never;
                the schedule counts from there.
            stretch: 1 or more, by how much longer gaps are while requests are scarce.
        """
        since = age - queued_at
        n = bisect_right(self.ages, since)
        if n < len(self.ages) and self.ages[n] - since < self._gap(n) / 2:
            n += 1  # this poll came late enough to stand for that one, too
        if n < len(self.ages):
            wait = self.ages[n] - since
        else:
            past_the_end = max(0, since - self.ages[-1])
            wait = TAIL_GROWTH * self._gap(n) + (TAIL_GROWTH - 1) * past_the_end
        if n or queued_at:
            wait = min(MAX_GAP_SECONDS, wait * max(1, stretch))
        return max(1, round(wait))

    def end_seen(self, render: float) -> tuple[int, int]:
        """Return after how many polls, and at which age, the end of a render is seen.

        Parameters:
            render: seconds that the render takes.
        """
        polls, age = 1, self.seconds_until_next(0)
        while age < render:
            polls, age = polls + 1, age + self.seconds_until_next(age)
        return polls, age

    def _gap(self, n: int) -> int:
        """Return the gap before the n-th age, from 0; the outermost gaps stand for those beyond."""
        gaps = [later - age for age, later in pairwise(self.ages)] or [ceil(self.ages[0] / 20)]
        return gaps[min(n, len(gaps)) - 1] if n else min(gaps[0], self.ages[0])


def _current(renders: list[float]) -> list[float]:
    """Leave out what was before the renders changed, judged by a rank-sum test."""
    for size, deviations in CHANGE_TESTS:
        older, newer = sorted(renders[:-size]), renders[-size:]
        if len(older) >= size:
            ranks = (bisect_left(older, x) + bisect_right(older, x) - len(older) for x in newer)
            spread = sqrt(size * len(older) * (len(renders) + 1) / 3)
            if abs(sum(ranks)) > deviations * spread:
                renders = newer
    return renders


def _prior(renders: int) -> Iterator[WeightedRender]:
    """Yield the prior, which stands in while there are few renders."""
    if renders < RENDER_WINDOW / 2:
        weight = PRIOR_RENDERS * 0.5 ** (renders / PRIOR_RENDERS) / len(PRIOR)
        yield from ((x, weight) for x in PRIOR)


def _spread(renders: list[float]) -> Iterator[WeightedRender]:
    """Weigh renders by their recency, and spread each to its neighbors."""
    ranked = sorted((x, 0.5 ** (age / HALF_LIFE)) for age, x in enumerate(reversed(renders)))
    for n, (x, weight) in enumerate(ranked):
        below = ranked[max(0, n - NEIGHBORS)][0]
        above = ranked[min(len(ranked) - 1, n + NEIGHBORS)][0]
        for at in (x - (x - below) * 0.7, x, x + (above - x) * 0.7):
            yield at, weight / 3


def _cheapest(points: list[WeightedRender], weight: float) -> Iterator[int]:
    """Solve the recursion above for weighted renders, ascending; yield the ages."""
    ages = _candidate_ages(points)
    ended, seconds = _cumulated(points, ages)
    last = len(ages) - 1
    cost, following = [0.0] * len(ages), [last] * len(ages)
    for s in range(last - 1, -1, -1):
        best = float("inf")
        for u in range(s + 1, len(ages)):
            lag = weight * (ages[u] * (ended[u] - ended[s]) - (seconds[u] - seconds[s]))
            if lag >= best or (s and ages[u] - ages[s] > MAX_GAP_SECONDS):
                break
            if lag + cost[u] < best:
                best, following[s] = lag + cost[u], u
        cost[s] = best + 1 - ended[s]
    n = 0
    for _ in range(MAX_AGES):
        if n < last:
            n = following[n]
            yield ages[n]


def _candidate_ages(points: list[WeightedRender]) -> list[int]:
    """Return the ages worth asking at: right after each render, and a few between distant ones."""
    ages = [0]
    for age in sorted({ceil(x) for x, _ in points}):
        gap = age - ages[-1]
        parts = ceil(gap / (MAX_GAP_SECONDS / 3))
        ages += [age - gap * part // parts for part in reversed(range(parts))]
    return ages


def _cumulated(points: list[WeightedRender], ages: list[int]) -> tuple[list[float], list[float]]:
    """Return the share of renders that have ended by each age, and their summed seconds."""
    ended, seconds, total = [], [], sum(mass for _, mass in points)
    share = sum_of = 0.0
    n = 0
    for age in ages:
        while n < len(points) and points[n][0] <= age:
            share += points[n][1] / total
            sum_of += points[n][0] * points[n][1] / total
            n += 1
        ended.append(share)
        seconds.append(sum_of)
    return ended, seconds

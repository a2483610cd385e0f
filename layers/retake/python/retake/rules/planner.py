"""When to ask Segmind again: requests are the scarce good, lag is what people feel.

A plan is a list of ages, in seconds since the submit, at which a job is asked for. It is the cheapest list for the recent render times,
where a poll costs 1 and a second between the end of a render and the poll that sees it costs `WEIGHT`. With F the share of renders that
have ended by an age, the cost of going on from a poll at age s that found the job unfinished, times the share of jobs this happens to, is

    cost(s) = 1 - F(s) + min over u of ( WEIGHT * sum of (u - x) over the renders x in (s, u] + cost(u) ),    s < u <= s + LONGEST_GAP,

solved from the last render backwards. Between two renders nothing is gained by asking later than right after the first, so the renders
themselves, and a few ages between those that are far apart, are the only candidates: about 100 sums for each of 200, some milliseconds.

The renders are those of the present, not of all times: a newest batch that is longer or shorter than the rest makes the rest forgotten, and
of what is left newer ones weigh more. Each is spread to its neighbours, so that a plan does not follow the accidents of 200 samples;
while there are few, the published mean stands in. Past the longest render the gaps grow to the cap.

Ages correct themselves where a list of waits would not: a poll that comes late (a pause, a run started anew) is followed by the next
planned one. A job that Segmind still had in its queue begins its plan then: its render cannot have begun before.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt

from .contract import RECORD_LIFE

WEIGHT = 0.5  # polls that a second of lag is worth: gives 4.7 polls at 10 s mean lag for the usual renders (mean 164 s, sd 40 s)
LONGEST_GAP = 60  # seconds; a longer one is fragile when queues appear
LONGEST_RENDER = RECORD_LIFE - LONGEST_GAP  # seconds; what is told to have taken longer is not learned from
WINDOW = 200  # renders that a plan is learned from
HALF_LIFE = 60  # renders after which one weighs half
NEIGHBOURS = 5  # places to either side that a render is spread over
# Renders in a newest batch, and the standard deviations by which it has to differ until older ones are forgotten: the fewer are left, the
# less is learned from them, and the surer it must be.
SURPRISES = ((50, 2.5), (25, 3.0))
TAIL_GROWTH = 1.5  # of the gaps past the last planned age
MOST_AGES = 40
# Quantiles of a log-logistic distribution: Segmind's published mean, 164 s, and a spread that is a guess, as others quote minutes more.
PRIOR = tuple(155.4 * (n / (40 - n)) ** 0.18 for n in range(1, 40))
PRIOR_RENDERS = 6  # that the prior weighs at first; half as much after so many renders, and so on
Point = tuple[float, float]  # a render's seconds, and its weight


@dataclass(frozen=True)
class Plan:
    """The ages at which a job is asked for, in whole seconds since its submit, ascending."""

    ages: tuple[int, ...]

    @classmethod
    def learn(cls, renders: Sequence[float] = (), weight: float = WEIGHT) -> "Plan":
        """Make the plan that is cheapest for renders like the recent ones.

        Parameters: `renders`, seconds that renders took, oldest first, counted as a plan counts (see `wait`), as many as there are;
        `weight`, polls that a second of lag is worth.
        """
        usable = [seconds for seconds in renders[-WINDOW:] if 0 < seconds < LONGEST_RENDER]
        return cls(tuple(_cheapest(sorted([*_prior(len(usable)), *_spread(_present(usable))]), weight)))

    @classmethod
    def from_input(cls, given: dict[str, list[int]]) -> "Plan":
        """Read the plan from the execution's input."""
        return cls(tuple(given["ages"]))

    def as_input(self) -> dict[str, list[int]]:
        """Give the plan as the execution's input carries it."""
        return {"ages": list(self.ages)}

    def jittered(self, fraction: float) -> "Plan":
        """Shift the plan by up to a quarter of its first gap either way, or jobs dropped together would poll together.

        Parameters: `fraction`, random in [0, 1).
        """
        shift = round((fraction - 0.5) * self._gap(0) / 2)
        return Plan(tuple(max(n, age + shift) for n, age in enumerate(self.ages, 1)))

    def wait(self, age: float, queued: float = 0, stretch: float = 1) -> int:
        """Give the seconds until the next poll.

        Parameters: `age`, seconds since the submit; `queued`, the age at which the job was last seen in Segmind's queue, 0 if never: from
        there the plan counts; `stretch`, 1 or more, by how much longer gaps are while requests are short.
        """
        since = age - queued
        n = bisect_right(self.ages, since)
        if n < len(self.ages) and self.ages[n] - since < self._gap(n) / 2:
            n += 1  # this poll came late enough to stand for that one, too
        if n < len(self.ages):
            wait = self.ages[n] - since
        else:
            wait = TAIL_GROWTH * self._gap(n) + (TAIL_GROWTH - 1) * max(0, since - self.ages[-1])
        if n or queued:
            wait = min(LONGEST_GAP, wait * max(1, stretch))
        return max(1, round(wait))

    def seen(self, render: float) -> tuple[int, int]:
        """Tell after how many polls, and at which age, the end of a render of so many seconds is seen."""
        polls, age = 1, self.wait(0)
        while age < render:
            polls, age = polls + 1, age + self.wait(age)
        return polls, age

    def _gap(self, n: int) -> int:
        """The gap before the n-th age, counted from 0; the first and the last gap stand for those outside."""
        gaps = [later - age for age, later in pairwise(self.ages)] or [ceil(self.ages[0] / 20)]
        return gaps[min(n, len(gaps)) - 1] if n else min(gaps[0], self.ages[0])


def _present(renders: list[float]) -> list[float]:
    """Leave out what was before the renders changed: a newest batch stands alone if it is longer or shorter (a rank-sum test)."""
    for size, deviations in SURPRISES:
        older, newer = sorted(renders[:-size]), renders[-size:]
        if len(older) >= size:
            ahead = sum(bisect_left(older, x) + bisect_right(older, x) - len(older) for x in newer)
            if abs(ahead) > deviations * sqrt(size * len(older) * (len(renders) + 1) / 3):
                renders = newer
    return renders


def _prior(renders: int) -> Iterator[Point]:
    """Let the prior stand in while there are few renders."""
    if renders < WINDOW / 2:
        yield from ((x, PRIOR_RENDERS * 0.5 ** (renders / PRIOR_RENDERS) / len(PRIOR)) for x in PRIOR)


def _spread(renders: list[float]) -> Iterator[Point]:
    """Weigh renders by their recency, and spread each to its neighbours."""
    ranked = sorted((x, 0.5 ** (recent / HALF_LIFE)) for recent, x in enumerate(reversed(renders)))
    for n, (x, weight) in enumerate(ranked):
        below, above = ranked[max(0, n - NEIGHBOURS)][0], ranked[min(len(ranked) - 1, n + NEIGHBOURS)][0]
        yield from ((at, weight / 3) for at in (x - (x - below) * 0.7, x, x + (above - x) * 0.7))


def _cheapest(points: list[Point], weight: float) -> Iterator[int]:
    """Solve the recursion above for weighted renders, ascending; give the ages."""
    at = [0]
    for age in sorted({ceil(x) for x, _ in points}):
        parts = ceil((age - at[-1]) / (LONGEST_GAP / 3))
        at += [age - (age - at[-1]) * part // parts for part in reversed(range(parts))]
    ended, seconds, total = [], [], sum(mass for _, mass in points)
    share = sum_of = 0.0
    n = 0
    for age in at:
        while n < len(points) and points[n][0] <= age:
            share += points[n][1] / total
            sum_of += points[n][0] * points[n][1] / total
            n += 1
        ended.append(share)
        seconds.append(sum_of)
    last = len(at) - 1
    cost, following = [0.0] * len(at), [last] * len(at)
    for s in range(last - 1, -1, -1):
        best = float("inf")
        for u in range(s + 1, len(at)):
            lag = weight * (at[u] * (ended[u] - ended[s]) - (seconds[u] - seconds[s]))
            if lag >= best or (s and at[u] - at[s] > LONGEST_GAP):
                break
            if lag + cost[u] < best:
                best, following[s] = lag + cost[u], u
        cost[s] = best + 1 - ended[s]
    n = 0
    for _ in range(MOST_AGES):
        if n < last:
            n = following[n]
            yield at[n]

"""Simulated jobs: how long they queue and render, drawn from several distributions."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log, sqrt
from random import Random

FAILED_SHARE = 0.02
ENDLESS_SHARE = 0.01
MEAN_QUEUE_SECONDS = 240
USUAL = (164, 40)  # mean and standard deviation of the usual renders, in seconds


@dataclass(frozen=True)
class Job:
    """A simulated job.

    Attributes:
        queue: seconds in Segmind's queue.
        render: seconds of rendering; infinite if it never ends.
        failed: whether it ends FAILED, and so has no render time to learn from.
    """

    queue: float
    render: float
    failed: bool = False

    @property
    def total(self) -> float:
        """Return the seconds from the submit to the end."""
        return self.queue + self.render


# Draws a job. The second argument goes from 0 to 1 over the jobs that a schedule is learned from,
# and stays 1 afterwards: some distributions change meanwhile.
Draw = Callable[[Random, float], Job]
DrawRender = Callable[[Random, float], float]  # draws the seconds of a render in the same way


def lognormal(random: Random, mean: float, deviation: float) -> float:
    """Draw from the log-normal distribution with a mean and a standard deviation."""
    variance = log(1 + (deviation / mean) ** 2)
    return random.lognormvariate(log(mean) - variance / 2, sqrt(variance))


def realistic(draw_render: DrawRender, queued_share: float = 0) -> Draw:
    """Let some jobs fail early, some never end, and a share wait in Segmind's queue first."""

    def draw(random: Random, progress: float) -> Job:
        fate, render = random.random(), draw_render(random, progress)
        if fate < FAILED_SHARE:
            return Job(0, random.uniform(2, 60), failed=True)
        is_queued = random.random() < queued_share
        queue = random.expovariate(1 / MEAN_QUEUE_SECONDS) if is_queued else 0
        return Job(queue, inf if fate > 1 - ENDLESS_SHARE else render)

    return draw


def _constant(mean: float, deviation: float, queued_share: float = 0) -> Draw:
    """Draw log-normal renders that do not change."""
    return realistic(lambda random, _: lognormal(random, mean, deviation), queued_share)


def _mixed(first: tuple[float, float], second: tuple[float, float], share: float) -> Draw:
    """Mix two log-normal distributions, given as mean and deviation; a share is of the first."""
    return realistic(
        lambda random, _: lognormal(random, *(first if random.random() < share else second))
    )


def _drifting(first: tuple[float, float], last: tuple[float, float]) -> Draw:
    """Draw log-normal renders whose mean and deviation change steadily from first to last."""

    def render(random: Random, progress: float) -> float:
        mean = first[0] + (last[0] - first[0]) * progress
        deviation = first[1] + (last[1] - first[1]) * progress
        return lognormal(random, mean, deviation)

    return realistic(render)


def _jumping(first: tuple[float, float], last: tuple[float, float], at: float) -> Draw:
    """Draw log-normal renders whose mean and deviation change at once."""
    return realistic(
        lambda random, progress: lognormal(random, *(first if progress < at else last))
    )


DISTRIBUTIONS: dict[str, Draw] = {
    "narrow": _constant(164, 8),
    "usual": _constant(*USUAL),
    "wide": _constant(164, 100),
    "two humps": _mixed((90, 10), (240, 25), 0.5),
    "queueing": _constant(*USUAL, queued_share=0.2),
    "drift up": _drifting((164, 41), (240, 60)),
    "drift down": _drifting((240, 60), (164, 41)),
    "jump": _jumping((164, 40), (260, 50), at=0.75),
    "far humps": _mixed((60, 4), (700, 30), 0.7),
    "even": realistic(lambda random, _: random.uniform(30, 600)),
    "boot, then memoryless": realistic(lambda random, _: 40 + random.expovariate(1 / 150)),
    "long": _constant(900, 200),
    "heavy tail": realistic(lambda random, _: 100 * random.paretovariate(2.5)),
}
ODD = ("far humps", "even", "boot, then memoryless", "long", "heavy tail")

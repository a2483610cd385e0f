"""What a job will cost, estimated from what past jobs have cost.

Segmind doesn't say how it bills: a price per clip, per second, or per pixel. So each of these
*bases* has a rate, and those that explain the latest costs best give the estimate.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from operator import mul
from typing import Protocol

from .footage import Footage, sent_size
from .refusal import Refusal
from .sidecar import Sidecar

FLAT_USD = 0.60  # Segmind's published mean price of this model
# Luma's list price of its faster model (ray-flash-2), in USD per megapixel of output; 0.60 USD is
# what five seconds of 720p cost at it.
MEGAPIXEL_USD = 0.00544
FRAMES_PER_SECOND = 24  # of what the model gives back
WINDOW = 200  # costs that are kept
HALF_LIFE = 10  # costs after which one counts half: a new way of billing decides after 20
MIN_COSTS = 5  # fewer say nothing
SIMILAR_ERROR = 0.02  # bases whose errors differ by no more explain the costs equally well
CONFIRMED = 0.10  # a rate that is so near to the published one confirms it
MIN_USD = 0.0001  # nothing is learned from a lower cost
MIN_WORK = 0.01  # seconds or megapixels; nor from a clip with less
MAX_TIMES = 50  # the estimate: a higher cost is not believed
SIZES = ("source", "1080", "720", "540")


class SpendingLimits(Protocol):
    """What may be spent.

    Attributes:
        max_job_usd: for one job, unless its sidecar says more.
        daily_budget_usd: for all jobs of a day (UTC); 0 stops them all for now.
    """

    @property
    def max_job_usd(self) -> float: ...

    @property
    def daily_budget_usd(self) -> float: ...


class Basis(StrEnum):
    """What a price can depend on; the values are the words for its unit."""

    CLIP = "clip"
    SECOND = "second"
    MEGAPIXEL = "megapixel"


PUBLISHED: Mapping[Basis, float] = {Basis.CLIP: FLAT_USD, Basis.MEGAPIXEL: MEGAPIXEL_USD}


@dataclass(frozen=True)
class Work:
    """What Segmind has to do for a clip.

    Attributes:
        seconds: the length of the clip.
        megapixels: of all frames that come back.
    """

    seconds: float
    megapixels: float

    @classmethod
    def of(cls, footage: Footage, short_side: int | None) -> "Work":
        """Return the work of a clip that is sent with at most `short_side` pixels."""
        width, height = sent_size(footage, short_side)
        frames = FRAMES_PER_SECOND * footage.seconds
        return cls(footage.seconds, round(width * height * frames / 1e6, 3))

    def units(self, basis: Basis) -> float:
        """Return for how many units of a basis it is billed."""
        return {Basis.CLIP: 1.0, Basis.SECOND: self.seconds, Basis.MEGAPIXEL: self.megapixels}[
            basis
        ]


@dataclass(frozen=True)
class Cost:
    """What one job has cost.

    Attributes:
        job: the first digits of its ID.
        work: what Segmind had to do.
        usd: what it billed.
    """

    job: str
    work: Work
    usd: float

    @property
    def is_usable(self) -> bool:
        """Tell whether something can be learned from it."""
        return self.usd > MIN_USD and min(self.work.seconds, self.work.megapixels) > MIN_WORK


@dataclass(frozen=True)
class Estimate:
    """What a job will cost.

    Attributes:
        usd: the price.
        rate: what it is based on, in plain words.
        is_learned: whether that was learned from costs.
    """

    usd: float
    rate: str
    is_learned: bool = False


@dataclass(frozen=True)
class FolderCap:
    """What may be spent in a day for the clips of a folder.

    Attributes:
        folder: the folder, with a slash at its end; empty for the whole bucket.
        daily_usd: the cap.
    """

    folder: str
    daily_usd: float


@dataclass(frozen=True)
class Prices:
    """The rates that estimates are made of; if there are several, the dearest decides.

    Attributes:
        rates: USD per unit of each basis.
        costs: how many costs they were learned from; 0 if they are assumed.
    """

    rates: Mapping[Basis, float] = field(default_factory=lambda: PUBLISHED)
    costs: int = 0

    @classmethod
    def learn(cls, costs: Sequence[Cost]) -> "Prices":
        """Learn from costs, oldest first; before there are some, the published prices hold."""
        usable = [each for each in costs if each.is_usable]
        if len(usable) < MIN_COSTS:
            return cls()
        weights = [0.5 ** (age / HALF_LIFE) for age in reversed(range(len(usable)))]
        rates, errors = {}, {}
        for basis in Basis:
            units = [each.work.units(basis) for each in usable]
            ratios = [each.usd / unit for each, unit in zip(usable, units, strict=True)]
            rate = rates[basis] = _median(ratios, weights)
            # Capped, because an absurd cost says nothing about a basis.
            off = [min(1.0, abs(rate / ratio - 1)) for ratio in ratios]
            errors[basis] = sum(map(mul, off, weights)) / sum(weights)
        limit = min(errors.values()) + SIMILAR_ERROR
        similar = {basis: rates[basis] for basis in Basis if errors[basis] <= limit}
        confirmed = {basis: rate for basis, rate in similar.items() if _confirms(basis, rate)}
        chosen = confirmed or similar
        return cls({basis: round(rate, 9) for basis, rate in chosen.items()}, len(usable))

    def estimate(self, work: Work | None) -> Estimate:
        """Estimate a price; without its work, a clip counts as one of mean price."""
        if work is None:
            return Estimate(self.rates.get(Basis.CLIP, FLAT_USD), "the mean price of a clip")
        prices = {basis: rate * work.units(basis) for basis, rate in self.rates.items()}
        basis = max(prices, key=lambda each: prices[each])
        rate = f"{self.rates[basis]:.4g} USD per {basis}"
        learned = f", learned from {self.costs} jobs" if self.costs else ", as published"
        return Estimate(max(0.01, round(prices[basis], 2)), rate + learned, self.costs > 0)

    def by_size(self, footage: Footage) -> dict[str, float]:
        """Return what a clip costs at each `size`, in USD."""
        return {
            size: self.estimate(Work.of(footage, int(size) if size.isdecimal() else None)).usd
            for size in SIZES
        }

    def refusal(
        self,
        footage: Footage | None,
        sidecar: Sidecar,
        limits: SpendingLimits,
        cap: FolderCap | None,
    ) -> Refusal | None:
        """Return why a clip is too dear to be sent at all, and what to put into its sidecar."""
        work = Work.of(footage, sidecar.short_side) if footage else None
        usd, sizes = self.estimate(work).usd, _list_sizes(self.by_size(footage)) if footage else ""
        most = limits.max_job_usd if sidecar.max_usd is None else sidecar.max_usd
        if usd > most:
            name = "MaxJobUsd" if sidecar.max_usd is None else "the max_usd in its sidecar"
            return Refusal(
                f"it would cost about {usd:.2f} USD, more than {name}, {most:g} USD{sizes}",
                f'to pay that, put "max_usd": {ceil(1.1 * usd)} into its sidecar; '
                'to pay less, put a smaller "size" into it',
                "max_usd",
            )
        if cap and usd > cap.daily_usd:
            return Refusal(
                f"it would cost about {usd:.2f} USD, more than the {cap.daily_usd:g} USD that "
                f"{cap.folder or 'the bucket'} may cost in a day{sizes}",
                'raise daily_usd in the preset, or put a smaller "size" into the sidecar',
                "size",
            )
        if 0 < limits.daily_budget_usd < usd:
            return Refusal(
                f"it would cost about {usd:.2f} USD, more than DailyBudgetUsd, "
                f"{limits.daily_budget_usd:g} USD{sizes}",
                'raise DailyBudgetUsd, or put a smaller "size" into the sidecar',
                "size",
            )
        return None

    def describe(self) -> str:
        """Describe the rates in one line."""
        rates = " or ".join(f"{rate:.4g} USD per {basis}" for basis, rate in self.rates.items())
        return (
            f"{rates}, learned from {self.costs} jobs" if self.costs else f"{rates}, as published"
        )


def _list_sizes(prices: Mapping[str, float]) -> str:
    """List the prices at the sizes that change something."""
    distinct = {usd: size for size, usd in prices.items()}
    if len(distinct) < 2:
        return ""
    listed = ", ".join(f"{usd:.2f} at {size}" for usd, size in sorted(distinct.items()))
    return f" (USD by size: {listed})"


def believable(usd: float | None, estimate_usd: float) -> float | None:
    """Return a cost that was reported; `None` if it is missing, zero, or absurd."""
    return usd if usd and 0 < usd <= MAX_TIMES * max(estimate_usd, FLAT_USD) else None


def add(costs: Iterable[Cost], new: Cost) -> list[Cost]:
    """Add a cost to those that are kept; one job has one cost."""
    return [*(each for each in costs if each.job != new.job), new][-WINDOW:]


def _confirms(basis: Basis, rate: float) -> bool:
    published = PUBLISHED.get(basis)
    return published is not None and abs(rate / published - 1) <= CONFIRMED


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the value that half of the weight is below."""
    order: Callable[[int], float] = values.__getitem__
    left = sum(weights) / 2
    for index in sorted(range(len(values)), key=order):
        left -= weights[index]
        if left <= 0:
            return values[index]
    raise ValueError("there are no values")

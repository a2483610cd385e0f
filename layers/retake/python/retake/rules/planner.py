"""When to ask Segmind again: requests are the scarce good, lag is what people feel.

The figures are those of the published mean of 164 s: asking first near the 25th percentile and then in small growing steps needs
about 4.7 requests a job at 9 s mean lag, where a fixed interval of 2 s needs 94.
"""

from dataclasses import asdict, dataclass

LONGEST_GAP = 60  # seconds; a longer one is fragile when queues appear


@dataclass(frozen=True)
class Plan:
    """The waits of one job, in seconds: `first` before the first poll, then `gap`, growing by `growth` each time."""

    first: int = 120
    gap: int = 15
    growth: float = 1.05

    def as_input(self) -> dict[str, float]:
        """Give the plan as the execution's input carries it."""
        return asdict(self)

    def wait(self, polls: int, queued: bool = False) -> int:
        """Give the seconds to wait after `polls` polls; a job still in the queue at Segmind may wait longer."""
        if not polls:
            return self.first
        return min(LONGEST_GAP, round(self.gap * self.growth ** (polls - 1) * (2 if queued else 1)))

    def jittered(self, fraction: float) -> "Plan":
        """Spread the first wait by up to 10 % either way; `fraction` is random in [0, 1): jobs dropped together would poll together."""
        return Plan(round(self.first * (0.9 + 0.2 * fraction)), self.gap, self.growth)

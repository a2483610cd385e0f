"""The gate as the functions use it: each step is one conditional write on what is there now."""

from collections.abc import Callable

from .adapters.jobs import JobsTable
from .rules.gate import Gate, Limits, Shut
from .rules.states import Held


class Gatekeeper:
    """Lets jobs and requests through, or tells why not."""

    def __init__(self, jobs: JobsTable, limits: Limits, clock: Callable[[], float]) -> None:
        self._jobs, self._limits, self._clock = jobs, limits, clock

    def admit(self, job_id: str) -> Shut | None:
        """Let one job be submitted, `None`; or tell why not."""
        return self._step(lambda gate: gate.admit(job_id, self._limits, self._clock()))

    def would_admit(self, job_id: str) -> Shut | None:
        """Tell, without changing anything, why a job would not be let through; `None` if it would."""
        outcome = self._jobs.gate()[0].admit(job_id, self._limits, self._clock())
        return outcome if isinstance(outcome, Shut) else None

    def ask(self) -> Shut | None:
        """Let one request be made, `None`; or tell how long to wait."""
        return self._step(lambda gate: gate.ask(self._limits, self._clock()))

    def stretch(self) -> float:
        """Tell by how much longer gaps between polls should be while requests are short."""
        return self._jobs.gate()[0].stretch(self._limits, self._clock())

    def release(self, job_id: str, cost_usd: float | None = None) -> bool:
        """Give a job's lease back at its real cost; false when too many others were at the gate."""
        return self._step(lambda gate: gate.release(job_id, self._clock(), cost_usd)) is None

    def keep_back(self, held: Held, reason: str) -> bool:
        """Put a hold in force; tells whether it is a new one."""
        return self._is_news(lambda gate: gate.keep_back(held, reason, self._clock()))

    def lift(self) -> bool:
        """End the hold; tells whether there was one."""
        return self._is_news(Gate.lift)

    def park(self) -> bool:
        """Note that the day's budget was reached; tells whether nobody had yet."""
        return self._is_news(lambda gate: gate.park(self._clock()))

    def pause(self, seconds: int) -> None:
        """Ask nothing for some seconds."""
        self._step(lambda gate: gate.pause(seconds, self._clock()))

    def free(self) -> int:
        """Count the jobs that could be let through now."""
        return self._jobs.gate()[0].free(self._limits, self._clock())

    def _step(self, step: Callable[[Gate], Gate | Shut]) -> Shut | None:
        outcome = self._jobs.at_gate(step)
        return outcome if isinstance(outcome, Shut) else None

    def _is_news(self, step: Callable[[Gate], Gate]) -> bool:
        return self._jobs.at_gate(step) is True

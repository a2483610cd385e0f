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

    def keep_back(self, held: Held, reason: str) -> None:
        """Put a hold in force."""
        self._step(lambda gate: gate.keep_back(held, reason, self._clock()))

    def lose(self, reason: str) -> None:
        """Count an answer that was lost."""
        self._step(lambda gate: gate.lose(reason, self._clock()))

    def lift(self) -> None:
        """End the hold: a submit was accepted."""
        self._step(lambda gate: gate.lift(self._clock()))

    def lifted_since(self, second: float) -> bool:
        """Tell whether a hold has ended since some second."""
        return self._jobs.gate()[0].lifted >= second

    def park(self, reason: str) -> None:
        """Note that the day's budget was reached."""
        self._step(lambda gate: gate.park(reason, self._clock()))

    def news(self) -> list[dict[str, str]]:
        """List what people have not been told yet: `what` has happened, to which `held`, and a `message`."""
        return self._jobs.gate()[0].news

    def told(self, event: dict[str, str]) -> None:
        """Forget news that people were told."""
        self._step(lambda gate: gate.told(event))

    def pause(self, seconds: int) -> None:
        """Ask nothing for some seconds."""
        self._step(lambda gate: gate.pause(seconds, self._clock()))

    def free(self) -> int:
        """Count the jobs that could be let through now."""
        return self._jobs.gate()[0].free(self._limits, self._clock())

    def figures(self) -> dict[str, float]:
        """Say how things stand at the gate."""
        return self._jobs.gate()[0].figures(self._limits, self._clock())

    def _step(self, step: Callable[[Gate], Gate | Shut]) -> Shut | None:
        return self._jobs.at_gate(step)

"""Moves on what stopped halfway: one record at a time, each step repeatable."""

from ..aws.job_store import JobStore
from ..domain.intake import InputRecord
from ..domain.job import Job, State
from ..observability import logger
from .admission_control import Waker
from .recover import Recovery
from .settle import Settlement
from .wait_loops import WaitLoops
from .waiting import RECHECK_SECONDS, WaitingFiles


class Reconciler:
    """Brings a record that is due back on its way; two sweeps at once do no harm."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        waiting: WaitingFiles,
        wait_loops: WaitLoops,
        recovery: Recovery,
        settlement: Settlement,
        waker: Waker,
    ) -> None:
        self._jobs, self._waiting, self._wait_loops = jobs, waiting, wait_loops
        self._recovery, self._settlement, self._waker = recovery, settlement, waker

    def begin_sweep(self) -> None:
        """Begin a sweep: what was read in the one before is forgotten."""
        self._recovery.begin_sweep()

    def reconcile(self, entry: Job | InputRecord) -> None:
        """Move on a job or a waiting file that is due."""
        if isinstance(entry, InputRecord):
            self._waiting.look_again(entry)
            return
        logger.info("due for follow-up", job_id=entry.id, state=entry.state)
        if entry.has_ended:
            self._settlement.settle(entry.id)
            return
        match entry.state:
            case State.SUBMITTING:
                self._recovery.begin(entry)
            case State.SUBMIT_UNKNOWN:
                self._recovery.search(entry)
            case State.RENDERING | State.FETCHING | State.FINISHING:
                self._follow(entry)
            case _ if entry.needs_attention:
                self._recovery.search(entry)
            case _:  # claimed, or held for a trouble of its own
                self._jobs.update(entry, due_in=RECHECK_SECONDS)
                self._waker.wake(entry.id)

    def _follow(self, job: Job) -> None:
        """Make sure that a wait loop runs for a job that Segmind has."""
        if self._wait_loops.is_running(job):
            self._jobs.update(job, due_in=RECHECK_SECONDS)
            return
        restarted = self._jobs.update(job, due_in=RECHECK_SECONDS, run=job.run + 1)
        if restarted:
            self._wait_loops.replace(restarted)

"""The audit of the input bucket: finds objects whose event never came.

EventBridge delivers an event at least once, but enabling it on a new bucket takes about five
minutes, and a rule can be disabled later. The audit lists the bucket in passes. A pass looks only
at objects that were written since the pass before began.
"""

from dataclasses import dataclass, replace

YOUNG_SECONDS = 3600  # after the first pass, the stack counts as young
YOUNG_INTERVAL_SECONDS = 120  # between two passes while it does
INTERVAL_SECONDS = 3600  # between two passes later
EVENT_SECONDS = 120  # the event of a newer object is probably on its way
OVERLAP_SECONDS = EVENT_SECONDS + 60  # of two passes, because clocks differ


@dataclass(frozen=True, kw_only=True)
class Audit:
    """How far the audit is; times are seconds since the epoch.

    Attributes:
        first_started_at: when the first pass began; 0 before it.
        started_at: when the current or last pass began.
        since: objects written before this second were seen by an earlier pass.
        cursor: the last key that the current pass has seen; `None` between passes.
    """

    first_started_at: int = 0
    started_at: int = 0
    since: int = 0
    cursor: str | None = None

    def resume(self, now: float) -> "Audit | None":
        """Return the pass that continues or begins now; `None` when none is due."""
        if self.cursor is not None:
            return self
        young = now < self.first_started_at + YOUNG_SECONDS
        interval = YOUNG_INTERVAL_SECONDS if young else INTERVAL_SECONDS
        if now < self.started_at + interval:
            return None
        return Audit(
            first_started_at=self.first_started_at or int(now),
            started_at=int(now),
            since=max(0, self.started_at - OVERLAP_SECONDS),
            cursor="",
        )

    def concerns(self, modified: float) -> bool:
        """Tell whether the pass looks at an object that was written at a second."""
        return self.since <= modified <= self.started_at - EVENT_SECONDS

    def at(self, cursor: str | None) -> "Audit":
        """Return the pass after a page; `None` ends it."""
        return replace(self, cursor=cursor)

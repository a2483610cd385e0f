"""A job: one clip with its sidecar and first frame, on its way through Segmind.

This module lists everything that is known about a job: its states and the transitions between
them, why it is held, how far the search for a lost response is, and when it is followed up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .footage import Footage
from .input_files import InputFile
from .preparation import Preparation
from .prices import FLAT_USD, Estimate, FolderCap, believable
from .refusal import Refusal
from .sidecar import Sidecar


class State(StrEnum):
    """Where a job stands. No other module spells a state as a string."""

    WAITING = "WAITING"
    PREPARING = "PREPARING"
    CLAIMED = "CLAIMED"
    HELD = "HELD"
    SUBMITTING = "SUBMITTING"
    SUBMIT_UNKNOWN = "SUBMIT_UNKNOWN"
    RENDERING = "RENDERING"
    FETCHING = "FETCHING"
    FINISHING = "FINISHING"
    DELIVERED = "DELIVERED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    LOST = "LOST"


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.PREPARING, State.CLAIMED, State.REFUSED}),
    State.PREPARING: frozenset({State.WAITING, State.CLAIMED, State.REFUSED}),
    State.CLAIMED: frozenset({State.HELD, State.SUBMITTING}),
    # A lost request can turn up in the history after somebody was asked to look into it.
    State.HELD: frozenset({State.SUBMITTING, State.RENDERING}),
    State.SUBMITTING: frozenset({State.RENDERING, State.HELD, State.REFUSED, State.SUBMIT_UNKNOWN}),
    State.SUBMIT_UNKNOWN: frozenset({State.RENDERING, State.SUBMITTING, State.HELD}),
    State.RENDERING: frozenset({State.FETCHING, State.FAILED, State.LOST}),
    State.FETCHING: frozenset({State.FINISHING, State.LOST}),
    # The staged render can be removed by somebody before it is finished.
    State.FINISHING: frozenset({State.DELIVERED, State.LOST}),
    State.DELIVERED: frozenset(),
    State.REFUSED: frozenset({State.CLAIMED}),
    State.FAILED: frozenset({State.CLAIMED}),
    State.LOST: frozenset(),
}

# What a state means, each said once.
TERMINAL = frozenset({State.DELIVERED, State.REFUSED, State.FAILED, State.LOST})
RETRYABLE = frozenset(state for state in TERMINAL if State.CLAIMED in TRANSITIONS[state])
UNSENT = frozenset({State.CLAIMED, State.HELD})
RENDERED = frozenset({State.FETCHING, State.FINISHING})
FOLLOWED = RENDERED | {State.RENDERING}  # by a wait loop
IN_FLIGHT = FOLLOWED | {State.SUBMITTING, State.SUBMIT_UNKNOWN}
PAID = FOLLOWED | {State.DELIVERED, State.LOST}
MAY_BE_PAID = PAID | {State.SUBMITTING, State.SUBMIT_UNKNOWN}


def predecessors(state: State) -> frozenset[State]:
    """Return the states that may become `state`."""
    return frozenset(before for before, after in TRANSITIONS.items() if state in after)


class HoldReason(StrEnum):
    """Why a job that is ready is held."""

    CAPACITY = "capacity"  # as many jobs are in flight as the request rate can follow
    RATE = "rate"  # the requests of this minute are used up, or Segmind asked for a pause
    KEY = "key"  # Segmind rejects the API key or the account
    CREDITS = "credits"  # the account is out of credits
    BUDGET = "budget"  # the daily budget is used up
    FOLDER_BUDGET = "folder_budget"  # the daily cap of its folder is used up
    ATTENTION = "attention"  # only a person can tell whether Segmind runs it


class Listing(StrEnum):
    """The partitions of the index of the newest records."""

    WAITING = "WAITING"  # files that are not part of a job yet
    IN_PROGRESS = "IN_PROGRESS"  # jobs that are neither held nor ended
    HELD = "HELD"  # jobs that are held and continue automatically
    ATTENTION = "ATTENTION"  # jobs that are held until a person has looked at them
    DELIVERED = "DELIVERED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    LOST = "LOST"


def listing_of(state: State) -> Listing:
    """Return where a file or a job in a state is listed, if it needs no attention."""
    own = TERMINAL | {State.WAITING, State.HELD}
    if state is State.PREPARING:
        return Listing.WAITING
    return Listing(state) if state in own else Listing.IN_PROGRESS


class FollowUpQueue(StrEnum):
    """The two partitions of the follow-up index."""

    DUE = "due"  # look at it again at a given time
    HELD = "held"  # submit it when there is room, oldest first


@dataclass(frozen=True)
class FollowUp:
    """When somebody must look at a record again; a record that is finished has none.

    Attributes:
        queue: the partition of the index that it is in.
        at: seconds since the epoch; under `HELD`, its place in line.
    """

    queue: FollowUpQueue
    at: int


@dataclass(frozen=True)
class SubmitAttempt:
    """What was sent to Segmind.

    Attributes:
        body: the request's body without the signatures of its URLs; `None` when there was
            nothing to send, because a file was gone.
        number: 1, or 2 once the first request is proven absent from Segmind's history.
    """

    body: Mapping[str, str] | None = None
    number: int = 1


class SearchResult(StrEnum):
    """What Segmind's history says about a request whose response was lost."""

    OPEN = "open"  # not found so far
    ABSENT = "absent"  # proven absent: Segmind never got it, so it may be sent once more


@dataclass(frozen=True)
class HistorySearch:
    """How far the search for a lost request is.

    Attributes:
        result: what is known so far.
        passes: how often the whole history was read without a trace of the request.
        next_page: the page at which the next look continues.
        unreadable_since: since when the history has not been readable, in seconds since the
            epoch; `None` while it is.
        notified_at: when a person was notified, in seconds since the epoch.
    """

    result: SearchResult = SearchResult.OPEN
    passes: int = 0
    next_page: int = 1
    unreadable_since: int | None = None
    notified_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that is known about one job.

    Times are seconds since the epoch, costs are USD. "Set by" names the function.

    Attributes:
        id: the job's content address, see `input_files.job_id`. Set by submit.
        bucket: the input bucket.
        key: the clip's key in the input bucket.
        drop_version: the versions of the files it was created for; tells a newer drop of the
            same content from a repeated event. Set by submit.
        clip: the version of the clip that is sent.
        first_frame: the version of the first frame that is sent, if there is one.
        sidecar: the instructions, with the preset of the folder filled in; `None` when they
            could not be read, and then the job is refused.
        prepared: what is sent, and what the clip is. Set by submit.
        state: where the job stands.
        entered: when each state was entered for the last time.
        run: number of the wait-loop execution; goes up when the job is retried or its
            execution has to be replaced. Part of the execution's name.
        version: goes up with each write; every write is conditional on it.
        write_id: names the last write, so that a function whose response was lost can tell
            its own write from another's.
        follow_up: when the job must be looked at again; `None` when it is settled.
        reason: why the job is not done, in plain words. Set by whoever moves it.
        refusal: why the job was refused, and the cure.
        hold_reason: why the job is held; `None` unless it is HELD.
        held_since: its place in the line of held jobs; kept until it is sent.
        rejected_at: when Segmind last rejected its submit for the account's sake. If other
            jobs are accepted after that, the trouble is the job's own.
        cap: what may be spent in a day for its folder, if that is limited. Set by submit.
        estimate: what it will cost. Set by submit.
        attempt: what was sent to Segmind. Set by submit, before the request.
        search: how far the search for a lost response is. Set by sweep.
        request_id: Segmind's id of the paid request. Set by submit, or by sweep from history.
        submitted_at: when the request was made; Segmind's record lives from here.
        result_url: where Segmind says the result is. Set by poll.
        cost_usd: what Segmind says the job cost; `None` while unknown. Set by poll, or by sweep.
        render_seconds: how long the render took, as the poll schedule counts. Set by poll.
        fetch_attempts: how often the render could not be copied. Set by fetch.
        finish_attempts: how often finishing the render was begun. Set by finish.
        result: the S3 URI of the delivered film. Set by finish.
        result_bytes: its size. Set by finish.
        warnings: what a person should know about the film, in plain words. Set by finish.
    """

    id: str
    bucket: str
    key: str
    drop_version: str
    clip: InputFile
    first_frame: InputFile | None = None
    sidecar: Sidecar | None = None
    prepared: Preparation | None = None

    state: State
    entered: Mapping[State, datetime] = field(default_factory=dict)
    run: int = 0
    version: int = 0
    write_id: str = ""
    follow_up: FollowUp | None = None

    reason: str | None = None
    refusal: Refusal | None = None
    hold_reason: HoldReason | None = None
    held_since: int | None = None
    rejected_at: int | None = None

    cap: FolderCap | None = None
    estimate: Estimate | None = None
    attempt: SubmitAttempt | None = None
    search: HistorySearch | None = None
    request_id: str | None = None
    submitted_at: int | None = None

    result_url: str | None = None
    cost_usd: float | None = None
    render_seconds: float | None = None
    fetch_attempts: int = 0
    finish_attempts: int = 0
    result: str | None = None
    result_bytes: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def correlation_id(self) -> str:
        """Name the request in the clip's signed URL, where Segmind's history shows it."""
        return f"{self.id}-{self.run}.mp4"

    @property
    def footage(self) -> Footage | None:
        """Return what its clip is, if that was found out."""
        return self.prepared.footage if self.prepared else None

    @property
    def began(self) -> datetime:
        """Return when the job was claimed, or refused at once."""
        return min(self.entered.values())

    @property
    def listing(self) -> Listing:
        """Return where the job is listed."""
        return Listing.ATTENTION if self.needs_attention else listing_of(self.state)

    @property
    def estimated_usd(self) -> float:
        """Return what it was estimated to cost; before that, the mean price of a clip."""
        return self.estimate.usd if self.estimate else FLAT_USD

    def believable(self, cost_usd: float | None) -> float | None:
        """Return a cost that Segmind reports; `None` if it is missing, zero, or absurd."""
        return believable(cost_usd, self.estimated_usd)

    @property
    def may_cost(self) -> bool:
        """Tell whether Segmind bills the job, as far as that is known."""
        return self.state in MAY_BE_PAID and self.cost_usd != 0

    @property
    def has_ended(self) -> bool:
        """Tell whether the job has reached a terminal state."""
        return self.state in TERMINAL

    @property
    def is_proven_absent(self) -> bool:
        """Tell whether Segmind's history proves that it never got the request."""
        return self.search is not None and self.search.result is SearchResult.ABSENT

    @property
    def needs_attention(self) -> bool:
        """Tell whether the job continues only after a person has looked at it."""
        return self.state is State.HELD and self.hold_reason is HoldReason.ATTENTION

    @property
    def may_be_submitted(self) -> bool:
        """Tell whether the job may be sent: it never was, or its request is proven absent."""
        if self.hold_reason is HoldReason.ATTENTION:
            return False
        lost = self.state is State.SUBMIT_UNKNOWN and self.is_proven_absent
        return self.state in UNSENT or lost

    @property
    def next_attempt(self) -> int:
        """Return the number that the next attempt to submit has."""
        if self.attempt is None:
            return 1
        sent_before = self.is_proven_absent and self.attempt.body is not None
        return 2 if sent_before or self.attempt.number == 2 else 1

    @property
    def explanation(self) -> str | None:
        """Return why the job is not done, in plain words."""
        return self.refusal.reason if self.refusal else self.reason

    def may_restart(self, drop_version: str) -> bool:
        """Tell whether a drop of the same content starts the job again: it is a newer one."""
        # A file that is gone by now does not make a drop newer.
        newer = set(drop_version.split()) - set(self.drop_version.split())
        return self.state in RETRYABLE and bool(newer)

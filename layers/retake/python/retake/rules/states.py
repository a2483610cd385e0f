"""The states of a job and the only ways between them; no other module names a state literally."""

from enum import StrEnum


class State(StrEnum):
    """Where a job stands."""

    WAITING = "WAITING"
    CLAIMED = "CLAIMED"
    HELD = "HELD"
    SUBMITTING = "SUBMITTING"
    SUBMIT_UNKNOWN = "SUBMIT_UNKNOWN"
    RENDERING = "RENDERING"
    DELIVERING = "DELIVERING"
    DELIVERED = "DELIVERED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    LOST = "LOST"


class Held(StrEnum):
    """Why a job that is fit to go is kept back."""

    CAPACITY = "capacity"
    RATE = "rate"
    KEY = "key"
    CREDITS = "credits"
    BUDGET = "budget"
    ATTENTION = "attention"


NEXT: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.CLAIMED, State.REFUSED}),
    State.CLAIMED: frozenset({State.HELD, State.SUBMITTING}),
    State.HELD: frozenset({State.SUBMITTING, State.RENDERING}),  # a lost request may turn up in the history after a person was asked
    State.SUBMITTING: frozenset({State.RENDERING, State.HELD, State.REFUSED, State.SUBMIT_UNKNOWN}),
    State.SUBMIT_UNKNOWN: frozenset({State.RENDERING, State.SUBMITTING, State.HELD}),
    State.RENDERING: frozenset({State.DELIVERING, State.FAILED, State.LOST}),
    State.DELIVERING: frozenset({State.DELIVERED, State.LOST}),
    State.DELIVERED: frozenset(),
    State.REFUSED: frozenset({State.CLAIMED}),
    State.FAILED: frozenset({State.CLAIMED}),
    State.LOST: frozenset(),
}

ENDED = frozenset({State.DELIVERED, State.REFUSED, State.FAILED, State.LOST})
RETRIED_BY_A_NEWER_DROP = frozenset(state for state in ENDED if State.CLAIMED in NEXT[state])
READY = frozenset(state for state, after in NEXT.items() if State.SUBMITTING in after and state is not State.SUBMIT_UNKNOWN)
PAID = frozenset({State.RENDERING, State.DELIVERING, State.DELIVERED, State.LOST})


def before(state: State) -> frozenset[State]:
    """Tell which states may become `state`."""
    return frozenset(earlier for earlier, after in NEXT.items() if state in after)

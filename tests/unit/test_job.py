"""The states of a job, the transitions between them, and what a job says about itself."""

import ast
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import retake
from retake.domain.input_files import InputFile
from retake.domain.job import (
    IN_FLIGHT,
    MAY_BE_PAID,
    PAID,
    RETRYABLE,
    TERMINAL,
    TRANSITIONS,
    UNSENT,
    HistorySearch,
    HoldReason,
    Job,
    SearchResult,
    State,
    SubmitAttempt,
    predecessors,
)
from retake.domain.refusal import Refusal

LAYER = Path(retake.__file__).parent
FUNCTIONS = LAYER.parents[2] / "functions"
SEGMINDS_OWN_WORD = ("responses.py", "FAILED")

DESIGNED_TRANSITIONS = {
    "WAITING": {"PREPARING", "CLAIMED", "REFUSED"},
    "PREPARING": {"WAITING", "CLAIMED", "REFUSED"},
    "CLAIMED": {"HELD", "SUBMITTING"},
    # RENDERING: a person was notified, and then the lost request turns up after all.
    "HELD": {"SUBMITTING", "RENDERING"},
    "SUBMITTING": {"RENDERING", "HELD", "REFUSED", "SUBMIT_UNKNOWN"},
    "SUBMIT_UNKNOWN": {"RENDERING", "SUBMITTING", "HELD"},
    "RENDERING": {"FETCHING", "FAILED", "LOST"},
    "FETCHING": {"FINISHING", "LOST"},
    "FINISHING": {"DELIVERED", "LOST"},
    "DELIVERED": set(),
    "REFUSED": {"CLAIMED"},
    "FAILED": {"CLAIMED"},
    "LOST": set(),
}

BODY = {"video_url": "https://x/clip.mp4", "mode": "adhere_1"}
ABSENT, OPEN = HistorySearch(SearchResult.ABSENT), HistorySearch()
JOB = Job(
    id="j1",
    state=State.CLAIMED,
    bucket="input",
    key="clip.mp4",
    drop_version="v1 v2",
    clip=InputFile("clip.mp4", "e", 1, datetime(2026, 1, 1, tzinfo=UTC), "v1"),
)


def test_the_transitions_are_the_designed_ones() -> None:
    found = {str(state): {str(after) for after in TRANSITIONS[state]} for state in State}
    assert found == DESIGNED_TRANSITIONS


def test_predecessors_are_the_transitions_read_backwards() -> None:
    backwards = {(before, state) for state in State for before in predecessors(state)}
    assert backwards == {(state, after) for state in State for after in TRANSITIONS[state]}


def test_groups_of_states_agree_with_the_transitions() -> None:
    assert {"DELIVERED", "REFUSED", "FAILED", "LOST"} == TERMINAL
    assert {"REFUSED", "FAILED"} == RETRYABLE
    assert {"CLAIMED", "HELD"} == UNSENT
    assert {"SUBMITTING", "SUBMIT_UNKNOWN", "RENDERING", "FETCHING", "FINISHING"} == IN_FLIGHT
    assert {"RENDERING", "FETCHING", "FINISHING", "DELIVERED", "LOST"} == PAID
    assert PAID | {"SUBMITTING", "SUBMIT_UNKNOWN"} == MAY_BE_PAID
    assert {"WAITING", "PREPARING"} == set(State) - TERMINAL - UNSENT - IN_FLIGHT


def test_a_paid_job_becomes_unpaid_only_when_segmind_says_so() -> None:
    unpaid = {(state, after) for state in PAID for after in TRANSITIONS[state] - PAID}
    assert unpaid == {("RENDERING", "FAILED")}


def test_a_job_can_end_from_every_state() -> None:
    can_end = set(TERMINAL)
    for _ in State:
        can_end |= {state for state in State if TRANSITIONS[state] & can_end}
    assert can_end == set(State)


@pytest.mark.parametrize(
    "path",
    sorted([*LAYER.rglob("*.py"), *FUNCTIONS.rglob("app.py")]),
    ids=lambda path: "/".join(path.parts[-2:]),
)
def test_no_other_module_spells_a_state_as_a_string(path: Path) -> None:
    if path == LAYER / "domain" / "job.py":
        return
    constants = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    ]
    texts = {constant for constant in constants if isinstance(constant, str)}
    assert {(path.name, text) for text in texts & set(State)} <= {SEGMINDS_OWN_WORD}


def test_functions_are_found() -> None:
    assert len(list(FUNCTIONS.rglob("app.py"))) == 7


@pytest.mark.parametrize(
    ("attempt", "search", "number"),
    [
        (None, None, 1),
        (None, ABSENT, 1),
        (SubmitAttempt(BODY, 1), None, 1),
        (SubmitAttempt(BODY, 1), OPEN, 1),
        (SubmitAttempt(BODY, 1), ABSENT, 2),
        (SubmitAttempt(None, 1), ABSENT, 1),  # nothing was sent, so nothing is repeated
        (SubmitAttempt(BODY, 2), None, 2),
        (SubmitAttempt(BODY, 2), OPEN, 2),
        (SubmitAttempt(BODY, 2), ABSENT, 2),
        (SubmitAttempt(None, 2), None, 2),
    ],
)
def test_the_next_attempt_is_the_second_once_the_first_is_proven_absent(
    attempt: SubmitAttempt | None, search: HistorySearch | None, number: int
) -> None:
    assert replace(JOB, attempt=attempt, search=search).next_attempt == number


@pytest.mark.parametrize("state", State)
def test_a_job_may_be_submitted_before_it_was_sent_or_when_it_is_proven_absent(
    state: State,
) -> None:
    unsent = state in ("CLAIMED", "HELD")
    assert replace(JOB, state=state).may_be_submitted is unsent
    assert replace(JOB, state=state, search=OPEN).may_be_submitted is unsent
    absent = replace(JOB, state=state, search=ABSENT)
    assert absent.may_be_submitted is (unsent or state == "SUBMIT_UNKNOWN")


@pytest.mark.parametrize("reason", HoldReason)
def test_a_held_job_may_be_submitted_unless_a_person_must_look_at_it(reason: HoldReason) -> None:
    held = replace(JOB, state=State.HELD, hold_reason=reason, search=ABSENT)
    assert held.may_be_submitted is (reason != "attention")
    assert held.needs_attention is (reason == "attention")
    assert not replace(held, state=State.RENDERING).needs_attention


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(
    ("drop_version", "is_newer"),
    [
        ("v1 v2", False),
        ("v2 v1", False),
        ("v1", False),  # the sidecar was deleted
        ("", False),
        ("v1 v3", True),
        ("v3", True),
        ("v1 v2 v3", True),  # a first frame was added
    ],
)
def test_a_job_restarts_with_a_newer_drop_when_it_ended_unpaid(
    state: State, drop_version: str, is_newer: bool
) -> None:
    ended_unpaid = state in ("REFUSED", "FAILED")
    assert replace(JOB, state=state).may_restart(drop_version) is (ended_unpaid and is_newer)


@pytest.mark.parametrize("state", State)
def test_a_job_has_ended_in_a_terminal_state(state: State) -> None:
    assert replace(JOB, state=state).has_ended is (state in TERMINAL)


def test_only_a_search_that_proves_it_makes_a_request_absent() -> None:
    assert [replace(JOB, search=search).is_proven_absent for search in (None, OPEN, ABSENT)] == [
        False,
        False,
        True,
    ]


def test_each_run_of_a_job_has_a_correlation_id_of_its_own() -> None:
    assert JOB.correlation_id == "j1-0.mp4"
    assert replace(JOB, run=1).correlation_id == "j1-1.mp4"


def test_a_job_is_explained_by_its_refusal_or_by_its_reason() -> None:
    assert JOB.explanation is None
    assert replace(JOB, reason="held").explanation == "held"
    refusal = Refusal("the clip is empty", "upload it again")
    assert replace(JOB, reason="held", refusal=refusal).explanation == "the clip is empty"

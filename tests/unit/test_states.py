"""One table of states; DESIGN's, and nobody else's."""

import ast
from pathlib import Path

import pytest

import retake
from retake.rules.states import ENDED, NEXT, PAID, READY, RETRIED_BY_A_NEWER_DROP, State, before

DESIGN = {
    "WAITING": {"CLAIMED", "REFUSED"},
    "CLAIMED": {"HELD", "SUBMITTING"},
    "HELD": {"SUBMITTING", "RENDERING"},  # the second is not DESIGN's: a person was asked, and the lost request turns up after all
    "SUBMITTING": {"RENDERING", "HELD", "REFUSED", "SUBMIT_UNKNOWN"},
    "SUBMIT_UNKNOWN": {"RENDERING", "SUBMITTING", "HELD"},
    "RENDERING": {"DELIVERING", "FAILED", "LOST"},
    "DELIVERING": {"DELIVERED", "LOST"},
    "DELIVERED": set(),
    "REFUSED": {"CLAIMED"},
    "FAILED": {"CLAIMED"},
    "LOST": set(),
}
LAYER = Path(retake.__file__).parent
FUNCTIONS = LAYER.parents[3] / "functions"
SEGMINDS_OWN_WORD = ("contract.py", "FAILED")


def test_the_table_is_the_designs() -> None:
    assert {str(state): {str(after) for after in NEXT[state]} for state in State} == DESIGN


def test_before_is_the_table_read_backwards() -> None:
    assert {(earlier, later) for later in State for earlier in before(later)} == {
        (earlier, later) for earlier in State for later in NEXT[earlier]
    }


def test_groups_of_states_follow_from_the_table() -> None:
    assert {"DELIVERED", "REFUSED", "FAILED", "LOST"} == ENDED
    assert {"REFUSED", "FAILED"} == RETRIED_BY_A_NEWER_DROP
    assert {"CLAIMED", "HELD"} == READY
    assert {"RENDERING", "DELIVERING", "DELIVERED", "LOST"} == PAID


def test_nothing_paid_can_become_unpaid_but_by_segminds_own_word() -> None:
    assert {(state, after) for state in PAID for after in NEXT[state] if after not in PAID} == {("RENDERING", "FAILED")}


def test_from_every_state_a_job_can_end() -> None:
    ends = set(ENDED)
    for _ in State:
        ends |= {state for state in State if NEXT[state] & ends}
    assert ends == set(State)


@pytest.mark.parametrize("path", sorted([*LAYER.rglob("*.py"), *FUNCTIONS.rglob("app.py")]), ids=lambda path: "/".join(path.parts[-2:]))
def test_no_other_module_names_a_state_literally(path: Path) -> None:
    if path.name == "states.py":
        return
    texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert {(path.name, text) for text in texts & set(State)} <= {SEGMINDS_OWN_WORD}

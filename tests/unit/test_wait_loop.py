"""The state of a wait loop travels through the Step Functions execution as JSON."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from retake.domain.poll_schedule import MAX_AGES, PollSchedule
from retake.domain.wait_loop import NextStep, Question, WaitLoop

DEFINITION = Path(__file__).parents[2] / "statemachine" / "modify_video.asl.json"
SECONDS = st.integers(0, 3600) | st.floats(0, 3600)
AGES = st.lists(st.integers(1, 3500), min_size=1, max_size=MAX_AGES, unique=True)
LOOPS = st.builds(
    WaitLoop,
    job_id=st.text(),
    run=st.integers(0, 1000),
    schedule=st.builds(PollSchedule, AGES.map(lambda ages: tuple(sorted(ages)))),
    polls=st.integers(0, 1000),
    elapsed=SECONDS,
    queued_at=SECONDS,
    question=st.sampled_from(Question),
    next_step=st.sampled_from(NextStep),
    wait_seconds=st.integers(0, 600),
)
LOOP = WaitLoop(
    job_id="j1", run=1, schedule=PollSchedule((120, 135)), polls=2, elapsed=135, queued_at=7
)


@given(LOOPS)
def test_a_wait_loop_is_read_back_as_it_was_written(loop: WaitLoop) -> None:
    event = json.loads(json.dumps(loop.as_event()))
    assert WaitLoop.from_event(event) == loop


def test_an_event_has_the_fields_that_the_state_machine_reads() -> None:
    event = LOOP.waiting(60, Question.RESULT).as_event()
    assert event == {
        "job_id": "j1",
        "run": 1,
        "poll_ages": [120, 135],
        "polls": 2,
        "elapsed": 135,
        "queued_at": 7,
        "question": "result",
        "next": "WAIT",
        "wait_seconds": 60,
    }


def test_the_state_machine_branches_on_the_steps_that_exist() -> None:
    choice = json.loads(DEFINITION.read_text())["States"]["WhatNext"]
    branches = {branch["Condition"]: branch["Next"] for branch in choice["Choices"]}
    assert branches == {
        f"{{% $states.input.next = '{NextStep.WAIT}' %}}": "Wait",
        f"{{% $states.input.next = '{NextStep.FETCH}' %}}": "Fetch",
        f"{{% $states.input.next = '{NextStep.FINISH}' %}}": "Finish",
    }
    assert choice["Default"].upper() == NextStep.SETTLE


def test_waiting_keeps_the_question_unless_another_is_given() -> None:
    asking = LOOP.waiting(60, Question.HISTORY)
    assert asking.question is Question.HISTORY
    assert asking.waiting(15).question is Question.HISTORY
    assert asking.waiting(15, Question.STATUS).question is Question.STATUS


def test_a_loop_that_continues_with_a_step_keeps_everything_else() -> None:
    fetching = LOOP.going_to(NextStep.FETCH)
    assert fetching.as_event() == LOOP.as_event() | {"next": "FETCH"}
    assert fetching.waiting(30).next_step is NextStep.WAIT

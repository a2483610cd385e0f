"""The email digest: one email about everything, in plain text, whatever the clips are named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain.email_digest import (
    _KINDS,
    MAX_SUBJECT_CHARACTERS,
    Email,
    Outcome,
    compose,
    read,
)
from tests.support.events import account_event, job_event
from tests.support.responses import JSON


def outcomes_of(*events: str) -> list[Outcome]:
    outcomes = [read(event) for event in events]
    assert None not in outcomes
    return [outcome for outcome in outcomes if outcome]


def email_about(*events: str) -> Email:
    return compose(outcomes_of(*events))


def test_the_email_about_one_result_says_where_it_is() -> None:
    email = email_about(job_event("Delivered", 1, "shoot/clip.mp4", message="Done."))
    assert email.subject == "Retake: shoot/clip.mp4 delivered"
    assert email.body == "1 delivered\n  shoot/clip.mp4: s3://output/shoot/clip.mp4\n"


def test_the_email_about_the_account_says_why_and_what_to_do() -> None:
    held = email_about(account_event("Held", held="credits", message="no credits are left"))
    assert held.subject == "Retake: all clips are held (credits)"
    line = "  2026-11-01 12:04 UTC, all clips (credits): no credits are left\n"
    assert f"{line}Run `retake doctor`" in held.body
    resumed = email_about(account_event("Resumed", held="credits", message="m"))
    assert resumed.subject == "Retake: clips continue (credits)"


def test_the_worst_outcome_comes_first() -> None:
    email = email_about(
        job_event("Delivered", 1),
        account_event("Resumed", held="key", message="m"),
        job_event("Failed", 2),
        job_event("Lost", 3),
        job_event("Held", 4, held="attention", reason="check Segmind's history"),
    )
    assert email.subject == "Retake: 1 held, 1 lost, 1 failed, 1 resumed, 1 delivered"
    lines = [line for line in email.body.splitlines() if line.startswith("  ")]
    assert lines == [
        "  shoot/clip-4.mp4 (00000000): check Segmind's history",
        "  shoot/clip-3.mp4 (00000000): what happened",
        "  shoot/clip-2.mp4 (00000000): what happened",
        "  2026-11-01 12:04 UTC, all clips (key): m",
        "  shoot/clip-1.mp4: s3://output/shoot/clip-1.mp4",
    ]
    assert "retake retry --failed" in email.body


def test_a_flood_is_counted_and_its_first_clips_are_listed() -> None:
    delivered = [job_event("Delivered", number) for number in range(980)]
    failed = [job_event("Failed", number) for number in range(20)]
    email = email_about(*delivered, *failed)
    assert email.subject == "Retake: 20 failed, 980 delivered"
    assert email.body.count("\n  shoot/clip-") == 40
    assert "  and 960 more: retake ls --state DELIVERED\n" in email.body


def test_a_repeated_event_is_listed_once_with_its_newest_message() -> None:
    early, late = "2026-11-01T12:04:00Z", "2026-11-01T12:04:30Z"
    email = email_about(
        account_event("Held", late, held="key", message="m"),
        account_event("Held", early, held="key", message="m"),
        job_event("Failed", 1, message="newer", time=late),
        job_event("Failed", 1, message="older", time=early),
        job_event("Delivered", 1),
    )
    assert email.subject == "Retake: 1 held, 1 failed, 1 delivered"
    assert email.body.count("12:04 UTC") == 1
    assert ": newer\n" in email.body
    assert "older" not in email.body


def test_hostile_names_stay_one_line_of_text() -> None:
    key = "a\r\nSubject: you won\n\x1b[2J\u202egnp.mp4"
    email = email_about(job_event("Failed", 1, key, message="no\n\n1 delivered"))
    assert email.subject == r"Retake: a\r\nSubject: you won\n\u001b[2J\u202egnp.mp4 failed"
    assert len(email.body.splitlines()) == 3
    assert email.body.replace("\n", "").isprintable()


def test_a_long_or_foreign_name_fits_into_the_subject() -> None:
    email = email_about(job_event("Delivered", 1, "ü/" * 300 + "straße.mp4"))
    assert email.subject.startswith("Retake: ...")
    assert email.subject.endswith("?/stra?e.mp4 delivered")
    assert len(email.subject) == MAX_SUBJECT_CHARACTERS


@pytest.mark.slow
def test_the_largest_email_is_accepted_by_sns() -> None:
    names = [f"{number}-" + "\U0001f3ac" * 1020 for number in range(100)]
    email = email_about(
        *(
            job_event(kind, number, name, message=name * 9)
            for kind in ("Held", "Lost", "Failed", "Delivered")
            for number, name in enumerate(names)
        )
    )
    assert 80_000 < len(email.body.encode()) < 256 * 1024
    assert "  and 9" in email.body


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "[" * 100_000,
        '{"detail-type": "Retake Held"}',
        account_event("Refused"),
        '{"detail-type": "Retake Held", "detail": 7}',
    ],
)
def test_a_message_that_is_not_an_event_for_the_digest_is_none(text: str) -> None:
    assert read(text) is None


FIELDS = ("job", "clip", "held", "message", "reason", "result", "state")


@pytest.mark.slow
@given(
    st.sampled_from(sorted(_KINDS)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)),
    JSON,
)
def test_an_event_with_any_detail_gives_an_email_that_sns_accepts(
    kind: str, detail: dict[str, Any], time: Any
) -> None:
    email = email_about(account_event(kind, time, **detail))
    assert email.subject.isascii()
    assert email.subject.isprintable()
    assert len(email.subject) <= MAX_SUBJECT_CHARACTERS
    assert email.body.encode()


@pytest.mark.parametrize(
    ("costs", "line"),
    [
        ([{"cost_usd": 1.25, "estimate_usd": 9}, {"estimate_usd": 0.6}], "Cost: 1.85 USD."),
        ([{"cost_usd": 0.5}, {"cost_usd": "much"}, {"cost_usd": -1}], "Cost: 0.50 USD."),
        ([{"cost_usd": True}, {}], None),
    ],
)
def test_the_email_of_a_batch_says_what_it_cost(
    costs: list[dict[str, Any]], line: str | None
) -> None:
    found = [read(job_event("Delivered", number, **cost)) for number, cost in enumerate(costs)]
    lines = compose([outcome for outcome in found if outcome]).body.splitlines()
    assert lines[-1] == line if line else "Cost" not in lines[-1]


def test_what_failed_is_not_said_to_cost_anything() -> None:
    outcome = read(job_event("Failed", estimate_usd=0.6))
    assert outcome
    assert "Cost" not in compose([outcome]).body

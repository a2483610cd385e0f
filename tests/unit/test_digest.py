"""One mail tells of everything, in words, whatever the names are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.rules import digest
from retake.rules.digest import Change, compose, read

JOB = "0123456789abcdef0123456789abcdef"


def event(what: str, time: str = "2026-11-01T12:04:05Z", **detail: Any) -> str:
    """An event as EventBridge gives it to a queue."""
    return json.dumps({"id": "e", "source": "retake", "detail-type": f"Retake {what}", "time": time, "detail": detail})


def of_job(what: str, number: int = 0, key: str = "", **detail: Any) -> str:
    key = key or f"shoot/clip-{number}.mp4"
    told = {"job": f"{number:032x}", "clip": f"s3://input/{key}", "state": what.upper(), "message": "what happened"}
    return event(what, **told | ({"result": f"s3://output/{key}"} if what == "Delivered" else {}) | detail)


def changes(*events: str) -> list[Change]:
    found = [read(each) for each in events]
    assert None not in found
    return [change for change in found if change]


def test_one_result_says_where_it_is() -> None:
    mail = compose(changes(of_job("Delivered", 1, "shoot/clip.mp4", message="Done.")))
    assert mail.subject == "Retake: shoot/clip.mp4 delivered"
    assert mail.body == "1 delivered\n  shoot/clip.mp4: s3://output/shoot/clip.mp4\n"


def test_one_hold_says_why_and_what_to_do() -> None:
    mail = compose(changes(event("Held", held="credits", message="no credits are left")))
    assert mail.subject == "Retake: all clips are held (credits)"
    assert "  2026-11-01 12:04 UTC, all clips (credits): no credits are left\nretake doctor says" in mail.body
    assert compose(changes(event("Resumed", held="credits", message="m"))).subject == "Retake: clips go on again (credits)"


def test_the_worst_comes_first() -> None:
    told = (of_job("Delivered", 1), event("Resumed", held="key", message="m"), of_job("Failed", 2), of_job("Lost", 3))
    mail = compose(changes(*told, of_job("Held", 4, held="attention", reason="look at Segmind's history yourself")))
    assert mail.subject == "Retake: 1 held, 1 lost, 1 failed, 1 resumed, 1 delivered"
    lines = [line for line in mail.body.splitlines() if line.startswith("  ")]
    assert lines == [
        "  shoot/clip-4.mp4 (00000000): look at Segmind's history yourself",
        "  shoot/clip-3.mp4 (00000000): what happened",
        "  shoot/clip-2.mp4 (00000000): what happened",
        "  2026-11-01 12:04 UTC, all clips (key): m",
        "  shoot/clip-1.mp4: s3://output/shoot/clip-1.mp4",
    ]
    assert "retake retry --failed" in mail.body


def test_a_flood_is_counted_and_its_first_are_named() -> None:
    flood = [of_job("Delivered", number) for number in range(980)] + [of_job("Failed", number) for number in range(20)]
    mail = compose(changes(*flood))
    assert mail.subject == "Retake: 20 failed, 980 delivered"
    assert mail.body.count("\n  shoot/clip-") == 40
    assert "  and 960 more: retake ls --state DELIVERED\n" in mail.body


def test_what_is_told_twice_is_told_once_and_newest() -> None:
    early, late = "2026-11-01T12:04:00Z", "2026-11-01T12:04:30Z"
    told = [event("Held", late, held="key", message="m"), event("Held", early, held="key", message="m")]
    told += [of_job("Failed", 1, message="newer", time=late), of_job("Failed", 1, message="older", time=early), of_job("Delivered", 1)]
    mail = compose(changes(*told))
    assert mail.subject == "Retake: 1 held, 1 failed, 1 delivered"
    assert mail.body.count("12:04 UTC") == 1
    assert ": newer\n" in mail.body
    assert "older" not in mail.body


def test_hostile_names_stay_one_line_of_text() -> None:
    key = "a\r\nSubject: you won\n\x1b[2J\u202egnp.mp4"
    mail = compose(changes(of_job("Failed", 1, key, message="no\n\n1 delivered")))
    assert mail.subject == r"Retake: a\r\nSubject: you won\n\u001b[2J\u202egnp.mp4 failed"
    assert len(mail.body.splitlines()) == 3
    assert mail.body.replace("\n", "").isprintable()


def test_a_long_or_foreign_name_fits_a_subject() -> None:
    mail = compose(changes(of_job("Delivered", 1, "ü/" * 300 + "straße.mp4")))
    assert mail.subject.startswith("Retake: ...")
    assert mail.subject.endswith("?/stra?e.mp4 delivered")
    assert len(mail.subject) == digest.SUBJECT


def test_the_largest_mail_is_one_that_sns_takes() -> None:
    names = [f"{number}-" + "\U0001f3ac" * 1020 for number in range(100)]
    kinds = ("Held", "Lost", "Failed", "Delivered")
    mail = compose(changes(*(of_job(what, place, name, message=name * 9) for what in kinds for place, name in enumerate(names))))
    assert 80_000 < len(mail.body.encode()) < 256 * 1024
    assert "  and 9" in mail.body


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "[" * 100_000, '{"detail-type": "Retake Held"}', event("Refused"), '{"detail-type": "Retake Held", "detail": 7}'],
)
def test_what_is_no_event_of_ours_is_none(text: str) -> None:
    assert read(text) is None


plain_values = st.none() | st.booleans() | st.floats() | st.text()
json_values = st.recursive(plain_values, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
FIELDS = ("job", "clip", "held", "message", "reason", "result", "state")


@given(st.sampled_from(sorted(digest._KINDS)), st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values)), json_values)
def test_any_detail_makes_a_mail_that_sns_takes(what: str, detail: dict[str, Any], time: Any) -> None:
    mail = compose(changes(event(what, time, **detail)))
    assert mail.subject.isascii()
    assert mail.subject.isprintable()
    assert len(mail.subject) <= digest.SUBJECT
    assert mail.body.encode()

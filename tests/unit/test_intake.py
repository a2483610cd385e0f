"""What becomes of a clip: every branch of the decision, without a bucket or a table."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from retake.domain.input_files import Drop, InputFile, job_id
from retake.domain.intake import (
    PRESET_GRACE_SECONDS,
    Candidate,
    Decision,
    InputRecord,
    Known,
    Prepare,
    Refuse,
    Start,
    Wait,
    Waiting,
    decide,
    refuse,
    resolve,
)
from retake.domain.job import Job, State
from retake.domain.json_form import Fields
from retake.domain.preparation import Preparation
from retake.domain.preset import FORM, Preset
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar

THEN = 1_800_000_000
LATER = THEN + 9999
REFUSAL = Refusal("the sidecar is not a JSON object", "write an object")
BROKEN = FORM.check({"mode": "no"})
INK, OIL = {"prompt": "ink"}, {"prompt": "oil"}
FRAME = Sidecar(first_frame="look.png")
LONG_FOLDER, LONG_NAME = "f" * 1000 + "/", "n" * 100 + ".png"


def file(key: str, at: float = THEN, version: str = "v") -> InputFile:
    return InputFile(key, "e", 1, datetime.fromtimestamp(at, UTC), version)


CLIP, OWN = file("a/c.mp4", version="v1"), file("a/c.json", version="v2")
LOOK = file("a/look.png", version="v3")
ALONE, PAIR = Drop("input", CLIP), Drop("input", CLIP, OWN)
UNKNOWN = InputRecord(bucket="input", key="a/c.mp4")
ACCEPTED = InputRecord(
    bucket="input",
    key="a/c.mp4",
    newest_job="j1",
    pair_version=PAIR.pair_version,
    sidecar=Sidecar(prompt="accepted"),
)


def preset(at: float = THEN, fields: Any = None) -> Preset:
    return Preset(file("a/_retake.json", at), INK if fields is None else fields)


def waiting_since(second: float) -> InputRecord:
    since = datetime.fromtimestamp(second, UTC)
    return replace(UNKNOWN, waiting=Waiting("waits for its sidecar", since))


def job(state: State, drop_version: str = PAIR.version, key: str = "a/c.mp4") -> Job:
    return Job(id="j1", state=state, bucket="input", key=key, drop_version=drop_version, clip=CLIP)


def message_of(decision: Decision | Sidecar | Refusal) -> str:
    assert isinstance(decision, Wait), decision
    return decision.message


# resolve


@pytest.mark.parametrize(
    ("own", "defaults", "expected"),
    [
        ({}, None, Sidecar()),
        (OIL, None, Sidecar(prompt="oil")),
        ({}, preset(), Sidecar(prompt="ink")),
        (OIL, preset(), Sidecar(prompt="oil")),
        ({"mode": "flex_1"}, preset(), Sidecar(prompt="ink", mode="flex_1")),
        (OIL, preset(fields={}), Sidecar(prompt="oil")),
        (REFUSAL, None, REFUSAL),
        (REFUSAL, preset(), REFUSAL),
        (REFUSAL, preset(fields=BROKEN), REFUSAL),  # the sidecar's own fault comes first
    ],
)
def test_a_clip_with_its_sidecar_gets_its_instructions_or_a_refusal_at_once(
    own: Fields | Refusal, defaults: Preset | None, expected: Sidecar | Refusal
) -> None:
    assert resolve(PAIR, own, defaults, UNKNOWN, THEN) == expected


def test_a_clip_whose_name_makes_no_valid_first_frame_is_refused() -> None:
    drop = Drop("input", file("a/" + "x" * 252 + ".mp4"), OWN)
    resolved = resolve(drop, {}, preset(fields={"first_frame": "{name}.png"}), UNKNOWN, THEN)
    assert isinstance(resolved, Refusal)
    assert resolved.field == "first_frame"


def test_a_lone_clip_waits_for_its_sidecar_without_an_end() -> None:
    alone = resolve(ALONE, None, None, UNKNOWN, LATER)
    assert isinstance(alone, Wait)
    assert alone.until is None
    assert "a/c.json" in alone.message


@pytest.mark.parametrize("own", [None, {}, {"prompt": "own", "mode": "flex_1"}])
def test_no_clip_starts_beside_a_broken_preset(own: Fields | None) -> None:
    drop = ALONE if own is None else PAIR
    waits = resolve(drop, own, preset(fields=BROKEN), UNKNOWN, LATER)
    assert isinstance(waits, Wait)
    assert waits.until is None
    assert "a/_retake.json" in waits.message
    assert "choose one of" in waits.message


@pytest.mark.parametrize(
    ("dropped", "since", "preset_dropped", "starts"),
    [
        (0, 0, 0, 0),
        (0, 9, 0, 9),
        (0, 0, 9, 9),
        (9, 0, 0, 9),
        (0, 8.1, 5, 9),  # rounded up
        (0, None, 0, None),  # not seen before: it is seen now
    ],
)
def test_a_clip_without_a_sidecar_waits_for_a_while_from_its_latest_event(
    dropped: float, since: float | None, preset_dropped: float, starts: float | None
) -> None:
    now = THEN + 9
    drop = Drop("input", file("a/c.mp4", THEN + dropped))
    record = UNKNOWN if since is None else waiting_since(THEN + since)
    start = THEN + (9 if starts is None else starts) + PRESET_GRACE_SECONDS
    waits = resolve(drop, None, preset(THEN + preset_dropped), record, now)
    assert isinstance(waits, Wait)
    assert waits.until == start
    assert "a/_retake.json" in waits.message
    assert "a/c.json" in waits.message
    seen = record if record.waiting else waiting_since(now)
    just_before = resolve(drop, None, preset(THEN + preset_dropped), seen, start - 0.1)
    assert just_before == waits
    started = resolve(drop, None, preset(THEN + preset_dropped), seen, start)
    assert started == Sidecar(prompt="ink")


@pytest.mark.parametrize("drop", [PAIR, ALONE, replace(PAIR, first_frame=LOOK)])
@pytest.mark.parametrize("defaults", [None, preset(), preset(fields=BROKEN)])
@pytest.mark.parametrize("own", [None, OIL, REFUSAL])
def test_an_accepted_pair_keeps_its_instructions(
    drop: Drop, own: Fields | Refusal | None, defaults: Preset | None
) -> None:
    """Whatever a preset says by now, and even if the sidecar or the first frame was deleted."""
    assert resolve(drop, own, defaults, ACCEPTED, THEN) == Sidecar(prompt="accepted")


@pytest.mark.parametrize(
    "drop",
    [
        Drop("input", file("a/c.mp4", version="v9"), OWN),
        Drop("input", CLIP, file("a/c.json", version="v9")),
    ],
)
def test_a_newer_pair_gets_new_instructions(drop: Drop) -> None:
    assert resolve(drop, OIL, None, ACCEPTED, THEN) == Sidecar(prompt="oil")


def test_a_pair_that_was_refused_without_instructions_is_read_again() -> None:
    refused_before = replace(ACCEPTED, sidecar=None)
    assert resolve(PAIR, OIL, None, refused_before, THEN) == Sidecar(prompt="oil")


# decide and refuse

MADE = Preparation(made_of="", expires_at=0, clip_sha256="s1", frame_sha256="s3")
READABLE = Candidate(PAIR, UNKNOWN, Sidecar(prompt="ink"), preparation=MADE)
WITHOUT_FRAME = Candidate(PAIR, UNKNOWN, FRAME)
WITH_FRAME = Candidate(replace(PAIR, first_frame=LOOK), UNKNOWN, FRAME, preparation=MADE)
UNREADABLE = Candidate(PAIR, UNKNOWN, REFUSAL)
TOO_LONG = Candidate(
    Drop("input", file(f"{LONG_FOLDER}c.mp4", version="v1"), file("c.json", version="v2")),
    UNKNOWN,
    Sidecar(first_frame=LONG_NAME),
)
ENDED_UNPAID = (State.FAILED, State.REFUSED)
OTHER_STATES = [state for state in State if state not in ENDED_UNPAID]


@pytest.mark.parametrize("wait", [Wait("waits for its sidecar"), Wait("starts with …", LATER)])
def test_a_clip_waits_while_its_instructions_wait(wait: Wait) -> None:
    assert decide(Candidate(ALONE, UNKNOWN, wait)) is wait


@pytest.mark.parametrize("candidate", [READABLE, WITH_FRAME])
def test_a_complete_drop_starts(candidate: Candidate) -> None:
    decision = decide(candidate)
    assert isinstance(decision, Start)
    assert (decision.sidecar, decision.replaces) == (candidate.sidecar, None)


@pytest.mark.parametrize("candidate", [READABLE, WITH_FRAME])
@pytest.mark.parametrize("state", State)
def test_a_drop_that_has_its_job_is_known(candidate: Candidate, state: State) -> None:
    known = job(state, candidate.drop.version)
    assert decide(replace(candidate, job=known)) == Known(known)


@pytest.mark.parametrize("state", OTHER_STATES)
def test_a_newer_drop_of_the_same_content_is_known_unless_its_job_ended_unpaid(
    state: State,
) -> None:
    known = job(state, "v0 v2")
    assert decide(replace(READABLE, job=known)) == Known(known)
    assert decide(replace(UNREADABLE, job=known)) == Known(known)


@pytest.mark.parametrize("state", ENDED_UNPAID)
def test_a_newer_drop_of_the_same_content_replaces_a_job_that_ended_unpaid(state: State) -> None:
    ended = job(state, "v0 v2")
    assert decide(replace(READABLE, job=ended)) == Start(Sidecar(prompt="ink"), replaces=ended)
    assert decide(replace(UNREADABLE, job=ended)) == Refuse(REFUSAL, None, replaces=ended)


def test_a_clip_waits_for_the_first_frame_that_is_named() -> None:
    assert "a/look.png" in message_of(decide(WITHOUT_FRAME))


@pytest.mark.parametrize("state", State)
def test_a_clip_whose_first_frame_was_deleted_is_known_if_it_was_accepted(state: State) -> None:
    known = job(state, "v0")
    assert decide(replace(WITHOUT_FRAME, job=known)) == Known(known)


def test_an_unreadable_sidecar_is_refused() -> None:
    assert decide(UNREADABLE) == Refuse(REFUSAL)


@pytest.mark.parametrize("first_frame", [None, LOOK])
def test_a_first_frame_whose_key_is_too_long_is_refused(first_frame: InputFile | None) -> None:
    candidate = replace(TOO_LONG, drop=replace(TOO_LONG.drop, first_frame=first_frame))
    decision = decide(candidate)
    assert isinstance(decision, Refuse)
    assert decision.refusal.field == "first_frame"
    assert decision.sidecar == candidate.sidecar
    answered = job(State.REFUSED, candidate.drop.version)
    assert decide(replace(candidate, job=answered)) == Known(answered)


def test_a_refusal_keeps_the_instructions_that_could_be_read() -> None:
    assert refuse(READABLE, REFUSAL) == Refuse(REFUSAL, Sidecar(prompt="ink"))
    assert refuse(UNREADABLE, REFUSAL) == Refuse(REFUSAL)
    assert refuse(replace(READABLE, sidecar=Wait("…")), REFUSAL) == Refuse(REFUSAL)


@pytest.mark.parametrize("candidate", [READABLE, UNREADABLE])
@pytest.mark.parametrize("state", State)
def test_the_same_drop_is_not_refused_twice(candidate: Candidate, state: State) -> None:
    answered = job(state)
    assert refuse(replace(candidate, job=answered), REFUSAL) == Known(answered)


@pytest.mark.parametrize("state", State)
def test_a_newer_drop_is_refused_only_in_place_of_a_job_that_ended_unpaid(state: State) -> None:
    existing = job(state, "v0 v2")
    refused = refuse(replace(READABLE, job=existing), REFUSAL)
    if state in ENDED_UNPAID:
        assert refused == Refuse(REFUSAL, Sidecar(prompt="ink"), replaces=existing)
    else:
        assert refused == Known(existing)


# What a candidate and a record say about themselves


@pytest.mark.parametrize(
    ("candidate", "frame_key", "is_too_long", "is_missing"),
    [
        (READABLE, None, False, False),
        (UNREADABLE, None, False, False),
        (Candidate(ALONE, UNKNOWN, Wait("…")), None, False, False),
        (WITHOUT_FRAME, "a/look.png", False, True),
        (WITH_FRAME, "a/look.png", False, False),
        (TOO_LONG, f"{LONG_FOLDER}{LONG_NAME}", True, True),
    ],
)
def test_a_candidate_names_its_first_frame(
    candidate: Candidate, frame_key: str | None, is_too_long: bool, is_missing: bool
) -> None:
    assert candidate.frame_key == frame_key
    assert candidate.frame_key_is_too_long is is_too_long
    assert candidate.misses_frame is is_missing


def test_a_job_is_looked_up_by_content_unless_the_first_frame_is_missing() -> None:
    assert READABLE.known_job_id == job_id(PAIR, Sidecar(prompt="ink"))
    assert WITH_FRAME.known_job_id == job_id(WITH_FRAME.drop, FRAME)
    assert UNREADABLE.known_job_id == job_id(PAIR, None)
    assert TOO_LONG.known_job_id == job_id(TOO_LONG.drop, Sidecar(first_frame=LONG_NAME))


def test_a_pair_whose_first_frame_is_missing_may_have_been_accepted_with_it() -> None:
    assert WITHOUT_FRAME.known_job_id is None
    assert replace(WITHOUT_FRAME, record=ACCEPTED).known_job_id == "j1"
    newer = replace(WITHOUT_FRAME, drop=Drop("input", file("a/c.mp4", version="v9"), OWN))
    assert replace(newer, record=ACCEPTED).known_job_id is None


def test_a_record_shows_that_its_file_waits() -> None:
    waiting = waiting_since(THEN)
    assert waiting.state is State.WAITING
    assert waiting.entered == {State.WAITING: datetime.fromtimestamp(THEN, UTC)}
    assert waiting.explanation == "waits for its sidecar"
    assert (UNKNOWN.entered, UNKNOWN.explanation) == ({}, None)


def test_a_record_exists_when_its_file_waits_or_has_a_job() -> None:
    assert [record.exists for record in (UNKNOWN, waiting_since(THEN), ACCEPTED)] == [
        False,
        True,
        True,
    ]


# prepare


def test_a_complete_drop_is_prepared_before_anything_is_decided() -> None:
    raw = replace(READABLE, preparation=None)
    assert decide(raw) == Prepare("v1 1080")
    assert raw.known_job_id is None
    framed = replace(WITH_FRAME, preparation=None)
    assert decide(framed) == Prepare("v1 1080 v3")


def test_what_was_made_of_these_versions_identifies_the_files_by_their_content() -> None:
    raw = replace(WITH_FRAME, preparation=None)
    made = replace(MADE, made_of="v1 1080 v3", expires_at=THEN + 1)
    known = replace(raw, record=replace(UNKNOWN, preparation=made)).prepared(THEN)
    assert known.preparation is made
    assert (known.drop.clip.sha256, known.drop.first_frame and known.drop.first_frame.sha256) == (
        "s1",
        "s3",
    )
    assert isinstance(decide(known), Start)


@pytest.mark.parametrize(
    "changes",
    [
        {"made_of": "v0 1080 v3"},
        {"made_of": "v1 720 v3"},
        {"made_of": "v1 1080"},
        {"expires_at": THEN},
    ],
    ids=["another clip", "another size", "without the first frame", "expired"],
)
def test_what_was_made_of_something_else_or_has_expired_is_made_again(
    changes: dict[str, Any],
) -> None:
    raw = replace(WITH_FRAME, preparation=None)
    made = replace(MADE, **{"made_of": "v1 1080 v3", "expires_at": THEN + 1} | changes)
    unknown = replace(raw, record=replace(UNKNOWN, preparation=made)).prepared(THEN)
    assert decide(unknown) == Prepare("v1 1080 v3")


def test_a_clip_that_cannot_be_prepared_is_refused() -> None:
    refused = replace(READABLE, preparation=replace(MADE, refusal=REFUSAL))
    assert decide(refused) == Refuse(REFUSAL, Sidecar(prompt="ink"))

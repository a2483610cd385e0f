"""Input records: who owns a key, what waits, and which clips name a first frame."""

from datetime import timedelta
from typing import Any

import pytest

from retake.aws.follow_ups import FollowUps
from retake.aws.input_store import InputStore
from retake.domain.intake import InputRecord
from retake.domain.sidecar import Sidecar
from tests.support.jobs import DROPPED_AT, drop_of
from tests.support.stand_ins import Clock


@pytest.fixture
def records(table: Any) -> InputStore:
    return InputStore(table=table, bucket="b", clock=Clock())


@pytest.fixture
def follow_ups(table: Any) -> FollowUps:
    return FollowUps(table=table)


def follow_up_times(follow_ups: FollowUps, now: float) -> list[int]:
    return [entry.follow_up.at for entry in follow_ups.due(now, 9) if entry.follow_up]


def test_a_newer_drop_owns_the_key_and_an_older_one_does_not(records: InputStore) -> None:
    empty = InputRecord(bucket="b", key="k.mp4")
    assert records.own(drop_of(), "new", accepted=True) == empty
    older = drop_of(at=DROPPED_AT - timedelta(seconds=1))
    assert records.own(older, "old", accepted=True) is None
    before = records.own(drop_of(), "same second", accepted=False)
    assert before
    assert before.newest_job == "new"
    record = records.get("k.mp4")
    assert (record.newest_job, record.accepted_job) == ("same second", "new")
    just_older = drop_of(at=DROPPED_AT - timedelta(milliseconds=1))
    assert records.own(just_older, "older", accepted=True) is None
    assert records.get("other") == InputRecord(bucket="b", key="other")
    assert not records.get("other").exists


def test_a_pair_keeps_the_instructions_that_it_was_accepted_with(records: InputStore) -> None:
    first, second = Sidecar(prompt="first"), Sidecar(prompt="second")
    assert records.own(drop_of(), "j1", accepted=True, sidecar=first)
    assert records.own(drop_of(), "j2", accepted=True, sidecar=second) is None
    record = records.get("k.mp4")
    assert (record.newest_job, record.sidecar) == ("j1", first)
    assert record.pair_version == drop_of().pair_version


def test_a_waiting_file_is_followed_up_from_its_first_drop_until_it_is_shown(
    records: InputStore, follow_ups: FollowUps
) -> None:
    first = records.wait("k.mp4", "waits for its sidecar", due_at=500)
    again = records.wait("k.mp4", "waits for its first frame", due_at=900)
    assert first.waiting
    assert again.waiting
    assert again.waiting.since == first.waiting.since
    assert again.waiting.message == "waits for its first frame"
    assert again.follow_up
    assert again.follow_up.at == 500
    assert [entry.key for entry in follow_ups.due(500, 9)] == ["k.mp4"]
    records.postpone(again, 700)
    assert follow_ups.due(699, 9) == []
    records.stop_following(again)
    assert follow_up_times(follow_ups, 9999) == [700], "another time was recorded meanwhile"
    records.stop_following(records.get("k.mp4"))
    assert follow_ups.due(9999, 9) == []
    records.postpone(again, 800)
    assert follow_ups.due(9999, 9) == []


def test_a_time_that_overrides_replaces_an_earlier_follow_up(
    records: InputStore, follow_ups: FollowUps
) -> None:
    records.wait("k.mp4", "waits for its sidecar", due_at=500)
    records.wait("k.mp4", "starts with its preset", due_at=900, overrides=True)
    assert follow_up_times(follow_ups, 9999) == [900]


def test_a_key_that_a_job_owns_does_not_wait_any_more(
    records: InputStore, table: Any, follow_ups: FollowUps
) -> None:
    waiting = records.wait("k.mp4", "waits", due_at=500)
    records.own(drop_of(), "j", accepted=True)
    records.stop_following(waiting)
    record = records.get("k.mp4")
    assert (record.waiting, record.follow_up) == (None, None)
    assert follow_ups.due(9999, 9) == []
    [item] = table.scan()["Items"]
    gone = {"waiting_for", "waiting_since", "follow_up", "follow_up_at", "listing", "listed_at"}
    assert gone.isdisjoint(item)


def test_a_file_that_joined_a_job_is_forgotten(records: InputStore, table: Any) -> None:
    waiting = records.wait("k.json", "waits", due_at=500)
    records.remove("k.json")
    records.stop_following(waiting)
    assert not records.get("k.json").exists
    assert table.scan()["Items"] == []


def test_a_first_frame_knows_all_clips_that_name_it(records: InputStore) -> None:
    for key in ("b.mp4", "a.mp4", "b.mp4"):
        records.link_first_frame("look.png", key)
    assert records.clips_of_first_frame("look.png") == ["a.mp4", "b.mp4"]
    assert records.clips_of_first_frame("other.png") == []

"""DynamoDB items as typed records: whatever is written is read again."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from retake.aws import dynamodb
from retake.domain.admission import (
    AccountEvent,
    Admission,
    Booking,
    Budget,
    Circuit,
    Leases,
    OpenCircuit,
    RequestRate,
)
from retake.domain.footage import Sound
from retake.domain.input_files import Drop, InputFile
from retake.domain.intake import InputRecord, Waiting
from retake.domain.job import (
    FollowUp,
    FollowUpQueue,
    HistorySearch,
    HoldReason,
    Job,
    SearchResult,
    State,
    SubmitAttempt,
)
from retake.domain.preparation import Preparation
from retake.domain.prices import Basis, Estimate, FolderCap, Prices
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from tests.support.stand_ins import FOOTAGE
from tests.support.world import World

THEN = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
CLIP = InputFile("a/clip.mp4", "e1", 123_456, THEN, "v1")
LOOK = InputFile("a/look.png", "e2", 789, THEN + timedelta(seconds=1), "v2")
SIDECAR = Sidecar(
    prompt="ink",
    mode="flex_2",
    first_frame="look.png",
    first_frame_url="https://x/look.png",
    rerun=2,
)
FOLLOW_UP = FollowUp(FollowUpQueue.HELD, 1_800_000_000)
PREPARATION = Preparation(
    made_of="v1 1080 v2",
    expires_at=1_800_000_005,
    clip_sha256="5" * 64,
    frame_sha256="6" * 64,
    refusal=Refusal("the clip is empty", "upload it again"),
    footage=replace(FOOTAGE, sound=Sound(codec="aac", channels=2, rate=48000, seconds=3.1)),
    steps=("turned upright",),
    clip="prepared/5-1080.mp4",
    frame="prepared/6-1080.jpg",
    sound="prepared/5-1080.m4a",
)
NEW_JOB = Job(
    id="j1", state=State.CLAIMED, bucket="input", key="a/clip.mp4", drop_version="v1", clip=CLIP
)
FULL_JOB = Job(
    id="j1",
    bucket="input",
    key="a/clip.mp4",
    drop_version="v1 v2",
    clip=CLIP,
    first_frame=LOOK,
    sidecar=SIDECAR,
    prepared=PREPARATION,
    state=State.HELD,
    entered={State.CLAIMED: THEN, State.HELD: THEN + timedelta(seconds=2)},
    run=1,
    version=7,
    write_id="w",
    follow_up=FOLLOW_UP,
    reason="out of credits",
    refusal=Refusal("the clip is empty", "upload it again", "prompt"),
    hold_reason=HoldReason.CREDITS,
    held_since=1_800_000_000,
    rejected_at=1_800_000_001,
    cap=FolderCap("a/", 5.0),
    estimate=Estimate(0.6, "0.6 USD per clip", True),
    attempt=SubmitAttempt({"video_url": "https://x/clip.mp4", "mode": "flex_2"}, 2),
    search=HistorySearch(SearchResult.ABSENT, 2, 3, 1_800_000_002, 1_800_000_003),
    request_id="r-1",
    submitted_at=1_800_000_004,
    result_url="https://x/result.mp4",
    cost_usd=0.6,
    render_seconds=164.25,
    fetch_attempts=3,
    finish_attempts=1,
    result="s3://output/a/clip.mp4",
    result_bytes=7_654_321,
    warnings=("the picture is black",),
)
NEW_RECORD = InputRecord(bucket="input", key="a/clip.mp4")
FULL_RECORD = InputRecord(
    bucket="input",
    key="a/clip.mp4",
    waiting=Waiting("waits for its sidecar", THEN),
    newest_job="j2",
    accepted_job="j1",
    dropped_at=THEN,
    etags="e1 e2",
    pair_version="v1 v2",
    sidecar=SIDECAR,
    follow_up=FOLLOW_UP,
    preparing="v1 1080 v2",
    preparation=PREPARATION,
    begun="v1 1080 v2",
    begun_times=2,
)
FULL_ADMISSION = Admission(
    leases=Leases({"j1": 1_800_003_600, "j2": 1_800_003_601}),
    rate=RequestRate({1_800_000_000: 2, 1_800_000_001: 1}, paused_until=1_800_000_020),
    budget=Budget(
        day="2027-01-15",
        spent_usd=1.2,
        spent_in={"a/": 0.6},
        bookings={"j1": Booking("2027-01-15", 0.6, True, "a/", 1_800_000_300)},
        compared=2,
        compared_usd=1.2,
        estimated_usd=1.3,
        exhausted_on="2027-01-14",
    ),
    prices=Prices({Basis.SECOND: 0.1}, 7),
    circuit=Circuit(OpenCircuit(HoldReason.KEY, "rejected", 1_800_000_060, 120), 1_800_000_000, 3),
    outbox=(
        AccountEvent("Held", HoldReason.KEY, "rejected"),
        AccountEvent("Resumed", HoldReason.RATE, "accepted"),
    ),
)
RECORDS: Mapping[str, Any] = {
    "a new job": NEW_JOB,
    "a full job": FULL_JOB,
    "a job that had nothing to send": replace(NEW_JOB, attempt=SubmitAttempt(None)),
    "a job of files without versions": replace(NEW_JOB, clip=replace(CLIP, version=None)),
    "a new input record": NEW_RECORD,
    "a full input record": FULL_RECORD,
    "a new admission": Admission(),
    "a full admission": FULL_ADMISSION,
}


def stored(table: Any, record: Any) -> dynamodb.Item:
    """Return the item of a record as DynamoDB gives it back."""
    table.put_item(Item=dynamodb.to_item(record) | {"pk": "test", "sk": "test"})
    item: dynamodb.Item = table.get_item(Key={"pk": "test", "sk": "test"})["Item"]
    return item


@pytest.mark.parametrize("record", [FULL_JOB, FULL_RECORD, FULL_ADMISSION], ids=type)
def test_the_full_records_set_every_field(record: Any) -> None:
    for field in fields(record):
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        assert getattr(record, field.name) not in (None, default), field.name


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_as_it_was_written(table: Any, name: str) -> None:
    record = RECORDS[name]
    assert dynamodb.from_item(type(record), stored(table, record)) == record


@pytest.mark.parametrize("name", RECORDS)
def test_attributes_that_a_record_does_not_know_are_ignored(table: Any, name: str) -> None:
    record = RECORDS[name]
    item = stored(table, record) | {"unknown": "x", "version_of_tomorrow": Decimal(1)}
    for attribute in ("clip", "budget", "sidecar"):
        if attribute in item:
            item[attribute] = item[attribute] | {"unknown": "x"}
    assert dynamodb.from_item(type(record), item) == record


def test_attributes_that_are_missing_have_their_defaults() -> None:
    item = dynamodb.to_item(NEW_JOB)
    required = ("id", "state", "bucket", "key", "drop_version", "clip")
    sparse = {name: item[name] for name in required}
    assert dynamodb.from_item(Job, sparse) == NEW_JOB
    of_record = {"bucket": "input", "key": "a/clip.mp4"}
    assert dynamodb.from_item(InputRecord, of_record) == NEW_RECORD
    assert dynamodb.from_item(Admission, {}) == Admission()
    partly = dynamodb.from_item(Job, sparse | {"attempt": {}, "search": {}})
    assert (partly.attempt, partly.search) == (SubmitAttempt(None), HistorySearch())


def test_fields_that_are_none_are_not_stored() -> None:
    item = dynamodb.to_item(replace(NEW_JOB, attempt=SubmitAttempt(None)))
    assert {"first_frame", "follow_up", "reason", "cost_usd"} & item.keys() == set()
    assert item["attempt"] == {"number": 1}


def test_a_follow_up_is_stored_as_the_keys_of_the_index() -> None:
    item = dynamodb.to_item(FULL_JOB)
    assert (item["follow_up"], item["follow_up_at"]) == ("held", 1_800_000_000)


def test_numbers_are_read_with_their_types(table: Any) -> None:
    job = dynamodb.from_item(Job, stored(table, FULL_JOB))
    assert [type(job.cost_usd), type(job.submitted_at), type(job.clip.size)] == [float, int, int]
    admission = dynamodb.from_item(Admission, stored(table, FULL_ADMISSION))
    assert {type(second) for second in admission.rate.counts} == {int}
    assert type(admission.circuit.opened) is OpenCircuit


def test_a_time_is_stored_in_milliseconds_with_its_zone() -> None:
    assert dynamodb.to_attribute(THEN) == "2026-01-01T12:30:15.250+00:00"


def test_an_input_record_is_read_as_its_store_writes_it(world: World) -> None:
    drop = Drop("input", CLIP, replace(CLIP, key="a/clip.json", version="v2"))
    assert world.records.get(CLIP.key) == NEW_RECORD
    assert world.records.own(drop, "j1", accepted=True, sidecar=SIDECAR) == NEW_RECORD
    owned = replace(
        NEW_RECORD,
        newest_job="j1",
        accepted_job="j1",
        dropped_at=THEN,
        etags="e1 e1",
        pair_version="v1 v2",
        sidecar=SIDECAR,
    )
    assert world.records.get(CLIP.key) == owned
    now = world.at(world.clock.now)
    waiting = replace(
        owned,
        waiting=Waiting("waits for its sidecar", now),
        follow_up=FollowUp(FollowUpQueue.DUE, 1_800_000_030),
    )
    message = "waits for its sidecar"
    assert world.records.wait(CLIP.key, message, due_at=1_800_000_030) == waiting
    assert world.records.get(CLIP.key) == waiting
    assert list(world.app.follow_ups.all()) == [waiting]
    assert world.records.own(drop, "j1", accepted=True, sidecar=SIDECAR) == waiting
    assert world.records.get(CLIP.key) == owned


@pytest.mark.parametrize(
    ("name", "kind"), [("input#bucket/a#b.mp4", "input"), ("admission", "admission")]
)
def test_the_sort_key_is_the_kind_of_record(name: str, kind: str) -> None:
    assert dynamodb.key(name) == {"pk": name, "sk": kind}


def test_a_job_is_in_the_partition_of_the_beginning_of_its_id() -> None:
    assert dynamodb.key("job#0123456789ab") == {"pk": "job#01234567", "sk": "0123456789ab"}
    assert dynamodb.key("job#j1") == {"pk": "job#j1", "sk": "j1"}


def test_all_pages_of_a_query_are_read() -> None:
    answers: list[dict[str, Any]] = [
        {"Items": [{"n": 1}, {"n": 2}], "LastEvaluatedKey": "after 2"},
        {"Items": [], "LastEvaluatedKey": "after nothing"},
        {"Items": [{"n": 3}]},
    ]
    queries: list[dict[str, Any]] = []

    def read(**query: Any) -> dict[str, Any]:
        queries.append(query)
        return answers[len(queries) - 1]

    assert [item["n"] for item in dynamodb.pages(read, Limit=2)] == [1, 2, 3]
    starts = [query.get("ExclusiveStartKey") for query in queries]
    assert starts == [None, "after 2", "after nothing"]
    assert all(query["Limit"] == 2 for query in queries)


def test_only_a_lost_race_is_an_expected_error() -> None:
    def error(code: str) -> ClientError:
        return ClientError({"Error": {"Code": code, "Message": ""}}, "PutItem")

    dynamodb.raise_unless_lost_race(error("ConditionalCheckFailedException"))
    with pytest.raises(ClientError):
        dynamodb.raise_unless_lost_race(error("ProvisionedThroughputExceededException"))


class BusyTable:
    """A table that returns one item of a batch at a time, and none at first."""

    name = "jobs"

    def __init__(self, items: list[Any]) -> None:
        self._items = {item["pk"]: item for item in items}
        self.calls = 0
        self.meta = SimpleNamespace(client=self)

    def batch_get_item(self, RequestItems: Any) -> Any:  # noqa: N803 - as boto3 names it
        keys = list(RequestItems["jobs"]["Keys"])
        assert RequestItems["jobs"]["ConsistentRead"] is True
        self.calls += 1
        processed = keys[: min(1, self.calls - 1)]
        found = [self._items[key["pk"]] for key in processed if key["pk"] in self._items]
        unprocessed = (
            {"jobs": {"Keys": keys[len(processed) :]}} if len(keys) > len(processed) else {}
        )
        return {"Responses": {"jobs": found}, "UnprocessedKeys": unprocessed}


def test_what_a_batch_leaves_unprocessed_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(dynamodb.time, "sleep", pauses.append)
    table = BusyTable([dynamodb.key("job#a"), dynamodb.key("admission")])
    found = dynamodb.get_named(table, ["job#a", "job#missing", "admission", "job#a"])
    assert found == {"job#a": dynamodb.key("job#a"), "admission": dynamodb.key("admission")}
    assert (table.calls, len(pauses)) == (4, 2)  # nothing came of the first call, and of "missing"

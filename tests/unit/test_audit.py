"""Objects whose event never came are found, at a bounded cost."""

import json

import pytest

from retake.aws import dynamodb
from retake.domain.audit import (
    EVENT_SECONDS,
    INTERVAL_SECONDS,
    OVERLAP_SECONDS,
    YOUNG_INTERVAL_SECONDS,
    YOUNG_SECONDS,
    Audit,
)
from retake.domain.job import State
from retake.observability import metrics
from retake.services import audit as audit_module
from tests.support.drops import accepted_jobs, ingest, status_of
from tests.support.stand_ins import NOW
from tests.support.world import World

SIDECAR = b'{"prompt": "ink"}'


def finished(audit: Audit | None) -> Audit:
    """End a pass that has begun."""
    assert audit
    return audit.at(None)


def test_the_first_pass_looks_at_everything_that_is_not_brand_new() -> None:
    audit = Audit().resume(NOW)
    assert audit
    assert audit.concerns(0)
    assert audit.concerns(NOW - EVENT_SECONDS)
    assert not audit.concerns(NOW - EVENT_SECONDS + 1)


def test_a_pass_overlaps_the_one_before() -> None:
    first = finished(Audit().resume(NOW))
    second = first.resume(NOW + YOUNG_INTERVAL_SECONDS)
    assert second
    assert second.concerns(NOW - OVERLAP_SECONDS)
    assert not second.concerns(NOW - OVERLAP_SECONDS - 1)
    assert OVERLAP_SECONDS > EVENT_SECONDS, "what was brand new is seen by the next pass"


def test_passes_are_frequent_while_the_stack_is_young_and_hourly_later() -> None:
    audit, now, starts = Audit(), NOW, []
    while now < NOW + YOUNG_SECONDS + 3 * INTERVAL_SECONDS:
        resumed = audit.resume(now)
        if resumed:
            starts.append(now)
            audit = finished(resumed)
        now += 60
    young = [at for at in starts if at < NOW + YOUNG_SECONDS]
    assert len(young) == YOUNG_SECONDS / YOUNG_INTERVAL_SECONDS
    assert len(starts) - len(young) == 3


def test_a_pass_that_was_interrupted_continues_at_its_cursor() -> None:
    audit = Audit().resume(NOW)
    assert audit
    resumed = audit.at("m").resume(NOW + 10 * INTERVAL_SECONDS)
    assert resumed
    assert (resumed.cursor, resumed.started_at) == ("m", int(NOW))


def test_a_pair_whose_events_never_came_is_accepted(world: World, clip_bytes: bytes) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", SIDECAR)
    world.sweep()
    assert ingest(world)
    assert [job.state for job in accepted_jobs(world)] == [State.CLAIMED]


def test_a_sidecar_that_was_overwritten_within_the_same_second_is_found(
    world: World, clip_bytes: bytes
) -> None:
    world.storage.clock = lambda: NOW - 1000
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", SIDECAR)
    ingest(world, "clip.json")
    world.sweep()
    assert world.queue.keys == []
    world.drop("clip.json", b'{"prompt": "another one"}')  # its event never comes
    world.clock.now += YOUNG_INTERVAL_SECONDS
    world.app.audit._store.write(Audit())  # its pass had seen the first one
    world.sweep()
    assert world.queue.keys == ["clip.json"]
    ingest(world)
    prompts = {job.sidecar.prompt for job in accepted_jobs(world) if job.sidecar}
    assert prompts == {"ink", "another one"}


def test_a_lone_clip_whose_event_never_came_is_shown(world: World) -> None:
    world.drop("clip.mxf", b"video")
    world.drop("lone.mp4", b"video")
    world.sweep()
    ingest(world)
    assert status_of(world, "clip.mxf")["state"] == "REFUSED"
    assert status_of(world, "lone.mp4")["state"] == "WAITING"


def test_what_was_ingested_is_not_sent_again(
    world: World, clip_bytes: bytes, look_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", SIDECAR)
    world.drop("other.mov", b"video")
    world.drop("framed.mp4", clip_bytes)
    world.drop("framed.json", b'{"first_frame": "look.png"}')
    world.drop("look.png", look_bytes)
    ingest(world, "clip.mp4", "clip.json", "other.mov", "framed.json", "look.png")
    world.sweep()
    assert world.queue.keys == []


def test_a_sweep_sends_a_bounded_number_and_the_next_one_continues(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "MAX_MESSAGES", 2)
    monkeypatch.setattr(audit_module, "MAX_OBJECTS", 3)
    for number in range(7):
        world.drop(f"{number}.txt", b"text")
    for _ in range(4):
        world.sweep()
    assert sorted(world.queue.keys) == [f"{number}.txt" for number in range(7)]
    ingest(world)
    world.clock.now += INTERVAL_SECONDS
    world.sweep()
    assert world.queue.keys == []


def test_a_file_whose_record_cannot_be_read_is_sent_and_stops_no_other(world: World) -> None:
    for key in ("a.txt", "b.txt", "c.txt"):
        world.drop(key, b"text")
    ingest(world, "a.txt")
    world.table.put_item(Item=dynamodb.key("input#input/b.txt") | {"waiting_for": 1})
    world.sweep()
    assert sorted(world.queue.keys) == ["b.txt", "c.txt"]


def test_the_audit_pays_for_nothing_twice(world: World, clip_bytes: bytes) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", SIDECAR)
    world.sweep()
    world.sweep()
    ingest(world, "clip.mp4", "clip.json", "clip.mp4")
    assert len(accepted_jobs(world)) == 1


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_file_that_waits_since_it_was_ingested_is_not_sent_again(
    world: World, seconds: float
) -> None:
    world.drop("lone.mp4", b"video")
    clip = world.app.input_bucket.head("lone.mp4")
    now, world.clock.now = world.clock.now, clip.modified.timestamp() + seconds
    ingest(world, "lone.mp4")
    world.clock.now = now
    world.app.audit.run()
    assert world.queue.keys == []


def test_a_file_that_was_overwritten_while_it_waited_is_sent_again(world: World) -> None:
    world.drop("lone.mp4", b"video")
    clip = world.app.input_bucket.head("lone.mp4")
    now, world.clock.now = world.clock.now, clip.modified.timestamp() - 1
    ingest(world, "lone.mp4")
    world.clock.now = now
    world.app.audit.run()
    assert world.queue.keys == ["lone.mp4"]


@pytest.mark.parametrize(("ignored", "sent"), [(999, ["z.txt"]), (1000, [])])
def test_a_sweep_lists_1000_objects(world: World, ignored: int, sent: list[str]) -> None:
    for number in range(ignored):
        world.drop(f"{number:04}/", b"")
    world.drop("z.txt", b"text")
    world.app.audit.run()
    assert world.queue.keys == sent
    world.app.audit.run()
    assert world.queue.keys == ["z.txt"]


def test_a_sweep_sends_50_messages(world: World) -> None:
    for number in range(51):
        world.drop(f"{number:02}.txt", b"text")
    world.app.audit.run()
    assert len(world.queue.keys) == 50
    world.app.audit.run()
    assert len(world.queue.keys) == 51


def test_what_is_known_is_not_counted_as_a_message(world: World) -> None:
    known = [f"{number:02}.txt" for number in range(50)]
    for key in [*known, "new.txt"]:
        world.drop(key, b"text")
    ingest(world, *known)
    world.app.audit.run()
    assert world.queue.keys == ["new.txt"]


def test_what_is_found_is_counted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("a.txt", "b.txt"):
        world.drop(key, b"text")
    metrics.clear_metrics()
    metrics.log_metrics(lambda event, context: world.app.audit.run())({}, None)
    published = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert published["ObjectsFoundByAudit"] == [2]

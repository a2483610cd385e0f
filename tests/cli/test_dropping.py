"""Nothing is uploaded twice, nothing half-new is paid, and the id that is told here is the one the pipeline gives."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import dropping, drops
from cli.console import Screen
from cli.dropping import Ready, upload
from cli.planning import Wish, etag, plan
from cli.repair import retry
from cli.stack import Stack
from retake.rules.states import State
from tests.unit.conftest import World


def drop(stack: Stack, clip: Path, **wish: Any) -> list[Ready]:
    ready = dropping.look(stack, plan([clip], Wish(**wish), 30, dropping.presets_of(stack))[0])
    dropping.upload_presets(stack, ready)
    upload(stack, [one for one in ready if one.puts], lambda count: None, lambda one: None)
    return ready


def take(world: World, *keys: str) -> list[str]:
    return [job for key in keys for job in world.intake.take(key)]


@pytest.fixture
def film(tmp_path: Path, clip: Path) -> Path:
    (tmp_path / "film.mp4").write_bytes(clip.read_bytes())
    return tmp_path / "film.mp4"


def test_the_job_is_the_one_that_the_pipeline_makes(world: World, stack: Stack, film: Path, look: Path) -> None:
    (ready,) = drop(stack, film, prompt="ink", frame=look, prefix="shoot")
    assert take(world, "shoot/film.mp4") == [ready.job]
    assert ready.price == 0.6


def test_the_same_drop_again_puts_nothing(world: World, stack: Stack, film: Path) -> None:
    first = drop(stack, film, prompt="ink", modes=("flex_1", "flex_2"))
    assert take(world, "film.flex_1.mp4", "film.flex_2.mp4") == [one.job for one in first]
    again = drop(stack, film, prompt="ink", modes=("flex_1", "flex_2"))
    assert [(one.job, one.puts, one.price) for one in again] == [(one.job, (), 0) for one in first]


def test_what_is_in_the_bucket_and_not_known_is_told_again_by_its_note_alone(world: World, stack: Stack, film: Path) -> None:
    drop(stack, film, prompt="ink")
    assert drop(stack, film, prompt="ink")[0].puts == ("film.json",)


@pytest.mark.parametrize("looks_after", [1, 2, 3])
def test_of_a_new_clip_with_a_new_note_nothing_half_new_is_taken(
    world: World, stack: Stack, film: Path, monkeypatch: pytest.MonkeyPatch, looks_after: int
) -> None:
    old = drop(stack, film, prompt="ink")[0].job
    take(world, "film.mp4")
    film.write_bytes(film.read_bytes() + b"\x00\x00\x00\x08free")
    calls: list[str] = []
    for name in ("delete_object", "put_object", "upload_file"):
        monkeypatch.setattr(stack.s3, name, _then(getattr(stack.s3, name), world, calls, looks_after))
    new = drop(stack, film, prompt="oil")[0]
    taken = take(world, "film.mp4")
    assert taken == [new.job]
    assert {row["id"] for row in world.table.scan()["Items"] if row["sk"] == "job"} == {old, new.job}


def _then(call: Any, world: World, calls: list[str], looks_after: int) -> Any:
    """Have the pipeline look at the bucket just after one of the calls."""

    def called(*given: Any, **named: Any) -> Any:
        done = call(*given, **named)
        calls.append(call.__name__)
        if len(calls) == looks_after:
            take(world, "film.json", "film.mp4")
        return done

    return called


def test_a_failed_job_starts_again_when_it_is_dropped_again(world: World, stack: Stack, film: Path) -> None:
    (first,) = drop(stack, film, prompt="ink")
    take(world, "film.mp4")
    _fail(world, first.job)
    (again,) = drop(stack, film, prompt="ink")
    assert (again.again, again.price, again.puts) == (True, 0.6, ("film.json",))
    assert not again.is_fresh(world.job(first.job))
    assert take(world, "film.json") == [first.job]
    assert again.is_fresh(world.job(first.job))


def test_retry_drops_the_note_again(world: World, stack: Stack, film: Path) -> None:
    job = drop(stack, film, prompt="ink")[0].job
    take(world, "film.mp4")
    assert "under way" in retry(stack, world.job(job)).refused
    _fail(world, job)
    assert not retry(stack, world.job(job)).refused
    assert take(world, "film.json") == [job]


def test_retry_never_takes_another_take_for_the_old_one(world: World, stack: Stack, film: Path) -> None:
    job = drop(stack, film, prompt="ink")[0].job
    take(world, "film.mp4")
    _fail(world, job)
    drop(stack, film, prompt="oil")
    take(world, "film.mp4")
    assert "replaced" in retry(stack, world.job(job)).refused


def test_an_upload_that_is_interrupted_leaves_no_half_clip(world: World, stack: Stack, film: Path) -> None:
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    ready = dropping.look(stack, plan([film], Wish(prompt="ink"), 30)[0])
    with pytest.raises(KeyboardInterrupt):
        upload(stack, ready, interrupt, lambda one: None)
    there = world.input.head("film.mp4")
    assert there is None or there.etag == etag(film)
    assert drop(stack, film, prompt="ink")[0].intended.key == "film.mp4"


def test_a_check_that_is_interrupted_says_that_nothing_was_dropped(
    stack: Stack, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drops, "look", interrupt)
    with pytest.raises(typer.Exit) as end:
        drops.run(stack, Screen(), [film], Wish(prompt="ink"), drops.How(dry_run=False, wait=False, out=film.parent))
    assert end.value.exit_code == 130
    assert "nothing was dropped this time" in capsys.readouterr().err


@pytest.fixture
def shoot(tmp_path: Path, film: Path) -> Path:
    (tmp_path / "shoot").mkdir()
    film.rename(tmp_path / "shoot/film.mp4")
    (tmp_path / "shoot/_retake.json").write_text('{"prompt": "ink", "mode": "flex_1"}')
    return tmp_path / "shoot"


def test_a_folder_takes_its_preset_along_and_its_job_is_the_one_that_the_pipeline_makes(world: World, stack: Stack, shoot: Path) -> None:
    (ready,) = drop(stack, shoot)
    assert take(world, "shoot/_retake.json", "shoot/film.json") == [ready.job]
    assert world.job(ready.job)["mode"] == "flex_1"
    before = world.input.head("shoot/_retake.json")
    assert [(one.job, one.puts) for one in drop(stack, shoot)] == [(ready.job, ())]
    assert world.input.head("shoot/_retake.json") == before, "it is put only when it has changed"
    (shoot / "_retake.json").write_text('{"prompt": "oil"}')
    (other,) = drop(stack, shoot)
    assert take(world, "shoot/film.json") == [other.job]
    assert world.input.head("shoot/_retake.json") != before


def test_a_dry_run_tells_which_preset_would_go_along(stack: Stack, shoot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (True, False):
        drops.run(stack, Screen(as_json=as_json), [shoot], Wish(), drops.How(dry_run=True, wait=False, out=shoot))
    told, _, drawn = capsys.readouterr().out.partition("\n}\n")
    assert json.loads(told + "\n}")["presets"] == ["shoot/_retake.json"]
    assert "shoot/_retake.json goes along" in drawn


def test_a_clip_that_waits_has_its_note_before_others_are_uploaded(
    world: World, stack: Stack, shoot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset, which goes first, lets it start without its note in half a minute."""
    world.drop("shoot/waits.mp4", (shoot / "film.mp4").read_bytes())
    (shoot / "waits.mp4").write_bytes((shoot / "film.mp4").read_bytes())
    put: list[str] = []
    stack.s3.meta.events.register("before-parameter-build.s3.PutObject", lambda params, **_: put.append(params["Key"]))
    monkeypatch.setattr(dropping, "AT_ONCE", 1)
    drops.run(stack, Screen(as_json=True), [shoot], Wish(modes=("flex_3",)), drops.How(dry_run=False, wait=False, out=shoot))
    assert put == ["shoot/_retake.json", "shoot/waits.json", "shoot/film.json", "shoot/film.mp4"]


def test_a_clip_dropped_alone_has_the_job_that_the_preset_in_the_bucket_makes(world: World, stack: Stack, film: Path) -> None:
    world.drop("_retake.json", b'{"prompt": "there", "mode": "flex_3"}')
    (ready,) = drop(stack, film, modes=("adhere_2",))
    assert take(world, "film.json") == [ready.job]
    assert (world.job(ready.job)["prompt"], world.job(ready.job)["mode"]) == ("there", "adhere_2")


def test_retry_of_a_job_that_a_preset_made_says_its_note(world: World, stack: Stack, film: Path) -> None:
    job = _of_a_preset(world, film, b'{"prompt": "ink", "mode": "flex_1"}')
    world.drop("a/_retake.json", b'{"prompt": "other"}')
    assert not retry(stack, world.job(job)).refused
    assert take(world, "a/film.json", "a/film.mp4") == [job, job]
    _fail(world, job)
    world.drop("a/_retake.json", b"{")
    assert "until a/_retake.json is corrected" in retry(stack, world.job(job)).refused
    world.drop("a/_retake.json", b'{"first_frame": "look.png"}')
    assert "names a first frame since" in retry(stack, world.job(job)).refused
    world.s3.delete_object(Bucket="input", Key="a/_retake.json")
    assert not retry(stack, world.job(job)).refused
    assert take(world, "a/film.json") == [job]


def test_retry_under_the_same_preset_says_nothing_more(world: World, stack: Stack, film: Path) -> None:
    job = _of_a_preset(world, film, b"{}")
    assert not retry(stack, world.job(job)).refused
    assert world.s3.get_object(Bucket="input", Key="a/film.json")["Body"].read() == b"{}"
    assert take(world, "a/film.json") == [job]


def _of_a_preset(world: World, film: Path, preset: bytes) -> str:
    """Make a job of a clip without a sidecar, and let it fail."""
    world.clock.now = time.time()
    world.drop("a/_retake.json", preset)
    world.drop("a/film.mp4", film.read_bytes())
    assert take(world, "a/film.mp4") == []
    world.clock.now += 100
    [job] = take(world, "a/film.mp4")
    _fail(world, job)
    return job


def _fail(world: World, job: str) -> None:
    world.move(job, State.SUBMITTING)
    world.move(job, State.RENDERING, request_id="r")
    world.move(job, State.FAILED, reason="content blocked")

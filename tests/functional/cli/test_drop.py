"""Nothing is uploaded twice, and the planned job is the one that the functions make."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from botocore.exceptions import ClientError

from local.simulator.render import probe
from retake.domain.intake import Known, Start
from retake.domain.prices import Basis, Prices
from retake_cli import upload as uploads
from retake_cli.commands import drop as drop_verb
from retake_cli.commands.drop import DropCommand
from retake_cli.console import Screen
from retake_cli.etags import etag_of_file
from retake_cli.follow import GIVE_UP_SECONDS, follow
from retake_cli.plan import DropOptions
from retake_cli.stack import Stack
from retake_cli.upload import upload
from tests.support.command import assess_clip, drop, fail, ingest_all
from tests.support.world import World

FREE_BOX = b"\x00\x00\x00\x08free"  # another content, the same video


@pytest.fixture
def shoot(tmp_path: Path, local_clip: Path) -> Path:
    """A folder with a clip and a preset."""
    (tmp_path / "shoot").mkdir()
    local_clip.rename(tmp_path / "shoot/clip.mp4")
    (tmp_path / "shoot/_retake.json").write_text('{"prompt": "ink", "mode": "flex_1"}')
    return tmp_path / "shoot"


def command(stack: Stack, *, as_json: bool = False) -> DropCommand:
    return DropCommand(stack=stack, screen=Screen(as_json=as_json))


def test_the_planned_job_is_the_one_that_the_functions_make(
    world: World, stack: Stack, local_clip: Path, look: Path
) -> None:
    (ready,) = drop(stack, local_clip, prompt="ink", first_frame=look, prefix="shoot")
    assert ingest_all(world, "shoot/clip.mp4") == [ready.job_id]
    assert ready.price_usd == 0.6


def test_the_same_drop_again_uploads_nothing(world: World, stack: Stack, local_clip: Path) -> None:
    modes = ("flex_1", "flex_2")
    first = drop(stack, local_clip, prompt="ink", modes=modes)
    job_ids = [ready.job_id for ready in first]
    assert ingest_all(world, "clip.flex_1.mp4", "clip.flex_2.mp4") == job_ids
    again = drop(stack, local_clip, prompt="ink", modes=modes)
    assert [ready.job_id for ready in again] == job_ids
    assert [(ready.uploaded_keys, ready.price_usd) for ready in again] == [((), 0)] * 2
    assert all(isinstance(ready.decision, Known) for ready in again)


@pytest.mark.parametrize("with_frame", [False, True])
def test_with_kms_the_planned_job_is_found_by_the_hash_of_its_files(
    world: World, stack: Stack, local_clip: Path, look: Path, with_frame: bool
) -> None:
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    world.s3.put_bucket_encryption(
        Bucket="input", ServerSideEncryptionConfiguration={"Rules": [rule]}
    )
    stack.parameters["KmsKeyArn"] = "arn:aws:kms:eu-central-1:123456789012:key/1"
    options = {"prompt": "ink"} | ({"first_frame": look} if with_frame else {})
    (first,) = drop(stack, local_clip, **options)
    assert ingest_all(world, "clip.mp4") == [first.job_id]
    assert world.job(first.job_id).clip.sha256
    (again,) = drop(stack, local_clip, **options)
    assert (again.job_id, again.price_usd) == (first.job_id, 0)
    assert not again.changes_clip


def test_files_in_the_bucket_without_a_job_get_their_sidecar_again(
    stack: Stack, local_clip: Path
) -> None:
    drop(stack, local_clip, prompt="ink")
    (again,) = drop(stack, local_clip, prompt="ink")
    assert again.uploaded_keys == ("clip.json",)


@pytest.mark.parametrize("calls_before", [1, 2, 3])
def test_a_new_clip_with_a_new_sidecar_never_makes_a_job_of_old_and_new_files(
    world: World,
    stack: Stack,
    local_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls_before: int,
) -> None:
    (old,) = drop(stack, local_clip, prompt="ink")
    ingest_all(world, "clip.mp4")
    local_clip.write_bytes(local_clip.read_bytes() + FREE_BOX)
    calls: list[str] = []

    def ingest_after(call: Callable[..., Any]) -> Callable[..., Any]:
        """Ingest the files just after one of the calls."""

        def called(*arguments: Any, **options: Any) -> Any:
            done = call(*arguments, **options)
            calls.append(call.__name__)
            if len(calls) == calls_before:
                ingest_all(world, "clip.json", "clip.mp4")
            return done

        return called

    for name in ("delete_object", "put_object", "upload_file"):
        monkeypatch.setattr(stack.s3, name, ingest_after(getattr(stack.s3, name)))
    (new,) = drop(stack, local_clip, prompt="oil")
    assert ingest_all(world, "clip.mp4") == [new.job_id]
    items = world.table.scan()["Items"]
    job_ids = {item["id"] for item in items if item["pk"].startswith("job#")}
    assert job_ids == {old.job_id, new.job_id}


def test_a_failed_job_starts_again_when_its_files_are_dropped_again(
    world: World, stack: Stack, local_clip: Path
) -> None:
    (first,) = drop(stack, local_clip, prompt="ink")
    ingest_all(world, "clip.mp4")
    fail(world, first.job_id)
    (again,) = drop(stack, local_clip, prompt="ink")
    assert isinstance(again.decision, Start)
    assert (again.is_retry, again.price_usd) == (True, 0.6)
    assert again.uploaded_keys == ("clip.json",)
    assert not again.is_about_this_drop(world.job(first.job_id))
    assert ingest_all(world, "clip.json") == [first.job_id]
    assert again.is_about_this_drop(world.job(first.job_id))


def test_a_first_frame_whose_key_is_too_long_is_rejected(
    world: World, stack: Stack, local_clip: Path, look: Path
) -> None:
    first_frame = local_clip.with_name("a" * 200 + ".png")
    first_frame.write_bytes(look.read_bytes())
    local_clip.with_suffix(".json").write_text(json.dumps({"first_frame": first_frame.name}))
    options = DropOptions(prefix="x" * 900)
    assert command(stack, as_json=True).show_plan([local_clip], options) == 1
    assert command(stack, as_json=True).run([local_clip], options) == 1
    assert "Contents" not in world.s3.list_objects_v2(Bucket="input")


def test_an_interrupted_upload_leaves_no_half_clip(
    world: World, stack: Stack, local_clip: Path
) -> None:
    def interrupt(byte_count: int) -> None:
        raise KeyboardInterrupt

    drops = assess_clip(stack, local_clip, prompt="ink")
    with pytest.raises(KeyboardInterrupt):
        upload(stack, drops, on_progress=interrupt, on_done=lambda ready: None)
    stored = world.app.input_bucket.head("clip.mp4")
    assert stored is None or stored.etag == etag_of_file(local_clip)
    (again,) = drop(stack, local_clip, prompt="ink")
    assert again.planned.key == "clip.mp4"


def test_an_interrupted_check_says_that_nothing_was_dropped(
    stack: Stack,
    local_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drop_verb, "assess", interrupt)
    with pytest.raises(typer.Exit) as end:
        command(stack).run([local_clip], DropOptions(prompt="ink"))
    assert end.value.exit_code == 130
    assert "nothing was dropped this time" in capsys.readouterr().err


def test_a_folder_brings_its_preset_along_and_its_job_is_the_planned_one(
    world: World, stack: Stack, shoot: Path
) -> None:
    (ready,) = drop(stack, shoot)
    assert ingest_all(world, "shoot/_retake.json", "shoot/clip.json") == [ready.job_id]
    sidecar = world.job(ready.job_id).sidecar
    assert sidecar
    assert sidecar.mode == "flex_1"

    before = world.app.input_bucket.head("shoot/_retake.json")
    (again,) = drop(stack, shoot)
    assert (again.job_id, again.uploaded_keys) == (ready.job_id, ())
    unchanged = world.app.input_bucket.head("shoot/_retake.json")
    assert unchanged == before, "it is uploaded only when it has changed"

    (shoot / "_retake.json").write_text('{"prompt": "oil"}')
    (other,) = drop(stack, shoot)
    assert ingest_all(world, "shoot/clip.json") == [other.job_id]
    assert world.app.input_bucket.head("shoot/_retake.json") != before


def test_a_dry_run_names_the_preset_that_would_be_uploaded(
    stack: Stack, shoot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(stack, as_json=True).show_plan([shoot], DropOptions())
    assert json.loads(capsys.readouterr().out)["presets"] == ["shoot/_retake.json"]
    command(stack).show_plan([shoot], DropOptions())
    assert "shoot/_retake.json is uploaded, too" in capsys.readouterr().out


def learn(stack: Stack, **rates: float) -> None:
    """Let the functions have learned some prices."""
    prices = Prices({Basis(name): usd for name, usd in rates.items()}, 20)
    assert stack.admission.change(lambda admission: replace(admission, prices=prices)) is None


def test_a_dry_run_shows_the_price_of_each_clip_at_each_size(
    stack: Stack, local_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn(stack, megapixel=0.5)
    command(stack, as_json=True).show_plan([local_clip], DropOptions(prompt="ink"))
    plan = json.loads(capsys.readouterr().out)
    (job,) = plan["jobs"]
    assert job["rate"] == "0.5 USD per megapixel, learned from 20 jobs"
    assert job["usd"] == pytest.approx(0.5 * probe(local_clip).units("megapixel"), abs=0.01)
    assert job["usd"] == job["usd_by_size"]["1080"] == plan["usd"] == plan["usd_by_size"]["1080"]
    assert [*job["usd_by_size"]] == ["source", "1080", "720", "540"]
    command(stack).show_plan([local_clip], DropOptions(prompt="ink"))
    assert "estimated with 0.5 USD per megapixel" in capsys.readouterr().out


def test_a_clip_that_is_too_dear_is_refused_before_an_upload(
    stack: Stack, local_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn(stack, clip=7.0)
    assert command(stack, as_json=True).run([local_clip], DropOptions(prompt="ink")) == 1
    (refused,) = json.loads(capsys.readouterr().out)["refused"]
    assert "about 7.00 USD, more than MaxJobUsd, 5 USD" in refused["reason"]
    assert stack.input_bucket.head("clip.mp4") is None
    assert command(stack, as_json=True).run([local_clip], DropOptions(prompt="ink", max_usd=8)) == 0
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    assert job["usd"] == 7.0


def test_a_waiting_clip_gets_its_sidecar_before_other_clips_are_uploaded(
    world: World, stack: Stack, shoot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset comes first, and lets it start without its sidecar in half a minute."""
    content = (shoot / "clip.mp4").read_bytes()
    world.drop("shoot/waits.mp4", content)
    (shoot / "waits.mp4").write_bytes(content)
    keys: list[str] = []

    def record(params: dict[str, Any], **_: Any) -> None:
        keys.append(params["Key"])

    stack.s3.meta.events.register("before-parameter-build.s3.PutObject", record)
    monkeypatch.setattr(uploads, "PARALLEL_UPLOADS", 1)
    command(stack, as_json=True).run([shoot], DropOptions(modes=("flex_3",)))
    assert keys == [
        "shoot/_retake.json",
        "shoot/waits.json",
        "shoot/clip.json",
        "shoot/clip.mp4",
    ]


def test_a_clip_dropped_alone_gets_the_job_that_the_preset_in_the_bucket_makes(
    world: World, stack: Stack, local_clip: Path
) -> None:
    world.drop("_retake.json", b'{"prompt": "stored", "mode": "flex_3"}')
    (ready,) = drop(stack, local_clip, modes=("adhere_2",))
    assert ingest_all(world, "clip.json") == [ready.job_id]
    sidecar = world.job(ready.job_id).sidecar
    assert sidecar
    assert (sidecar.prompt, sidecar.mode) == ("stored", "adhere_2")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Drops that nobody ingests are given up at the second look; the queue is empty."""
    monkeypatch.setattr("retake_cli.follow.GIVE_UP_SECONDS", 0)
    monkeypatch.setattr("retake_cli.follow.REFRESH_SECONDS", 0)
    monkeypatch.setattr(Stack, "count_messages", lambda *_: 0)


@pytest.mark.usefixtures("impatient")
def test_a_drop_that_is_never_accepted_is_given_up_with_what_to_do(
    stack: Stack, local_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = DropOptions(prompt="ink")
    assert command(stack, as_json=True).run([local_clip], options, save_to=tmp_path) == 1
    (report,) = json.loads(capsys.readouterr().out)["jobs"]
    assert report["state"] is None
    assert report["trouble"].startswith("not accepted within")
    assert "its event is lost" in report["trouble"]
    assert "retake doctor" in report["do_now"]
    assert "drops the sidecar again" in report["do_now"]

    assert command(stack).run([local_clip], options, save_to=tmp_path) == 1
    output = capsys.readouterr().out
    assert "✗ clip.mp4  dropped  not accepted within" in output
    assert output.count("→ run `retake doctor`") == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("in_queue", [7, None])
def test_what_is_given_up_says_what_it_waits_for(
    world: World,
    stack: Stack,
    local_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_queue: int | None,
) -> None:
    def count_messages(_: Stack, queue: str) -> int:
        if in_queue is None:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetQueueAttributes")
        return 3 if queue == "MediaQueueUrl" else in_queue - 3

    monkeypatch.setattr(Stack, "count_messages", count_messages)
    other = local_clip.with_name("other.mp4")
    other.write_bytes(local_clip.read_bytes() + FREE_BOX)
    world.records.wait("other.mp4", "waits for its sidecar other.json", due_at=1)
    clips = [local_clip, other]
    command(stack, as_json=True).run(clips, DropOptions(prompt="ink"), save_to=tmp_path)
    reports = json.loads(capsys.readouterr().out)["jobs"]
    clip_trouble, other_trouble = (report["trouble"] for report in reports)
    assert ("7 drops in the queue" if in_queue else "its event is lost") in clip_trouble
    assert other_trouble.endswith("waits for its sidecar other.json")


def test_drops_are_not_given_up_while_others_of_the_same_call_are_accepted(
    world: World, stack: Stack, local_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the time passes before the first one is accepted, and again before the second."""
    ready = drop(stack, local_clip, prompt="ink", modes=("flex_1", "flex_2"))
    now = [0.0]
    keys = ["clip.flex_1.mp4", "clip.flex_2.mp4"]

    def sleep(seconds: float) -> None:
        assert keys, "everything has ended"
        now[0] += GIVE_UP_SECONDS - 1
        (job_id,) = ingest_all(world, keys.pop(0))
        fail(world, job_id)

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr("retake_cli.follow.time", clock)
    follower = follow(stack, Screen(as_json=True), ready, local_clip.parent)
    follower.run()
    assert [followed.state for followed in follower.drops] == ["FAILED", "FAILED"]
    assert [followed.trouble for followed in follower.drops] == ["", ""]

"""The command checks what the functions check, and plans what they make of a drop."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from retake.domain.json_form import Fields
from retake.domain.refusal import Refusal
from retake_cli.etags import etag_of_file, is_content_of
from retake_cli.plan import DropOptions, Rejection, plan

MIB = 1 << 20


def reasons(rejections: Sequence[Rejection]) -> list[tuple[str, str]]:
    """Return the file and the reason of each rejection."""
    return [(rejection.path.name, rejection.refusal.reason) for rejection in rejections]


@pytest.fixture
def folder(tmp_path: Path, clip: Path) -> Path:
    """A folder with two clips, one of them in a subfolder, and files that are not clips."""
    folder = tmp_path / "shoot"
    (folder / "day 2").mkdir(parents=True)
    for name in ("a.mp4", "day 2/b.MP4", "._a.mp4"):
        shutil.copy(clip, folder / name)
    (folder / "notes.txt").write_text("not a clip")
    return folder


def test_a_folder_keeps_its_name_and_one_prompt_applies_to_all_clips(folder: Path) -> None:
    planned, rejections = plan([folder], DropOptions(prompt="ink", prefix="/mine/"), 30)
    assert [drop.key for drop in planned] == ["mine/shoot/a.mp4", "mine/shoot/day 2/b.MP4"]
    assert {drop.sidecar.prompt for drop in planned} == {"ink"}
    assert not rejections


def test_the_sidecar_beside_a_clip_takes_precedence_over_the_options(folder: Path) -> None:
    (folder / "a.json").write_text('{"mode": "flex_2"}')
    options = DropOptions(prompt="ink", modes=("adhere_1", "adhere_2"))
    (drop,), _ = plan([folder / "a.mp4"], options, 30)
    assert (drop.key, drop.sidecar.mode, drop.sidecar.prompt) == ("a.mp4", "flex_2", "ink")


def test_a_complete_sidecar_is_uploaded_unchanged(folder: Path) -> None:
    text = '{ "prompt":"own","$schema":"x" }'
    (folder / "a.json").write_text(text)
    (drop,), _ = plan([folder / "a.mp4"], DropOptions(prompt="ink"), 30)
    assert drop.sidecar_body == text.encode()


def test_each_of_several_modes_has_its_own_key(folder: Path) -> None:
    planned, _ = plan([folder / "a.mp4"], DropOptions(modes=("flex_1", "flex_3")), 30)
    assert [(drop.key, drop.sidecar_key) for drop in planned] == [
        ("a.flex_1.mp4", "a.flex_1.json"),
        ("a.flex_3.mp4", "a.flex_3.json"),
    ]


def test_what_the_functions_would_refuse_is_rejected(folder: Path, clip: Path) -> None:
    (folder / "a.json").write_text('{"mod": "flex_1"}')
    (folder / "film.mov").write_bytes(b"x")
    (folder / "broken.mp4").write_bytes(clip.read_bytes()[:40])
    planned, rejections = plan([folder], DropOptions(prompt="ink"), 30)
    assert [drop.key for drop in planned] == ["shoot/day 2/b.MP4"]
    assert [name for name, _ in reasons(rejections)] == ["a.mp4", "broken.mp4", "film.mov"]


def test_a_clip_without_any_instructions_is_rejected(folder: Path) -> None:
    planned, rejections = plan([folder / "a.mp4"], DropOptions(), 30)
    assert planned == []
    assert reasons(rejections) == [("a.mp4", "there is no sidecar beside it")]


def test_of_two_clips_that_would_share_a_sidecar_one_is_rejected(folder: Path, clip: Path) -> None:
    shutil.copy(clip, folder / "a.MP4")
    paths = [folder / "a.MP4", folder / "a.mp4"]
    planned, rejections = plan(paths, DropOptions(prompt="ink"), 30)
    assert (len(planned), len(rejections)) == (1, 1)


def test_a_first_frame_for_all_clips_is_named_after_its_content(folder: Path, look: Path) -> None:
    planned, _ = plan([folder], DropOptions(first_frame=look), 30)
    name = f"look-{etag_of_file(look)[:8]}.png"
    assert [drop.frame_key for drop in planned] == [f"shoot/{name}", f"shoot/day 2/{name}"]
    assert json.loads(planned[0].sidecar_body) == {"first_frame": name}


def test_a_first_frame_that_is_missing_or_not_an_image_is_rejected(folder: Path) -> None:
    (folder / "a.json").write_text('{"first_frame": "look.png"}')
    _, (missing,) = plan([folder / "a.mp4"], DropOptions(), 30)
    assert "not beside it" in missing.refusal.reason
    (folder / "look.png").write_bytes(b"text")
    _, (not_an_image,) = plan([folder / "a.mp4"], DropOptions(), 30)
    assert "not a PNG" in not_an_image.refusal.reason


@pytest.mark.parametrize("prefix", ["../up", "a\x1b[2J", "x" * 1000])
def test_a_key_that_the_bucket_must_not_have_is_rejected(folder: Path, prefix: str) -> None:
    options = DropOptions(prompt="ink", prefix=prefix)
    planned, rejections = plan([folder / "a.mp4"], options, 30)
    assert (len(planned), len(rejections)) == (0, 1)


def test_a_clip_that_another_tool_uploaded_in_parts_is_recognized(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.write_bytes(bytes(range(256)) * 4 * 1024 * 20)  # 20 MiB
    in_parts = etag_of_file(clip, 8 * MIB)
    assert is_content_of(in_parts, clip)
    assert is_content_of(etag_of_file(clip), clip)
    assert not is_content_of(in_parts.replace("-3", "-2"), clip)


def test_a_preset_fills_in_what_sidecars_and_options_leave_out(folder: Path, look: Path) -> None:
    preset = '{"prompt": "all", "mode": "flex_1", "first_frame": "{name}.png", "$schema": "x"}'
    (folder / "_retake.json").write_text(preset)
    (folder / "a.json").write_text('{"mode": "flex_2"}')
    shutil.copy(look, folder / "a.png")
    (drop,), rejections = plan([folder], DropOptions(), 30)
    assert (drop.key, drop.sidecar_key) == ("shoot/a.mp4", "shoot/a.json")
    assert drop.preset_key == "shoot/_retake.json"
    assert drop.preset_body == preset.encode()
    filled = {"prompt": "all", "mode": "flex_2", "first_frame": "a.png"}
    assert json.loads(drop.sidecar_body) == filled
    assert drop.first_frame == folder / "a.png"
    without_preset = [("b.MP4", "there is no sidecar beside it")]
    assert reasons(rejections) == without_preset, "a preset applies to its own folder only"

    options = DropOptions(prompt="option", modes=("adhere_3",))
    (alone,), _ = plan([folder / "a.mp4"], options, 30)
    assert json.loads(alone.sidecar_body) == filled | {"prompt": "option"}
    assert alone.preset_body is None, "a clip that is named alone does not bring its preset along"


def test_a_complete_sidecar_is_uploaded_unchanged_beside_a_preset(folder: Path) -> None:
    (folder / "_retake.json").write_text('{"prompt": "all"}')
    text = '{ "prompt":"" }'
    (folder / "a.json").write_text(text)
    assert plan([folder], DropOptions(), 30)[0][0].sidecar_body == text.encode()


def test_an_empty_preset_is_enough(folder: Path) -> None:
    (folder / "_retake.json").write_text("{}")
    planned, _ = plan([folder / "a.mp4"], DropOptions(), 30)
    assert [drop.sidecar_body for drop in planned] == [b"{}\n"]


def test_a_preset_that_the_functions_would_refuse_is_rejected(folder: Path) -> None:
    (folder / "_retake.json").write_text('{"rerun": 2}')
    planned, rejections = plan([folder], DropOptions(prompt="ink"), 30)
    assert [drop.key for drop in planned] == ["shoot/day 2/b.MP4"]
    assert 'the field "rerun" is unknown' in reasons(rejections)[0][1]


def test_a_preset_whose_name_is_misspelled_is_rejected(folder: Path) -> None:
    (folder / "_Retake.JSON").write_text("{}")
    planned, rejections = plan([folder], DropOptions(prompt="ink"), 30)
    assert [drop.key for drop in planned] == ["shoot/day 2/b.MP4"]
    assert "_Retake.JSON is not a preset: the name is _retake.json" in reasons(rejections)[0][1]


def test_the_preset_in_the_bucket_applies_unless_a_folder_brings_its_own(folder: Path) -> None:
    stored = {
        "shoot/_retake.json": {"prompt": "stored", "mode": "flex_1"},
        "_retake.json": {"prompt": "root", "mode": "flex_3"},
    }

    def find_preset(key: str) -> Fields | Refusal | None:
        return stored.get(key)

    def instructions(path: Path) -> list[tuple[str | None, str]]:
        planned, _ = plan([path], DropOptions(), 30, find_preset)
        return [(drop.sidecar.prompt, drop.sidecar.mode) for drop in planned]

    assert instructions(folder) == [("stored", "flex_1")]
    (folder / "_retake.json").write_text('{"prompt": "local"}')
    assert instructions(folder) == [("local", "adhere_1")]
    assert instructions(folder / "a.mp4") == [("local", "flex_3")]


def test_a_clip_is_rejected_while_the_preset_in_the_bucket_is_refused(folder: Path) -> None:
    refusal = Refusal("no", "fix it")
    _, rejections = plan([folder / "a.mp4"], DropOptions(prompt="ink"), 30, lambda key: refusal)
    reason = "the preset _retake.json in the bucket is refused: no"
    assert reasons(rejections) == [("a.mp4", reason)]


def test_a_clip_whose_sidecar_would_be_a_preset_is_rejected(folder: Path, clip: Path) -> None:
    shutil.copy(clip, folder / "_retake.mp4")
    (folder / "_retake.json").write_text('{"prompt": "all"}')
    planned, rejections = plan([folder], DropOptions(), 30)
    assert [drop.key for drop in planned] == ["shoot/a.mp4"]
    assert [name for name, _ in reasons(rejections)] == ["_retake.mp4", "b.MP4"]

"""What is checked here is what the pipeline checks, and what is planned is what it makes of it."""

import json
import shutil
from pathlib import Path

import pytest

from cli.planning import Wish, etag, is_content_of, plan
from retake.rules.refusal import Refusal


def refusals(rejected: list[tuple[Path, Refusal]]) -> list[tuple[str, str]]:
    return [(path.name, refusal.reason) for path, refusal in rejected]


@pytest.fixture
def folder(tmp_path: Path, clip: Path) -> Path:
    folder = tmp_path / "shoot"
    (folder / "day 2").mkdir(parents=True)
    for name in ("a.mp4", "day 2/b.MP4", "._a.mp4"):
        shutil.copy(clip, folder / name)
    (folder / "notes.txt").write_text("no film")
    return folder


def test_a_folder_keeps_its_name_and_one_prompt_serves_all(folder: Path) -> None:
    planned, rejected = plan([folder], Wish(prompt="ink", prefix="/mine/"), 30)
    assert [one.key for one in planned] == ["mine/shoot/a.mp4", "mine/shoot/day 2/b.MP4"]
    assert {one.sidecar.prompt for one in planned} == {"ink"}
    assert not rejected


def test_a_sidecar_beside_the_clip_decides_and_the_options_fill_it_in(folder: Path) -> None:
    (folder / "a.json").write_text('{"mode": "flex_2"}')
    planned, _ = plan([folder / "a.mp4"], Wish(prompt="ink", modes=("adhere_1", "adhere_2")), 30)
    assert [(one.key, one.sidecar.mode, one.sidecar.prompt) for one in planned] == [("a.mp4", "flex_2", "ink")]


def test_a_sidecar_that_says_all_goes_as_it_is(folder: Path) -> None:
    text = '{ "prompt":"own","$schema":"x" }'
    (folder / "a.json").write_text(text)
    assert plan([folder / "a.mp4"], Wish(prompt="ink"), 30)[0][0].note == text.encode()


def test_several_modes_have_a_key_each(folder: Path) -> None:
    planned, _ = plan([folder / "a.mp4"], Wish(modes=("flex_1", "flex_3")), 30)
    assert [(one.key, one.note_key) for one in planned] == [
        ("a.flex_1.mp4", "a.flex_1.json"),
        ("a.flex_3.mp4", "a.flex_3.json"),
    ]


def test_what_the_pipeline_would_refuse_is_refused_here(folder: Path, clip: Path) -> None:
    (folder / "a.json").write_text('{"mod": "flex_1"}')
    (folder / "film.mov").write_bytes(b"x")
    (folder / "broken.mp4").write_bytes(clip.read_bytes()[:40])
    planned, rejected = plan([folder], Wish(prompt="ink"), 30)
    assert [one.key for one in planned] == ["shoot/day 2/b.MP4"]
    assert [name for name, _ in refusals(rejected)] == ["a.mp4", "broken.mp4", "film.mov"]


def test_a_clip_without_any_word_is_not_paid_for(folder: Path) -> None:
    planned, rejected = plan([folder / "a.mp4"], Wish(), 30)
    assert (planned, refusals(rejected)) == ([], [("a.mp4", "there is no note beside it")])


def test_clips_that_would_share_a_note_are_told_apart(folder: Path, clip: Path) -> None:
    shutil.copy(clip, folder / "a.MP4")
    planned, rejected = plan([folder / "a.MP4", folder / "a.mp4"], Wish(prompt="ink"), 30)
    assert (len(planned), len(rejected)) == (1, 1)


def test_a_first_frame_for_all_is_named_by_its_content(folder: Path, look: Path) -> None:
    planned, _ = plan([folder], Wish(frame=look), 30)
    name = f"look-{etag(look)[:8]}.png"
    assert [one.frame_key for one in planned] == [f"shoot/{name}", f"shoot/day 2/{name}"]
    assert json.loads(planned[0].note) == {"first_frame": name}


def test_a_first_frame_that_is_missing_or_no_image_is_refused(folder: Path) -> None:
    (folder / "a.json").write_text('{"first_frame": "look.png"}')
    assert "not beside it" in plan([folder / "a.mp4"], Wish(), 30)[1][0][1].reason
    (folder / "look.png").write_bytes(b"text")
    assert "not a PNG" in plan([folder / "a.mp4"], Wish(), 30)[1][0][1].reason


@pytest.mark.parametrize("prefix", ["../up", ".retake/x", "a\x1b[2J", "x" * 1000])
def test_no_key_leaves_its_place(folder: Path, prefix: str) -> None:
    planned, rejected = plan([folder / "a.mp4"], Wish(prompt="ink", prefix=prefix), 30)
    assert (len(planned), len(rejected)) == (0, 1)


def test_a_clip_that_another_tool_uploaded_in_parts_is_known(tmp_path: Path) -> None:
    film = tmp_path / "film"
    film.write_bytes(bytes(range(256)) * 4 * 1024 * 20)  # 20 MiB
    assert is_content_of(etag(film, 8 << 20), film)
    assert is_content_of(etag(film), film)
    assert not is_content_of(etag(film, 8 << 20).replace("-3", "-2"), film)


def test_a_preset_fills_in_what_sidecars_and_options_leave_out(folder: Path, look: Path) -> None:
    (folder / "_retake.json").write_text('{"prompt": "all", "mode": "flex_1", "first_frame": "{name}.png", "$schema": "x"}')
    (folder / "a.json").write_text('{"mode": "flex_2"}')
    shutil.copy(look, folder / "a.png")
    (planned,), rejected = plan([folder], Wish(), 30)
    assert (planned.key, planned.note_key, planned.preset_key) == ("shoot/a.mp4", "shoot/a.json", "shoot/_retake.json")
    assert planned.preset == (folder / "_retake.json").read_bytes()
    assert json.loads(planned.note) == {"prompt": "all", "mode": "flex_2", "first_frame": "a.png"}
    assert planned.frame == folder / "a.png"
    assert refusals(rejected) == [("b.MP4", "there is no note beside it")], "a preset is for its very folder"
    optioned = plan([folder / "a.mp4"], Wish(prompt="option", modes=("adhere_3",)), 30)[0][0]
    assert json.loads(optioned.note) == {"prompt": "option", "mode": "flex_2", "first_frame": "a.png"}
    assert optioned.preset is None, "a clip that is named alone takes no preset along"


def test_a_sidecar_that_says_all_goes_as_it_is_beside_a_preset(folder: Path) -> None:
    (folder / "_retake.json").write_text('{"prompt": "all"}')
    text = '{ "prompt":"" }'
    (folder / "a.json").write_text(text)
    assert plan([folder], Wish(), 30)[0][0].note == text.encode()


def test_an_empty_preset_is_word_enough(folder: Path) -> None:
    (folder / "_retake.json").write_text("{}")
    assert [one.note for one in plan([folder / "a.mp4"], Wish(), 30)[0]] == [b"{}\n"]


def test_a_preset_that_the_pipeline_would_refuse_is_refused_here(folder: Path) -> None:
    (folder / "_retake.json").write_text('{"rerun": 2}')
    planned, rejected = plan([folder], Wish(prompt="ink"), 30)
    assert [one.key for one in planned] == ["shoot/day 2/b.MP4"]
    assert 'the field "rerun" is unknown' in refusals(rejected)[0][1]


def test_a_preset_in_another_spelling_is_refused_here_too(folder: Path) -> None:
    (folder / "_Retake.JSON").write_text("{}")
    planned, rejected = plan([folder], Wish(prompt="ink"), 30)
    assert [one.key for one in planned] == ["shoot/day 2/b.MP4"]
    assert "_Retake.JSON is no preset: the name is _retake.json" in refusals(rejected)[0][1]


def test_what_is_in_the_bucket_fills_in_unless_a_folder_brings_its_own(folder: Path) -> None:
    def there(key: str) -> dict[str, str] | Refusal | None:
        return {"shoot/_retake.json": {"prompt": "there", "mode": "flex_1"}, "_retake.json": {"prompt": "root", "mode": "flex_3"}}.get(key)

    assert [one.sidecar.prompt for one in plan([folder], Wish(), 30, there)[0]] == ["there"]
    (folder / "_retake.json").write_text('{"prompt": "here"}')
    assert [(one.sidecar.prompt, one.sidecar.mode) for one in plan([folder], Wish(), 30, there)[0]] == [("here", "adhere_1")]
    alone = plan([folder / "a.mp4"], Wish(), 30, there)[0]
    assert [(one.sidecar.prompt, one.sidecar.mode) for one in alone] == [("here", "flex_3")]
    broken = plan([folder / "a.mp4"], Wish(prompt="ink"), 30, lambda key: Refusal("no", "mend it"))
    assert refusals(broken[1]) == [("a.mp4", "the preset _retake.json in the bucket is refused: no")]


def test_a_clip_whose_note_would_be_a_preset_is_refused(folder: Path, clip: Path) -> None:
    shutil.copy(clip, folder / "_retake.mp4")
    (folder / "_retake.json").write_text('{"prompt": "all"}')
    planned, rejected = plan([folder], Wish(), 30)
    assert [one.key for one in planned] == ["shoot/a.mp4"]
    assert [name for name, _ in refusals(rejected)] == ["_retake.mp4", "b.MP4"]

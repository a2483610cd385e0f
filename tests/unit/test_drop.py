"""What belongs together, and how it is named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.rules import drop
from retake.rules.drop import Drop, File, Kind
from retake.rules.sidecar import Sidecar

THEN = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300).map(lambda key: key[:300])
LONG = st.sampled_from(["x", "ä", "映", "🎬"]).flatmap(
    lambda letter: st.integers(0, 1024 // len(letter.encode())).map(lambda n: letter * n)
)
JOB = "0123456789abcdef" * 2


def file(key: str, etag: str = "e", minutes: int = 0) -> File:
    return File(key, etag, 1, THEN + timedelta(minutes=minutes), f"v{minutes}")


BASE = Drop("bucket", file("clip.mp4"), file("clip.json", "s"), file("look.png", "f"))
NOTE = Sidecar(prompt="ink", first_frame="look.png")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("clip.mp4", Kind.VIDEO),
        ("a/b.c/CLIP.Mp4", Kind.VIDEO),
        ("clip.JSON", Kind.SIDECAR),
        ("look.WebP", Kind.IMAGE),
        ("look.jpeg", Kind.IMAGE),
        ("film.mov", Kind.OTHER),
        ("mp4", Kind.OTHER),
        ("clip.mp4.part", Kind.OTHER),
        ("folder.mp4/", Kind.IGNORED),
        (".retake/j/clip.mp4", Kind.IGNORED),
        ("a/.retake/clip.mp4", Kind.VIDEO),
    ],
)
def test_a_key_tells_what_it_is(key: str, kind: Kind) -> None:
    assert drop.kind(key) is kind


@pytest.mark.parametrize(("key", "stem"), [("clip.mp4", "clip"), ("a.b/clip.v2.MP4", "a.b/clip.v2"), ("a.b/.mp4", "a.b/")])
def test_a_stem_is_the_key_without_its_suffix(key: str, stem: str) -> None:
    assert drop.stem(key) == stem


@given(KEYS)
def test_a_video_and_its_sidecar_have_one_stem(key: str) -> None:
    assert drop.stem(f"{key}.mp4") == drop.stem(f"{key}.JSON") == key
    assert drop.beside(f"{key}.mp4", "look.png").rpartition("/")[0] == key.rpartition("/")[0]


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        (replace(BASE, bucket="other"), NOTE),
        (replace(BASE, video=file("other.mp4")), NOTE),
        (replace(BASE, video=file("clip.mp4", "other")), NOTE),
        (replace(BASE, frame=file("look.png", "other")), NOTE),
        (replace(BASE, frame=None), NOTE),
        (BASE, replace(NOTE, prompt="oil")),
        (BASE, replace(NOTE, mode="flex_1")),
        (BASE, replace(NOTE, rerun=1)),
        (BASE, None),
    ],
)
def test_every_ingredient_makes_another_job(changed: Drop, note: Sidecar | None) -> None:
    assert drop.job_id(changed, note) != drop.job_id(BASE, NOTE)


def test_when_and_how_often_files_were_dropped_makes_no_other_job() -> None:
    again = Drop("bucket", file("clip.mp4", "e", 9), file("clip.json", "other bytes, same note", 7), file("look.png", "f", 8))
    assert drop.job_id(again, NOTE) == drop.job_id(BASE, NOTE)
    assert again.versions != BASE.versions
    assert again.dropped_at == THEN + timedelta(minutes=9)


def test_a_sidecar_that_cannot_be_read_is_told_by_its_bytes() -> None:
    assert drop.job_id(BASE, None) != drop.job_id(replace(BASE, sidecar=file("clip.json", "mended")), None)


@given(KEYS, KEYS, st.text(max_size=9), st.text(max_size=9))
def test_parts_of_different_keys_and_contents_do_not_run_together(one: str, other: str, a: str, b: str) -> None:
    jobs = {drop.job_id(Drop("b", file(key, etag)), None) for key, etag in {(one, a), (other, b), (one + a, b), (one, a + b)}}
    assert len(jobs) == len({(one, a), (other, b), (one + a, b), (one, a + b)})


@given(LONG, st.sampled_from([".mp4", ".MP4", ".png"]))
def test_every_name_fits_into_s3_keeps_its_suffix_and_is_its_own(head: str, suffix: str) -> None:
    key = head.encode()[: 1024 - len(suffix)].decode(errors="ignore") + suffix
    side, staged = drop.side_key(key, JOB), drop.staged_key(key, JOB)
    answers = [drop.answer_key(name, end) for name in (key, side) for end in (".job.json", ".error.json")]
    assert all(len(name.encode()) <= 1024 for name in (side, staged, *answers))
    assert len({key, side, staged, *answers}) == 7
    assert side.endswith(f".{JOB[:8]}{suffix}")
    assert staged.startswith(drop.STAGING)
    assert staged.endswith(suffix.lower())
    assert not drop.needs_copy(staged)


@given(LONG, LONG)
def test_two_long_keys_never_share_a_name(one: str, other: str) -> None:
    keys = {f"{head[:900]}{tail}.mp4" for head in (one, other) for tail in ("", "a", "ä")}
    for name in (lambda key: drop.side_key(key, JOB), lambda key: drop.staged_key(key, JOB), lambda key: drop.answer_key(key, ".job.json")):
        assert len({name(key) for key in keys}) == len(keys)


def test_a_side_key_stands_beside_its_clip() -> None:
    assert drop.side_key("shoot/clip.mp4", JOB) == "shoot/clip.01234567.mp4"
    assert drop.side_key("shoot.v2/README", JOB) == "shoot.v2/README.01234567"


@given(KEYS)
def test_any_key_that_is_no_part_of_a_job_is_refused_in_words(key: str) -> None:
    refusal = drop.refuse_by_name(key)
    assert refusal.reason
    assert refusal.cure


def test_a_file_survives_the_record() -> None:
    assert File.from_row(BASE.video.as_row()) == BASE.video
    unversioned: Any = {name: value for name, value in replace(BASE.video, version=None).as_row().items() if value is not None}
    assert File.from_row(unversioned).version is None

"""Which files belong together, and how their outputs are named."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain.input_files import (
    Drop,
    FileKind,
    InputFile,
    beside,
    deciding_sidecar,
    describe_missing,
    describe_missing_frame,
    job_id,
    kind_of,
    output_key,
    overtaken_key,
    refuse_by_name,
    sent_key,
    sidecar_key,
    status_key,
    stem,
    suffix_of,
)
from retake.domain.limits import MAX_KEY_BYTES
from retake.domain.sidecar import Sidecar

THEN = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300
)
LONG_KEYS = st.sampled_from(["x", "ä", "映", "🎬"]).flatmap(
    lambda letter: st.integers(0, 1024 // len(letter.encode())).map(lambda n: letter * n)
)
JOB_ID = "0123456789abcdef" * 2
NAMING_RULES: list[Callable[[str], str]] = [
    lambda key: overtaken_key(key, JOB_ID),
    lambda key: status_key(key, ".job.json"),
]


def file(key: str, etag: str = "e", minutes: int = 0) -> InputFile:
    return InputFile(key, etag, 1, THEN + timedelta(minutes=minutes), f"v{minutes}")


DROP = Drop("bucket", file("clip.mp4"), file("clip.json", "s"), file("look.png", "f"))
SIDECAR = Sidecar(prompt="ink", first_frame="look.png")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("clip.mp4", FileKind.CLIP),
        ("a/b.c/CLIP.Mp4", FileKind.CLIP),
        ("clip.JSON", FileKind.SIDECAR),
        ("look.WebP", FileKind.IMAGE),
        ("look.jpeg", FileKind.IMAGE),
        ("film.MOV", FileKind.CLIP),
        ("film.m2ts", FileKind.CLIP),
        ("film.mxf", FileKind.OTHER),
        ("mp4", FileKind.OTHER),
        ("clip.mp4.part", FileKind.OTHER),
        ("folder.mp4/", FileKind.IGNORED),
    ],
)
def test_a_key_says_what_kind_of_file_it_is(key: str, kind: FileKind) -> None:
    assert kind_of(key) is kind


@pytest.mark.parametrize(
    ("key", "expected"),
    [("clip.mp4", "clip"), ("a.b/clip.v2.MP4", "a.b/clip.v2"), ("a.b/.mp4", "a.b/")],
)
def test_a_stem_is_the_key_without_its_suffix(key: str, expected: str) -> None:
    assert stem(key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [("clip.MP4", ".mp4"), ("a.b/clip.v2.mp4", ".mp4"), ("a.b/README", ""), (".mp4", ".mp4")],
)
def test_a_suffix_is_in_lower_case_and_belongs_to_the_name(key: str, expected: str) -> None:
    assert suffix_of(key) == expected


@given(KEYS)
def test_a_clip_and_its_sidecar_share_a_stem(key: str) -> None:
    assert stem(f"{key}.mp4") == stem(f"{key}.JSON") == key
    assert sidecar_key(f"{key}.mp4") == f"{key}.json"
    assert beside(f"{key}.mp4", "look.png").rpartition("/")[0] == key.rpartition("/")[0]


def test_one_of_several_spellings_of_a_sidecar_is_used() -> None:
    assert deciding_sidecar(["clip.JSON", "clip.json", "clip.mp4"]) == "clip.json"
    assert deciding_sidecar(["clip.mp4"]) is None


@pytest.mark.parametrize(
    ("changed", "sidecar"),
    [
        (replace(DROP, bucket="other"), SIDECAR),
        (replace(DROP, clip=file("other.mp4")), SIDECAR),
        (replace(DROP, clip=file("clip.mp4", "other")), SIDECAR),
        (replace(DROP, first_frame=file("look.png", "other")), SIDECAR),
        (replace(DROP, first_frame=None), SIDECAR),
        (DROP, replace(SIDECAR, prompt="oil")),
        (DROP, replace(SIDECAR, mode="flex_1")),
        (DROP, replace(SIDECAR, rerun=1)),
        (DROP, None),
    ],
)
def test_other_content_is_another_job(changed: Drop, sidecar: Sidecar | None) -> None:
    assert job_id(changed, sidecar) != job_id(DROP, SIDECAR)


def test_dropping_the_same_content_again_is_the_same_job() -> None:
    again = Drop(
        "bucket",
        file("clip.mp4", "e", 9),
        file("clip.json", "other bytes, same instructions", 7),
        file("look.png", "f", 8),
    )
    assert job_id(again, SIDECAR) == job_id(DROP, SIDECAR)
    assert again.version != DROP.version
    assert again.dropped_at == THEN + timedelta(minutes=9)


def test_an_unreadable_sidecar_is_identified_by_its_bytes() -> None:
    corrected = replace(DROP, sidecar=file("clip.json", "corrected"))
    assert job_id(DROP, None) != job_id(corrected, None)


def test_a_pair_keeps_its_version_when_its_first_frame_or_its_sidecar_goes() -> None:
    alone = Drop("bucket", DROP.clip)
    assert replace(DROP, first_frame=None).is_pair(DROP.pair_version)
    assert alone.is_pair(DROP.pair_version)
    assert not DROP.is_pair(alone.pair_version)
    assert not DROP.is_pair("")
    assert not Drop("bucket", file("clip.mp4", "e", 1)).is_pair(DROP.pair_version)


def test_a_file_without_a_version_id_is_told_apart_by_when_it_was_written() -> None:
    one = replace(DROP.clip, version=None)
    other = replace(one, modified=THEN + timedelta(minutes=1))
    assert Drop("bucket", one).version != Drop("bucket", other).version


@given(KEYS, KEYS, st.text(max_size=9), st.text(max_size=9))
def test_keys_and_etags_do_not_run_together_in_a_job_id(
    one: str, other: str, a: str, b: str
) -> None:
    contents = {(one, a), (other, b), (one + a, b), (one, a + b)}
    jobs = {job_id(Drop("b", file(key, etag)), None) for key, etag in contents}
    assert len(jobs) == len(contents)


@given(LONG_KEYS, st.sampled_from([".mp4", ".MP4", ".png"]))
def test_every_name_fits_into_s3_keeps_its_suffix_and_is_unique(head: str, suffix: str) -> None:
    key = head.encode()[: 1024 - len(suffix)].decode(errors="ignore") + suffix
    overtaken = overtaken_key(key, JOB_ID)
    status_files = [
        status_key(name, end) for name in (key, overtaken) for end in (".job.json", ".error.json")
    ]
    assert all(len(name.encode()) <= 1024 for name in (overtaken, *status_files))
    assert len({key, overtaken, *status_files}) == 6
    assert overtaken.endswith(f".{JOB_ID[:8]}{suffix}")


@given(LONG_KEYS, LONG_KEYS)
def test_two_long_keys_never_share_a_name(one: str, other: str) -> None:
    keys = {f"{head[:900]}{tail}.mp4" for head in (one, other) for tail in ("", "a", "ä")}
    for name in NAMING_RULES:
        assert len({name(key) for key in keys}) == len(keys)


def test_an_overtaken_result_stands_beside_its_clip() -> None:
    assert overtaken_key("shoot/clip.mp4", JOB_ID) == "shoot/clip.01234567.mp4"
    assert overtaken_key("shoot.v2/README", JOB_ID) == "shoot.v2/README.01234567"


@given(KEYS)
def test_a_film_has_the_key_of_its_clip_as_an_mp4(key: str) -> None:
    film = output_key(key)
    assert film == key if key.lower().endswith(".mp4") else film.endswith(".mp4")
    assert len(film.encode()) <= MAX_KEY_BYTES


def test_a_clip_that_is_no_mp4_keeps_its_name_in_that_of_its_film() -> None:
    assert output_key("cam/IMG_0042.MOV") == "cam/IMG_0042.MOV.mp4"
    assert output_key("clip.MP4") == "clip.MP4"


def test_what_is_sent_of_two_runs_of_a_job_has_two_names() -> None:
    assert sent_key(JOB_ID, 0, ".mp4") != sent_key(JOB_ID, 1, ".mp4")


@given(KEYS)
def test_any_key_that_cannot_be_part_of_a_job_is_refused_in_words(key: str) -> None:
    refusal = refuse_by_name(key)
    assert refusal.reason
    assert refusal.cure


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("clip.txt", "a .txt file"),
        ("a.b/README", "a file without a suffix"),
    ],
)
def test_a_refusal_by_name_says_what_is_wrong_with_it(key: str, words: str) -> None:
    assert words in refuse_by_name(key).reason


def test_a_waiting_file_says_which_file_is_missing() -> None:
    assert "a/clip.json" in describe_missing(FileKind.CLIP, "a/clip.mp4")
    assert "a/clip.mp4" in describe_missing(FileKind.SIDECAR, "a/clip.json")
    assert "first_frame" in describe_missing(FileKind.IMAGE, "a/look.png")
    assert "a/look.png" in describe_missing_frame("a/look.png")

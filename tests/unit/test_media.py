"""The check of clips and first frames, on real files and on files whose headers lie.

Each gives a clip or a refusal after a bounded number of small reads.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain.limits import MAX_CLIP_BYTES, MAX_FIRST_FRAME_BYTES
from retake.domain.media import (
    IMAGE_HEADER_BYTES,
    BoxTracker,
    Clip,
    check_clip,
    check_first_frame,
)
from retake.domain.refusal import Refusal
from tests.support import media
from tests.support.mp4 import FTYP, HDLR, CountedFile, box, header, movie

FRAME_LIMIT = MAX_FIRST_FRAME_BYTES


def refusal_of(content: bytes, max_seconds: float = 30) -> Refusal:
    checked = CountedFile(content).check(max_seconds)
    assert isinstance(checked, Refusal), checked
    return checked


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    folder = tmp_path_factory.mktemp("media")

    def clip(*options: str, name: str = "clip.mp4", seconds: float = 1) -> bytes:
        return media.clip(folder / name, *options, seconds=seconds).read_bytes()

    return clip


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-movflags", "+faststart"),
        ("-brand", "mp42"),
        ("-video_track_timescale", "90000"),
    ],
)
def test_an_ordinary_mp4_is_accepted_with_its_duration(
    make: Callable[..., bytes], options: tuple[str, ...]
) -> None:
    checked = CountedFile(make(*options)).check()
    assert isinstance(checked, Clip)
    assert checked.seconds == pytest.approx(1, abs=0.1)


def test_an_mp4_with_64_bit_lengths_is_accepted() -> None:
    content = movie(version=1)
    moov = content.index(b"moov") - 4
    wide_moov = content[:moov] + box(b"moov", content[moov + 8 :], wide=True)
    wide_mdat = FTYP + box(b"mdat", bytes(99), wide=True) + content[len(FTYP) :]
    for each in (content, wide_moov, wide_mdat):
        assert CountedFile(each).check() == Clip(5)


def test_a_last_box_that_reaches_to_the_end_is_accepted() -> None:
    content = movie()
    moov = box(b"moov", content[len(FTYP) + 8 :], length=0)
    assert CountedFile(FTYP + moov).check() == Clip(5)


def test_a_fragmented_mp4_is_accepted_only_if_it_states_its_whole_duration(
    make: Callable[..., bytes],
) -> None:
    refusal_of(make("-movflags", "frag_keyframe+empty_moov", name="fragmented.mp4"))
    mehd = box(b"mvex", box(b"mehd", bytes(4), (7000).to_bytes(4)))
    assert CountedFile(movie(mvhd=0, mdhd=0, more=mehd)).check() == Clip(7)


def test_sound_without_a_picture_is_refused(tmp_path: Path) -> None:
    sound = media.ffmpeg(tmp_path / "sound.m4a", "-f", "lavfi", "-i", "sine=duration=1")
    assert "no video track" in refusal_of(sound.read_bytes()).reason


def test_a_longer_sound_track_counts() -> None:
    assert refusal_of(movie(mvhd=5, mdhd=31)) == refusal_of(movie(mvhd=31, mdhd=5))


@pytest.mark.parametrize(
    ("seconds", "accepted"), [(29.999, True), (30, False), (30.001, False), (100_000, False)]
)
def test_a_clip_must_be_shorter_than_the_limit(seconds: float, accepted: bool) -> None:
    checked = CountedFile(movie(mvhd=seconds, mdhd=0)).check()
    assert isinstance(checked, Clip) is accepted


def test_a_real_clip_of_exactly_the_limit_is_too_long(make: Callable[..., bytes]) -> None:
    content = make(name="two.mp4", seconds=2)
    refusal_of(content, max_seconds=2)
    assert isinstance(CountedFile(content).check(2.1), Clip)


@pytest.mark.parametrize("cut", [1, 7, 11, 40, 0.3, 0.9, 0.999])
def test_a_clip_that_was_cut_off_before_its_header_is_refused(
    make: Callable[..., bytes], cut: float
) -> None:
    content = make()
    end = cut if isinstance(cut, int) else int(len(content) * cut)
    refusal_of(content[:end])


def test_the_size_is_checked_without_reading() -> None:
    for size in (0, MAX_CLIP_BYTES + 1, 10**15):
        assert isinstance(check_clip(lambda *_: pytest.fail("read"), size, 30), Refusal)
    largest = CountedFile(movie() + box(b"mdat", length=0))
    assert check_clip(largest.read_at, MAX_CLIP_BYTES, 30) == Clip(5)


@pytest.mark.parametrize(
    "content",
    [b"text", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0AVI LIST", b"\x1aE\xdf\xa3" * 9, bytes(99)],
)
def test_what_is_not_an_mp4_by_its_content_is_refused(content: bytes) -> None:
    refusal_of(content)


@pytest.mark.parametrize(
    "content",
    [
        FTYP,
        FTYP + bytes(8),
        FTYP + box(b"moov"),
        FTYP + box(b"moov", length=4) * 9,
        FTYP + box(b"moov", length=2**31),
        FTYP + box(b"moov", wide=True, length=2**64 - 1),
        FTYP + box(b"moov", wide=True, length=3),
        FTYP + box(b"moov", box(b"trak", length=9999), HDLR),
        FTYP + box(b"free") * 300 + movie()[len(FTYP) :],
        FTYP + box(b"moov", *[box(b"free")] * 300, header(b"mvhd", 5)),
        movie(hdlr=b""),
        movie(hdlr=box(b"hdlr")),
        movie(mvhd=0, mdhd=0),
        FTYP + box(b"moov", header(b"mvhd", 0, timescale=0), HDLR),
        FTYP + box(b"moov", box(b"mvhd"), HDLR),
        movie().replace(b"moov", b"moof"),
    ],
)
def test_a_header_that_lies_is_refused(content: bytes) -> None:
    refusal_of(content)


def test_endlessly_nested_boxes_are_refused() -> None:
    nested = b""
    for _ in range(3000):
        nested = box(b"trak", nested)
    refusal_of(FTYP + box(b"moov", nested))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_clip_or_a_refusal(content: bytes) -> None:
    for each in (content, FTYP + content, FTYP + box(b"moov", content)):
        assert isinstance(CountedFile(each).check(), Clip | Refusal)


@given(st.data())
def test_any_damage_to_a_clip_gives_a_clip_or_a_refusal(data: st.DataObject) -> None:
    mehd = box(b"mvex", box(b"mehd", bytes(8)))
    content = bytearray(movie(version=data.draw(st.integers(0, 1)), more=mehd))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 7, 8, 0x7F, 0xFF]))
    assert isinstance(CountedFile(bytes(content)).check(), Clip | Refusal)


def test_the_longest_claim_counts_in_a_fragmented_mp4_too() -> None:
    mehd = box(b"mvex", box(b"mehd", bytes(4), (1000).to_bytes(4)))
    refusal_of(movie(mvhd=60, mdhd=60, more=mehd))


def test_a_fast_start_clip_that_was_cut_off_is_refused(make: Callable[..., bytes]) -> None:
    content = make("-movflags", "+faststart", name="fast.mp4", seconds=3)
    assert content.index(b"moov") < content.index(b"mdat")
    refusal_of(content[:-500])


def test_a_quicktime_file_by_its_content_is_refused(make: Callable[..., bytes]) -> None:
    content = make("-pix_fmt", "yuv420p", name="clip.mov")
    assert content[8:12] == b"qt  "
    refusal_of(content)


@pytest.mark.parametrize("name", ["look.png", "look.jpg", "look.webp"])
def test_a_real_image_is_accepted_as_a_first_frame(tmp_path: Path, name: str) -> None:
    content = media.image(tmp_path / name).read_bytes()
    assert check_first_frame(content[:IMAGE_HEADER_BYTES], len(content)) is None


@pytest.mark.parametrize(
    ("start", "size", "words"),
    [
        (b"\x89PNG\r\n\x1a\n", FRAME_LIMIT, None),
        (b"\x89PNG\r\n\x1a\n", FRAME_LIMIT + 1, "the limit is 20 MB"),
        (b"", 0, "not a PNG, JPEG or WebP"),
        (b"GIF89a", 99, "not a PNG, JPEG or WebP"),
        (b"RIFF\0\0\0\0AVI ", 99, "not a PNG, JPEG or WebP"),
        (b"RIFF\0\0\0\0WEBP", 99, None),
        (b"<html>", 99, "not a PNG, JPEG or WebP"),
    ],
)
def test_a_first_frame_is_checked_by_its_content_and_size(
    start: bytes, size: int, words: str | None
) -> None:
    refusal = check_first_frame(start, size)
    if words is None:
        assert refusal is None
    else:
        assert refusal
        assert words in refusal.reason
        assert refusal.field == "first_frame"


@given(
    st.lists(st.sampled_from([8, 9, 50, 70_000])),
    st.integers(1, 40).map(lambda number: number * 997),
    st.booleans(),
)
def test_the_end_of_a_file_differs_from_a_break_within_a_box(
    sizes: list[int], step: int, large: bool
) -> None:
    content = b"".join(size.to_bytes(4) + b"free" + b"x" * (size - 8) for size in sizes)
    if large:
        content += (1).to_bytes(4) + b"mdat" + (20).to_bytes(8) + b"\0" * 4
    boxes = BoxTracker()
    for start in range(0, len(content), step):
        boxes.feed(content[start : start + step])
    assert not boxes.is_incomplete
    boxes.feed((100).to_bytes(4) + b"mdat")
    assert boxes.is_incomplete
    boxes.feed(b"x" * 92)
    assert not boxes.is_incomplete
    boxes.feed((0).to_bytes(4) + b"mdat" + b"to the end")
    assert not boxes.is_incomplete

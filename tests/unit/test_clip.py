"""The clip's check on real MP4s, and on files that lie: a length or a refusal, in a bounded number of reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.rules.clip import MAX_BOXES, MAX_BYTES, Boxes, Clip, check
from retake.rules.refusal import Refusal
from tests import media

MOST_READS = 2 * MAX_BOXES + 1


@dataclass
class Film:
    """A file that counts how often and how much of it is read."""

    content: bytes
    reads: list[int] = field(default_factory=list)

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        self.reads.append(length)
        return self.content[offset : offset + length]

    def check(self, max_seconds: float = 30) -> Clip | Refusal:
        checked = check(self.read_at, len(self.content), max_seconds)
        assert len(self.reads) <= MOST_READS
        assert all(length <= 32 for length in self.reads)
        return checked


def box(kind: bytes, *payload: bytes, wide: bool = False, length: int | None = None) -> bytes:
    body = b"".join(payload)
    if wide:
        return (1).to_bytes(4) + kind + (len(body) + 16 if length is None else length).to_bytes(8) + body
    return (len(body) + 8 if length is None else length).to_bytes(4) + kind + body


def header(kind: bytes, seconds: float, timescale: int = 1000, version: int = 0) -> bytes:
    dates, width = bytes(16 if version else 8), 8 if version else 4
    return box(kind, bytes([version, 0, 0, 0]), dates, timescale.to_bytes(4), round(seconds * timescale).to_bytes(width), bytes(20))


FTYP = box(b"ftyp", b"isom", bytes(4), b"isom")
HDLR = box(b"hdlr", bytes(8), b"vide", bytes(12))


def film(*, mvhd: float = 5, mdhd: float = 5, version: int = 0, hdlr: bytes = HDLR, more: bytes = b"") -> bytes:
    track = box(b"trak", box(b"mdia", header(b"mdhd", mdhd, version=version), hdlr))
    return FTYP + box(b"moov", header(b"mvhd", mvhd, version=version), track, more)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    folder = tmp_path_factory.mktemp("media")

    def clip(*options: str, name: str = "clip.mp4", seconds: float = 1) -> bytes:
        return media.clip(folder / name, *options, seconds=seconds).read_bytes()

    return clip


@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart"), ("-brand", "mp42"), ("-video_track_timescale", "90000")])
def test_an_ordinary_mp4_is_taken_with_its_length(make: Callable[..., bytes], options: tuple[str, ...]) -> None:
    checked = Film(make(*options)).check()
    assert isinstance(checked, Clip)
    assert checked.seconds == pytest.approx(1, abs=0.1)


def test_an_mp4_whose_lengths_take_64_bits_is_taken() -> None:
    content = film(version=1)
    moov = content.index(b"moov") - 4
    wide = content[:moov] + box(b"moov", content[moov + 8 :], wide=True)
    for each in (content, wide, FTYP + box(b"mdat", bytes(99), wide=True) + content[len(FTYP) :]):
        assert Film(each).check() == Clip(5)


def test_a_last_box_that_reaches_to_the_end_is_taken() -> None:
    content = film()
    assert Film(content[: len(FTYP)] + box(b"moov", content[len(FTYP) + 8 :], length=0)).check() == Clip(5)


def test_a_fragmented_mp4_is_taken_only_when_it_tells_its_whole_length(make: Callable[..., bytes]) -> None:
    fragmented = make("-movflags", "frag_keyframe+empty_moov", name="fragmented.mp4")
    assert isinstance(Film(fragmented).check(), Refusal)
    mehd = box(b"mvex", box(b"mehd", bytes(4), (7000).to_bytes(4)))
    assert Film(film(mvhd=0, mdhd=0, more=mehd)).check() == Clip(7)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    sound = media.ffmpeg(tmp_path / "sound.m4a", "-f", "lavfi", "-i", "sine=duration=1").read_bytes()
    checked = Film(sound).check()
    assert isinstance(checked, Refusal)
    assert "no video track" in checked.reason


def test_a_sound_track_that_is_longer_counts() -> None:
    assert Film(film(mvhd=5, mdhd=31)).check() == Film(film(mvhd=31, mdhd=5)).check()
    assert isinstance(Film(film(mvhd=5, mdhd=31)).check(), Refusal)


@pytest.mark.parametrize(("seconds", "taken"), [(29.999, True), (30, False), (30.001, False), (100_000, False)])
def test_a_clip_must_stay_under_the_limit(seconds: float, taken: bool) -> None:
    assert isinstance(Film(film(mvhd=seconds, mdhd=0)).check(), Clip) is taken


def test_a_real_clip_of_exactly_the_limit_is_too_long(make: Callable[..., bytes]) -> None:
    content = make(name="two.mp4", seconds=2)
    assert isinstance(Film(content).check(2), Refusal)
    assert isinstance(Film(content).check(2.1), Clip)


@pytest.mark.parametrize("cut", [1, 7, 11, 40, 0.3, 0.9, 0.999])
def test_a_clip_that_was_cut_off_before_its_header_is_refused(make: Callable[..., bytes], cut: float) -> None:
    content = make()
    end = cut if isinstance(cut, int) else int(len(content) * cut)
    assert isinstance(Film(content[:end]).check(), Refusal)


def test_size_is_judged_without_reading() -> None:
    for size in (0, MAX_BYTES + 1, 10**15):
        assert isinstance(check(lambda *_: pytest.fail("read"), size, 30), Refusal)
    assert check(Film(film() + box(b"mdat", length=0)).read_at, MAX_BYTES, 30) == Clip(5)


@pytest.mark.parametrize("content", [b"text", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0AVI LIST", b"\x1aE\xdf\xa3" * 9, bytes(99)])
def test_what_is_no_mp4_by_its_content_is_refused(content: bytes) -> None:
    assert isinstance(Film(content).check(), Refusal)


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
        FTYP + box(b"free") * 300 + film()[len(FTYP) :],
        FTYP + box(b"moov", *[box(b"free")] * 300, header(b"mvhd", 5)),
        film(hdlr=b""),
        film(hdlr=box(b"hdlr")),
        film(mvhd=0, mdhd=0),
        FTYP + box(b"moov", header(b"mvhd", 0, timescale=0), HDLR),
        FTYP + box(b"moov", box(b"mvhd"), HDLR),
        film().replace(b"moov", b"moof"),
    ],
)
def test_a_header_that_lies_is_refused(content: bytes) -> None:
    assert isinstance(Film(content).check(), Refusal)


def test_boxes_nested_without_end_are_refused() -> None:
    nested = b""
    for _ in range(3000):
        nested = box(b"trak", nested)
    assert isinstance(Film(FTYP + box(b"moov", nested)).check(), Refusal)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_clip_or_a_refusal(content: bytes) -> None:
    for each in (content, FTYP + content, FTYP + box(b"moov", content)):
        assert isinstance(Film(each).check(), Clip | Refusal)


@given(st.data())
def test_any_damage_to_a_film_gives_a_clip_or_a_refusal(data: st.DataObject) -> None:
    content = bytearray(film(version=data.draw(st.integers(0, 1)), more=box(b"mvex", box(b"mehd", bytes(8)))))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from([0, 1, 7, 8, 0x7F, 0xFF]))
    assert isinstance(Film(bytes(content)).check(), Clip | Refusal)


def test_the_longest_claim_counts_in_a_fragmented_film_too() -> None:
    mehd = box(b"mvex", box(b"mehd", bytes(4), (1000).to_bytes(4)))
    assert isinstance(Film(film(mvhd=60, mdhd=60, more=mehd)).check(), Refusal)


def test_a_fast_start_clip_that_was_cut_off_is_refused(make: Callable[..., bytes]) -> None:
    content = make("-movflags", "+faststart", name="fast.mp4", seconds=3)
    assert content.index(b"moov") < content.index(b"mdat")
    assert isinstance(Film(content[:-500]).check(), Refusal)


def test_a_quicktime_film_by_its_content_is_refused(make: Callable[..., bytes]) -> None:
    content = make("-pix_fmt", "yuv420p", name="clip.mov")
    assert content[8:12] == b"qt  "
    assert isinstance(Film(content).check(), Refusal)


@given(st.lists(st.sampled_from([8, 9, 50, 70_000])), st.integers(1, 40), st.booleans())
def test_the_end_of_a_film_is_told_from_a_break_within_a_box(sizes: list[int], step: int, large: bool) -> None:
    film = b"".join(size.to_bytes(4) + b"free" + b"x" * (size - 8) for size in sizes)
    if large:
        film += (1).to_bytes(4) + b"mdat" + (20).to_bytes(8) + b"\0" * 4
    boxes = Boxes()
    for start in range(0, len(film), step * 997):
        boxes.feed(film[start : start + step * 997])
    assert not boxes.broken
    boxes.feed((100).to_bytes(4) + b"mdat")
    assert boxes.broken
    boxes.feed(b"x" * 92)
    assert not boxes.broken
    boxes.feed((0).to_bytes(4) + b"mdat" + b"to the end")
    assert not boxes.broken

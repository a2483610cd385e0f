"""Clips that lie: whatever the boxes say, a duration or a refusal after few and small reads."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.aws.s3 import InputBucket
from retake.domain.input_files import InputFile
from retake.domain.limits import MAX_CLIP_BYTES, MAX_FIRST_FRAME_BYTES
from retake.domain.media import IMAGE_HEADER_BYTES, MAX_BOXES, Clip, check_clip, check_first_frame
from retake.domain.refusal import Refusal
from tests.support import media
from tests.support.mp4 import FTYP, HDLR, MAX_READS, CountedFile, box, header, movie

from . import fuzz

BLOCK_BYTES = 65536
SHORT_FTYP = box(b"ftyp", b"isom", bytes(4))
KINDS = st.sampled_from(
    [
        *(b"moov", b"trak", b"mdia", b"mvex", b"mvhd", b"mdhd", b"hdlr", b"mehd", b"free", b"mdat"),
        *(b"moof", b"ftyp", b"uuid"),
    ]
)
LIES = st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
PAYLOADS = st.binary(max_size=40) | st.sampled_from(
    [
        bytes(32),
        b"\xff" * 32,
        HDLR[8:],
        header(b"mvhd", 5)[8:],
        header(b"mdhd", 5, version=1)[8:],
        header(b"mvhd", 5, timescale=1)[8:],
    ]
)


def lying_box(kind: bytes, payload: bytes, lie: int | None, wide: bool) -> bytes:
    length = lie if lie is None or wide else min(lie, 2**32 - 1)
    return box(kind, payload, wide=wide, length=length)


BOXES: Any = st.recursive(
    st.builds(lying_box, KINDS, PAYLOADS, st.none() | LIES, st.booleans()),
    lambda inner: st.builds(
        lying_box,
        KINDS,
        st.lists(inner, max_size=4).map(b"".join),
        st.none() | LIES,
        st.booleans(),
    ),
    max_leaves=12,
)


def check(content: bytes) -> Clip | Refusal:
    """Check a clip, and that the outcome is plausible."""
    checked = CountedFile(content).check()
    if isinstance(checked, Clip):
        assert 0 < checked.seconds < 30
    else:
        assert len(checked.reason) < 300
    return checked


@fuzz
@given(
    st.lists(BOXES, max_size=5).map(b"".join),
    st.sampled_from([b"", FTYP, movie()]),
    st.binary(max_size=9),
)
def test_boxes_that_lie_give_a_clip_or_a_refusal(boxes: bytes, before: bytes, after: bytes) -> None:
    check(before + boxes + after)
    check(FTYP + box(b"moov", boxes) + after)


@pytest.fixture(scope="module")
def real_clips(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("media")
    flags = ["+faststart", "frag_keyframe+empty_moov", "+frag_every_frame"]
    options: list[tuple[str, ...]] = [(), *(("-movflags", flag) for flag in flags)]
    return [
        media.clip(folder / f"{number}.mp4", *option).read_bytes()
        for number, option in enumerate(options)
    ]


@fuzz
@given(st.data())
def test_any_damage_to_a_real_clip_gives_a_clip_or_a_refusal(
    real_clips: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from(real_clips)))
    targets = (b"moov", b"trak", b"mdia", b"mvhd", b"mdhd", b"hdlr", b"mvex", b"ftyp")
    names = [at for at in range(len(content)) if content[at : at + 4] in targets]
    for _ in range(data.draw(st.integers(1, 4))):
        at = max(0, data.draw(st.sampled_from(names)) + data.draw(st.integers(-4, 30)))
        damage = data.draw(
            st.binary(min_size=1, max_size=4) | LIES.map(lambda lie: (lie % 2**32).to_bytes(4))
        )
        replaced = data.draw(st.sampled_from([0, len(damage)]))
        content[at : at + replaced] = damage
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    check(bytes(content))


@fuzz
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 1),
    st.sampled_from([b"mvhd", b"mdhd", b"mehd"]),
)
@example(2**64 - 2, 1, 1, b"mvhd")
@example(2**32 - 1, 0, 0, b"mvhd")
@example(1, 2**32 - 1, 1, b"mehd")
def test_a_clip_is_accepted_only_if_all_its_durations_are_short(
    duration: int, timescale: int, version: int, kind: bytes
) -> None:
    width = 8 if version else 4
    duration %= 256**width
    times = b"" if kind == b"mehd" else bytes(2 * width) + timescale.to_bytes(4)
    lying = box(kind, bytes([version, 0, 0, 0]), times, duration.to_bytes(width))
    if kind == b"mehd":
        lying = box(b"mvex", lying)
    elif kind == b"mdhd":
        lying = box(b"trak", box(b"mdia", lying))
    if kind == b"mehd":
        is_short = 0 < duration < 30_000
    else:
        is_unknown = duration == 256**width - 1
        is_short = timescale > 0 and (is_unknown or duration / timescale < 30)
    assert isinstance(check(movie(more=lying)), Clip) is is_short


class SyntheticBucket(InputBucket):
    """A bucket of one object that is made up as it is read, and counts its reads.

    Parameters:
        size: the object's size.
        boxes: the bytes at some offsets.
        fill: the bytes everywhere else, again and again.
    """

    def __init__(self, size: int, boxes: dict[int, bytes], fill: bytes = b"\0") -> None:
        super().__init__(s3=None, name="input")
        self.size, self.boxes, self.fill = size, boxes, fill
        self.lengths: list[int] = []

    def read(self, file: InputFile, offset: int, length: int) -> bytes:
        assert 0 < length <= BLOCK_BYTES
        self.lengths.append(length)
        end = min(self.size, offset + length)
        shift = offset % len(self.fill)
        filled = self.fill * (length // len(self.fill) + 2)
        block = bytearray(filled[shift : shift + max(0, end - offset)])
        for start, content in self.boxes.items():
            for at in range(max(start, offset), min(start + len(content), end)):
                block[at - offset] = content[at - start]
        return bytes(block)

    def check(self) -> Clip | Refusal:
        """Check the object as a clip, by a bounded number of reads."""
        file = InputFile("clip.mp4", "e", self.size, datetime(2026, 1, 1, tzinfo=UTC))
        checked = check_clip(self.random_access(file), self.size, 30)
        assert len(self.lengths) <= MAX_READS
        return checked


def test_millions_of_tiny_boxes_are_not_walked() -> None:
    at_the_top = SyntheticBucket(MAX_CLIP_BYTES, {0: SHORT_FTYP}, fill=box(b"free"))
    assert isinstance(at_the_top.check(), Refusal)
    assert len(at_the_top.lengths) == 1
    boxes = {0: SHORT_FTYP, 16: box(b"moov", length=MAX_CLIP_BYTES - 16)}
    within_moov = SyntheticBucket(MAX_CLIP_BYTES, boxes, fill=box(b"trak"))
    assert isinstance(within_moov.check(), Refusal)
    assert len(within_moov.lengths) == 1


def test_scattered_boxes_across_blocks_are_read_a_bounded_number_of_times() -> None:
    step = 5 * BLOCK_BYTES
    boxes = {
        0: SHORT_FTYP,
        16: box(b"moov", length=MAX_CLIP_BYTES - 16),
        24: box(b"free", length=BLOCK_BYTES - 28),
    }
    offsets = range(BLOCK_BYTES - 4, MAX_CLIP_BYTES - step, step)
    boxes |= {offset: box(b"hdlr", length=step) for offset in offsets}
    scattered = SyntheticBucket(MAX_CLIP_BYTES, boxes)
    assert isinstance(scattered.check(), Refusal)
    assert len(scattered.lengths) > MAX_BOXES
    assert sum(scattered.lengths) <= MAX_READS * BLOCK_BYTES < MAX_CLIP_BYTES


def test_a_header_of_any_claimed_size_is_not_read_completely() -> None:
    for length in (MAX_CLIP_BYTES - 16, 0):
        within = movie()[len(FTYP) + 8 :]
        boxes = {0: SHORT_FTYP, 16: box(b"moov", length=length), 24: within}
        huge = SyntheticBucket(MAX_CLIP_BYTES, boxes)
        huge.check()
        assert len(huge.lengths) <= 3


def test_a_header_at_the_end_of_a_large_file_is_found_in_three_reads() -> None:
    moov = movie()[len(FTYP) :]
    start = MAX_CLIP_BYTES - len(moov)
    mdat = box(b"mdat", length=start - len(FTYP))
    late = SyntheticBucket(MAX_CLIP_BYTES, {0: FTYP, len(FTYP): mdat, start: moov})
    assert late.check() == Clip(5)
    assert len(late.lengths) <= 3


def test_two_moov_boxes_are_refused_whichever_a_player_would_use() -> None:
    long = movie(mvhd=60, mdhd=60)[len(FTYP) :]
    assert isinstance(check(movie() + long), Refusal)
    assert isinstance(check(movie() + box(b"free", bytes(9)) + movie()[len(FTYP) :]), Refusal)


def test_the_longer_of_two_movie_headers_counts() -> None:
    assert isinstance(check(movie(more=header(b"mvhd", 60))), Refusal)


PAGE = b"<html><script>alert(1)</script></html>"
ZIP = b"PK\x03\x04" + bytes(40) + b"PK\x05\x06" + bytes(18)


@pytest.mark.parametrize(
    "content",
    [
        PAGE + movie(),
        ZIP + movie(),
        movie() + PAGE,
        movie() + ZIP,
        b"\xff\xd8\xff" + movie(),
        b"GIF89a" + movie(),
    ],
)
def test_a_clip_that_is_something_else_at_its_start_or_end_is_refused(content: bytes) -> None:
    assert isinstance(check(content), Refusal)


@pytest.mark.parametrize("stowaway", [PAGE, ZIP])
def test_what_hides_in_a_box_that_players_skip_is_never_read(stowaway: bytes) -> None:
    assert CountedFile(movie() + box(b"free", stowaway)).check() == Clip(5)


PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


@fuzz
@given(
    st.binary(max_size=20)
    | st.builds(bytes.__add__, st.sampled_from([PNG, JPEG, b"RIFF"]), st.binary(max_size=9)),
    st.integers(0, 2**63),
)
def test_a_first_frame_is_accepted_only_as_a_small_known_image(start: bytes, size: int) -> None:
    refusal = check_first_frame(start[:IMAGE_HEADER_BYTES], size)
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    is_known = start.startswith((PNG, JPEG)) or is_webp
    assert (refusal is None) is (is_known and size <= MAX_FIRST_FRAME_BYTES)

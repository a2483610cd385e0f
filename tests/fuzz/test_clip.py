"""Films that lie: whatever the boxes say, a length or a refusal after few and small reads."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.adapters.storage import BlockReader
from retake.rules import frame
from retake.rules.clip import MAX_BOXES, MAX_BYTES, Clip, check
from retake.rules.drop import File
from retake.rules.refusal import Refusal
from tests import media
from tests.unit.test_clip import FTYP, HDLR, MOST_READS, Film, box, film, header

from . import fuzz

BLOCK = 65536
KINDS = st.sampled_from(
    [b"moov", b"trak", b"mdia", b"mvex", b"mvhd", b"mdhd", b"hdlr", b"mehd", b"free", b"mdat", b"moof", b"ftyp", b"uuid"]
)
LIES = st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
PAYLOADS = st.binary(max_size=40) | st.sampled_from(
    [bytes(32), b"\xff" * 32, HDLR[8:], header(b"mvhd", 5)[8:], header(b"mdhd", 5, version=1)[8:], header(b"mvhd", 5, timescale=1)[8:]]
)


def _box(kind: bytes, payload: bytes, lie: int | None, wide: bool) -> bytes:
    return box(kind, payload, wide=wide, length=lie if lie is None or wide else min(lie, 2**32 - 1))


BOXES: Any = st.recursive(
    st.builds(_box, KINDS, PAYLOADS, st.none() | LIES, st.booleans()),
    lambda inner: st.builds(_box, KINDS, st.lists(inner, max_size=4).map(b"".join), st.none() | LIES, st.booleans()),
    max_leaves=12,
)


def checked(content: bytes) -> Clip | Refusal:
    answer = Film(content).check()
    if isinstance(answer, Clip):
        assert 0 < answer.seconds < 30
    else:
        assert len(answer.reason) < 300
    return answer


@fuzz
@given(st.lists(BOXES, max_size=5).map(b"".join), st.sampled_from([b"", FTYP, film()]), st.binary(max_size=9))
def test_boxes_that_lie_give_a_clip_or_a_refusal(boxes: bytes, before: bytes, after: bytes) -> None:
    checked(before + boxes + after)
    checked(FTYP + box(b"moov", boxes) + after)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("media")
    options = [(), ("-movflags", "+faststart"), ("-movflags", "frag_keyframe+empty_moov"), ("-movflags", "+frag_every_frame")]
    return [media.clip(folder / f"{number}.mp4", *option).read_bytes() for number, option in enumerate(options)]


@fuzz
@given(st.data())
def test_any_damage_to_a_real_film_gives_a_clip_or_a_refusal(films: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(films)))
    names = [
        at for at in range(len(content)) if content[at : at + 4] in (b"moov", b"trak", b"mdia", b"mvhd", b"mdhd", b"hdlr", b"mvex", b"ftyp")
    ]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(names)) + data.draw(st.integers(-4, 30))
        damage = data.draw(st.binary(min_size=1, max_size=4) | LIES.map(lambda lie: (lie % 2**32).to_bytes(4)))
        content[max(0, at) : max(0, at) + data.draw(st.sampled_from([0, len(damage)]))] = damage
    checked(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))


@fuzz
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 1), st.sampled_from([b"mvhd", b"mdhd", b"mehd"]))
@example(2**64 - 2, 1, 1, b"mvhd")
@example(2**32 - 1, 0, 0, b"mvhd")
@example(1, 2**32 - 1, 1, b"mehd")
def test_a_clip_is_taken_only_when_all_its_lengths_are_short(duration: int, timescale: int, version: int, kind: bytes) -> None:
    width = 8 if version else 4
    time = b"" if kind == b"mehd" else bytes(2 * width) + timescale.to_bytes(4)
    lying = box(kind, bytes([version, 0, 0, 0]), time, (duration % 256**width).to_bytes(width))
    more = box(b"mvex", lying) if kind == b"mehd" else box(b"trak", box(b"mdia", lying)) if kind == b"mdhd" else lying
    answer = checked(film(more=more))
    duration %= 256**width
    unknown = duration == 256**width - 1
    whole, other = 0 < duration < 30_000, timescale > 0 and (unknown or duration / timescale < 30)
    assert isinstance(answer, Clip) is (whole if kind == b"mehd" else other)


@dataclass
class Bucket:
    """A bucket of one object that is made up as it is read, and counts what is asked of it."""

    size: int
    boxes: dict[int, bytes]
    fill: bytes = b"\0"
    asked: list[tuple[int, int]] = field(default_factory=list)

    def read(self, file: File, first: int, length: int) -> bytes:
        assert 0 < length <= BLOCK
        self.asked.append((first, length))
        end = min(self.size, first + length)
        shift = first % len(self.fill)
        block = bytearray((self.fill * (length // len(self.fill) + 2))[shift : shift + max(0, end - first)])
        for at, content in self.boxes.items():
            for offset in range(max(at, first), min(at + len(content), end)):
                block[offset - first] = content[offset - at]
        return bytes(block)

    def check(self) -> Clip | Refusal:
        file = File("clip.mp4", "e", self.size, datetime(2026, 1, 1, tzinfo=UTC))
        answer = check(BlockReader(self, file).read_at, self.size, 30)  # type: ignore[arg-type]
        assert len(self.asked) <= MOST_READS
        return answer


def test_millions_of_tiny_boxes_are_not_walked() -> None:
    tiny = Bucket(MAX_BYTES, {0: box(b"ftyp", b"isom", bytes(4))}, fill=box(b"free"))
    assert isinstance(tiny.check(), Refusal)
    assert len(tiny.asked) == 1
    inside = Bucket(MAX_BYTES, {0: box(b"ftyp", b"isom", bytes(4)), 16: box(b"moov", length=MAX_BYTES - 16)}, fill=box(b"trak"))
    assert isinstance(inside.check(), Refusal)
    assert len(inside.asked) == 1


def test_boxes_far_apart_and_across_blocks_are_read_a_bounded_number_of_times() -> None:
    step = 5 * BLOCK
    boxes = {0: box(b"ftyp", b"isom", bytes(4)), 16: box(b"moov", length=MAX_BYTES - 16), 24: box(b"free", length=BLOCK - 28)}
    boxes |= {at: box(b"hdlr", length=step) for at in range(BLOCK - 4, MAX_BYTES - step, step)}
    scattered = Bucket(MAX_BYTES, boxes)
    assert isinstance(scattered.check(), Refusal)
    assert len(scattered.asked) > MAX_BOXES
    assert sum(length for _, length in scattered.asked) <= MOST_READS * BLOCK < MAX_BYTES


def test_a_header_of_any_claimed_size_is_not_read_whole() -> None:
    for end in (MAX_BYTES - 16, 0):
        huge = Bucket(MAX_BYTES, {0: box(b"ftyp", b"isom", bytes(4)), 16: box(b"moov", length=end), 24: film()[len(FTYP) + 8 :]})
        huge.check()
        assert len(huge.asked) <= 3


def test_a_header_at_the_end_of_a_large_file_is_found_in_three_reads() -> None:
    moov = film()[len(FTYP) :]
    start = MAX_BYTES - len(moov)
    late = Bucket(MAX_BYTES, {0: FTYP, len(FTYP): box(b"mdat", length=start - len(FTYP)), start: moov})
    assert late.check() == Clip(5)
    assert len(late.asked) <= 3


def test_two_headers_are_refused_whichever_a_player_would_believe() -> None:
    long = film(mvhd=60, mdhd=60)[len(FTYP) :]
    assert isinstance(checked(film() + long), Refusal)
    assert isinstance(checked(film() + box(b"free", bytes(9)) + film()[len(FTYP) :]), Refusal)


def test_the_longest_of_two_movie_headers_counts() -> None:
    assert isinstance(checked(film(more=header(b"mvhd", 60))), Refusal)


PAGE = b"<html><script>alert(1)</script></html>"
ZIP = b"PK\x03\x04" + bytes(40) + b"PK\x05\x06" + bytes(18)


@pytest.mark.parametrize(
    "content", [PAGE + film(), ZIP + film(), film() + PAGE, film() + ZIP, b"\xff\xd8\xff" + film(), b"GIF89a" + film()]
)
def test_a_film_that_is_something_else_at_its_start_or_end_is_refused(content: bytes) -> None:
    assert isinstance(checked(content), Refusal)


@pytest.mark.parametrize("stowaway", [PAGE, ZIP])
def test_what_hides_in_a_box_that_players_skip_is_never_read(stowaway: bytes) -> None:
    hidden = Film(film() + box(b"free", stowaway))
    assert hidden.check() == Clip(5)


@fuzz
@given(
    st.binary(max_size=20)
    | st.builds(bytes.__add__, st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"]), st.binary(max_size=9)),
    st.integers(0, 2**63),
)
def test_any_first_frame_is_taken_by_its_content_or_refused(head: bytes, size: int) -> None:
    refusal = frame.check(head[: frame.HEAD_BYTES], size)
    known = head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    assert (refusal is None) is (known and size <= frame.MAX_BYTES)

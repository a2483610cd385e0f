"""First frames are told by their first bytes, and the end of an MP4 by its boxes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.domain.limits import MAX_IMAGE_BYTES
from retake.domain.media import IMAGE_HEADER_BYTES, BoxTracker, check_first_frame
from tests.support import media


@pytest.mark.parametrize("name", ["look.png", "look.jpg", "look.webp"])
def test_a_real_image_is_accepted_as_a_first_frame(tmp_path: Path, name: str) -> None:
    content = media.image(tmp_path / name).read_bytes()
    assert check_first_frame(content[:IMAGE_HEADER_BYTES], len(content)) is None


@pytest.mark.parametrize(
    ("start", "size", "words"),
    [
        (b"\x89PNG\r\n\x1a\n", MAX_IMAGE_BYTES, None),
        (b"\x89PNG\r\n\x1a\n", MAX_IMAGE_BYTES + 1, "the limit is 100 MB"),
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

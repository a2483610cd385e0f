"""The clip's check: is it an MP4 video, and how long; only box headers are read, never the media.

Boxes, `mvhd`, `mdhd`, `hdlr`, `mvex` and `mehd`: ISO/IEC 14496-12, 4.2 and 8.2 to 8.8.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .refusal import Refusal

MAX_BYTES = 100_000_000  # Segmind: "at most 100 MB"; the smaller reading of MB is the safe one
MAX_BOXES = 256  # an ordinary film has about sixty before its length and tracks are known
_CURE = "export the clip as an ordinary MP4 (H.264) and drop it again"

_BRANCHES = frozenset({b"trak", b"mdia", b"mvex"})
_LEAVES = frozenset({b"mvhd", b"mdhd", b"hdlr", b"mehd"})

ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Clip:
    """What the header tells: `seconds`, the longest duration any of its boxes claims."""

    seconds: float


def check(read_at: ReadAt, size: int, max_seconds: float) -> Clip | Refusal:
    """Check a clip by its content.

    Parameters: `read_at(offset, length)` gives up to `length` bytes (fewer only at the end); `size` in bytes;
    `max_seconds`, the length a clip must stay under.
    Returns the clip, or the refusal. Reads at most `MAX_BOXES` box headers and a few dozen bytes of payload.
    """
    if size == 0:
        return Refusal("the video is empty (0 bytes)", "upload it again: the file was probably cut off")
    if size > MAX_BYTES:
        megabytes = f"{size / 1e6:.1f} MB"
        return Refusal(f"the video has {megabytes}; Segmind takes at most 100 MB", "cut or re-encode it below 100 MB")
    start = read_at(0, 12)
    if start[4:8] != b"ftyp":
        return Refusal("the video is not an MP4 by its content (no ftyp box at its start)", _CURE)
    if start[8:12] == b"qt  ":
        return Refusal("the video is a QuickTime film (.mov), whatever its name says", _CURE)
    try:
        seconds, has_video = _walk(read_at, size)
    except _Broken as broken:
        return Refusal(f"the video's header is damaged: {broken}", _CURE)
    if not has_video:
        return Refusal("the MP4 has no video track", _CURE)
    if seconds <= 0:
        return Refusal("the MP4 does not tell its length", _CURE)
    if seconds >= max_seconds:
        return Refusal(
            f"the video lasts {seconds:.1f} s; it must stay under {max_seconds:g} s",
            "cut it into shorter clips (ffmpeg -i clip.mp4 -t 25 -c copy short.mp4)",
        )
    return Clip(seconds)


class _Broken(Exception):
    """The box structure contradicts itself."""


def _walk(read_at: ReadAt, size: int) -> tuple[float, bool]:
    budget = iter(range(MAX_BOXES))
    top = _boxes(read_at, 0, size, budget)
    moov = next(((start, end) for kind, start, end in top if kind == b"moov"), None)
    if moov is None:
        raise _Broken("no moov box; the recording or the upload was cut off")
    claims, has_video, fragmented, whole, timescale = [0.0], False, False, 0.0, 1
    for kind, start, end in _descend(read_at, *moov, budget):
        payload = read_at(start, min(32, end - start)) if kind in _LEAVES else b""
        if kind == b"mvhd":
            timescale, duration = _time(payload)
            claims.append(duration / timescale)
        elif kind == b"mdhd":
            track_timescale, duration = _time(payload)
            claims.append(duration / track_timescale)
        elif kind == b"hdlr":
            has_video |= payload[8:12] == b"vide"
        elif kind == b"mvex":
            fragmented = True
        elif kind == b"mehd":
            whole = int.from_bytes(payload[4 : 12 if payload[:1] == b"\x01" else 8]) / timescale
    # The other boxes of a fragmented film tell the length of its first part only.
    # The media must be there to its end, and no other moov that somebody else might believe.
    if any(kind == b"moov" for kind, *_ in _boxes(read_at, moov[1], size, budget)):
        raise _Broken("it has two moov boxes")
    return max(whole, *claims) if whole or not fragmented else 0.0, has_video


def _descend(read_at: ReadAt, start: int, end: int, budget: Iterator[int]) -> Iterator[tuple[bytes, int, int]]:
    for kind, first, last in _boxes(read_at, start, end, budget):
        yield kind, first, last
        if kind in _BRANCHES:
            yield from _descend(read_at, first, last, budget)


def _boxes(read_at: ReadAt, start: int, end: int, budget: Iterator[int]) -> Iterator[tuple[bytes, int, int]]:
    """Give (type, first byte of the payload, end) of the boxes between two offsets."""
    while start < end:
        if next(budget, None) is None:
            raise _Broken(f"more than {MAX_BOXES} boxes before its tracks are known")
        header = read_at(start, 16)
        length, kind, payload = int.from_bytes(header[:4]), header[4:8], start + 8
        if length == 1:
            length, payload = int.from_bytes(header[8:16]), start + 16
        stop = start + length if length else end
        if len(header) < 8 or not payload <= stop <= end:
            raise _Broken(f"the box at byte {start} does not fit into its surroundings")
        yield kind, payload, stop
        start = stop


def _time(payload: bytes) -> tuple[int, int]:
    """Read (timescale, duration) of an `mvhd` or `mdhd`, version 0 or 1."""
    at, wide = (20, 8) if payload[:1] == b"\x01" else (12, 4)
    timescale, duration = int.from_bytes(payload[at : at + 4]), int.from_bytes(payload[at + 4 : at + 4 + wide])
    if not timescale:
        raise _Broken("its time scale is zero")
    return timescale, 0 if duration == 256**wide - 1 else duration


_TO_THE_END = 1 << 62


class Boxes:
    """Follows the top-level boxes of an MP4 as its bytes come by, to tell its end from a break where no length was told."""

    def __init__(self) -> None:
        self._head, self._left = b"", 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        while chunk:
            if not self._left:
                wanted = (16 if self._head[:4] == b"\0\0\0\1" else 8) - len(self._head)
                self._head, chunk = self._head + chunk[:wanted], chunk[wanted:]
                self._left = self._body()
            skipped = min(self._left, len(chunk))
            self._left, chunk = self._left - skipped, chunk[skipped:]

    def _body(self) -> int:
        """Give the length of the box whose header has been read, and forget the header; 0 as long as some of it is missing."""
        size, length = int.from_bytes(self._head[:4]), len(self._head)
        if length < 8 or (size == 1 and length < 16):
            return 0
        size = int.from_bytes(self._head[8:16]) if size == 1 else size
        self._head = b""
        return max(0, size - length) if size else _TO_THE_END

    @property
    def broken(self) -> bool:
        """Tell whether the bytes end within a box of known size."""
        return bool(self._head) or 0 < self._left < _TO_THE_END // 2

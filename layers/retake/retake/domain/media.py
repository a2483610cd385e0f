"""The check of clips and first frames by their content; only headers are read, never the media.

Boxes, `mvhd`, `mdhd`, `hdlr`, `mvex` and `mehd`: ISO/IEC 14496-12, 4.2 and 8.2 to 8.8.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .limits import MAX_CLIP_BYTES, MAX_FIRST_FRAME_BYTES
from .refusal import Refusal

MAX_BOXES = 256  # an ordinary video has about sixty before its duration and tracks are known
IMAGE_HEADER_BYTES = 12
_CLIP_CURE = "export the clip as an ordinary MP4 (H.264) and drop it again"
_FRAME_CURE = "save the first frame as PNG, JPEG or WebP and drop it again"

_CONTAINERS = frozenset({b"trak", b"mdia", b"mvex"})
_LEAVES = frozenset({b"mvhd", b"mdhd", b"hdlr", b"mehd"})

ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Clip:
    """What the header says.

    Attributes:
        seconds: the longest duration that any of its boxes claims.
    """

    seconds: float


def check_first_frame(header: bytes, size: int) -> Refusal | None:
    """Check a first frame; return `None` when Segmind takes it.

    Parameters:
        header: its first `IMAGE_HEADER_BYTES` bytes.
        size: bytes.
    """
    if size > MAX_FIRST_FRAME_BYTES:
        reason = (
            f"the first frame is {size / 1e6:.1f} MB; "
            f"the limit is {MAX_FIRST_FRAME_BYTES / 1e6:g} MB"
        )
        return Refusal(reason, _FRAME_CURE, "first_frame")
    webp = header[:4] == b"RIFF" and header[8:12] == b"WEBP"
    if header.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or webp:
        return None
    reason = "the first frame is not a PNG, JPEG or WebP image by its content"
    return Refusal(reason, _FRAME_CURE, "first_frame")


def check_clip(read_at: ReadAt, size: int, max_seconds: float) -> Clip | Refusal:
    """Check a clip by its content.

    Parameters:
        read_at: `read_at(offset, length)` returns up to `length` bytes, fewer at the end.
        size: bytes.
        max_seconds: the duration that a clip must stay under.

    Returns:
        The clip, or the refusal. Reads at most `MAX_BOXES` box headers and a few dozen bytes
        of payload.
    """
    if size == 0:
        return Refusal("the clip is empty (0 bytes)", "upload it again; it was probably cut off")
    if size > MAX_CLIP_BYTES:
        reason = f"the clip is {size / 1e6:.1f} MB; Segmind's limit is 100 MB"
        return Refusal(reason, "shorten it or encode it again below 100 MB")
    start = read_at(0, 12)
    if start[4:8] != b"ftyp":
        reason = "the clip is not an MP4 by its content (no ftyp box at its start)"
        return Refusal(reason, _CLIP_CURE)
    if start[8:12] == b"qt  ":
        return Refusal("the clip is a QuickTime file (.mov), whatever its name says", _CLIP_CURE)
    try:
        seconds, has_video = _read_tracks(read_at, size)
    except _DamagedError as error:
        return Refusal(f"the clip's header is damaged: {error}", _CLIP_CURE)
    if not has_video:
        return Refusal("the MP4 has no video track", _CLIP_CURE)
    if seconds <= 0:
        return Refusal("the MP4 does not state its duration", _CLIP_CURE)
    if seconds >= max_seconds:
        return Refusal(
            f"the clip lasts {seconds:.1f} s; it must be shorter than {max_seconds:g} s",
            "cut it into shorter clips (ffmpeg -i clip.mp4 -t 25 -c copy short.mp4)",
        )
    return Clip(seconds)


class _DamagedError(Exception):
    """The box structure contradicts itself."""


def _read_tracks(read_at: ReadAt, size: int) -> tuple[float, bool]:
    """Return the longest claimed duration in seconds, and whether there is a video track."""
    budget = iter(range(MAX_BOXES))
    top = _boxes(read_at, 0, size, budget)
    moov = next(((start, end) for kind, start, end in top if kind == b"moov"), None)
    if moov is None:
        raise _DamagedError("no moov box; the recording or the upload was cut off")
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
    # The media must be there to its end, and no second moov that another reader might believe.
    if any(kind == b"moov" for kind, *_ in _boxes(read_at, moov[1], size, budget)):
        raise _DamagedError("it has two moov boxes")
    # Without mehd, the boxes of a fragmented MP4 state the duration of its first part only.
    return max(whole, *claims) if whole or not fragmented else 0.0, has_video


def _descend(
    read_at: ReadAt, start: int, end: int, budget: Iterator[int]
) -> Iterator[tuple[bytes, int, int]]:
    for kind, first, last in _boxes(read_at, start, end, budget):
        yield kind, first, last
        if kind in _CONTAINERS:
            yield from _descend(read_at, first, last, budget)


def _boxes(
    read_at: ReadAt, start: int, end: int, budget: Iterator[int]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, first byte of the payload, end) of the boxes between two offsets."""
    while start < end:
        if next(budget, None) is None:
            raise _DamagedError(f"more than {MAX_BOXES} boxes before its tracks are known")
        header = read_at(start, 16)
        length, kind, payload = int.from_bytes(header[:4]), header[4:8], start + 8
        if length == 1:
            length, payload = int.from_bytes(header[8:16]), start + 16
        stop = start + length if length else end
        if len(header) < 8 or not payload <= stop <= end:
            raise _DamagedError(f"the box at byte {start} does not fit into its container")
        yield kind, payload, stop
        start = stop


def _time(payload: bytes) -> tuple[int, int]:
    """Return (timescale, duration) of an `mvhd` or `mdhd`, version 0 or 1."""
    at, wide = (20, 8) if payload[:1] == b"\x01" else (12, 4)
    timescale = int.from_bytes(payload[at : at + 4])
    duration = int.from_bytes(payload[at + 4 : at + 4 + wide])
    if not timescale:
        raise _DamagedError("its time scale is zero")
    return timescale, 0 if duration == 256**wide - 1 else duration


_TO_THE_END = 1 << 62


class BoxTracker:
    """Follows the top-level boxes of an MP4 while its bytes pass, to tell its end from a break.

    Used where the server does not state the length of a file.
    """

    def __init__(self) -> None:
        self._header, self._left = b"", 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        while chunk:
            if not self._left:
                wanted = (16 if self._header[:4] == b"\0\0\0\1" else 8) - len(self._header)
                self._header, chunk = self._header + chunk[:wanted], chunk[wanted:]
                self._left = self._payload_bytes()
            skipped = min(self._left, len(chunk))
            self._left, chunk = self._left - skipped, chunk[skipped:]

    def _payload_bytes(self) -> int:
        """Return the payload size of a box whose header is complete; 0 until it is."""
        size, length = int.from_bytes(self._header[:4]), len(self._header)
        if length < 8 or (size == 1 and length < 16):
            return 0
        size = int.from_bytes(self._header[8:16]) if size == 1 else size
        self._header = b""
        return max(0, size - length) if size else _TO_THE_END

    @property
    def is_incomplete(self) -> bool:
        """Tell whether the bytes end within a box of known size."""
        return bool(self._header) or 0 < self._left < _TO_THE_END // 2

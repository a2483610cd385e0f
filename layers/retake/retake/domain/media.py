"""What the first bytes of a file say, and where an MP4 ends.

Boxes: ISO/IEC 14496-12, 4.2.
"""

from .limits import MAX_IMAGE_BYTES
from .refusal import Refusal

IMAGE_HEADER_BYTES = 12
_FRAME_CURE = "save the first frame as PNG, JPEG or WebP and drop it again"


def image_kind(header: bytes) -> str | None:
    """Tell what an image is by its first `IMAGE_HEADER_BYTES` bytes: `png`, `jpeg`, or `webp`."""
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if header.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "webp" if header[:4] == b"RIFF" and header[8:12] == b"WEBP" else None


def check_first_frame(header: bytes, size: int) -> Refusal | None:
    """Check a first frame; return `None` when it may be one.

    Parameters:
        header: its first `IMAGE_HEADER_BYTES` bytes.
        size: bytes.
    """
    if size > MAX_IMAGE_BYTES:
        reason = (
            f"the first frame is {size / 1e6:.1f} MB; the limit is {MAX_IMAGE_BYTES / 1e6:g} MB"
        )
        return Refusal(reason, "make it smaller and drop it again", "first_frame")
    if image_kind(header):
        return None
    reason = "the first frame is not a PNG, JPEG or WebP image by its content"
    return Refusal(reason, _FRAME_CURE, "first_frame")


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

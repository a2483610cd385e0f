"""The first frame's check: is it an image of a kind Segmind takes, by its content."""

from .refusal import Refusal

MAX_BYTES = 20_000_000
HEAD_BYTES = 12
_CURE = "save the first frame as PNG, JPEG or WebP and drop it again"


def check(head: bytes, size: int) -> Refusal | None:
    """Check a first frame by its first `HEAD_BYTES` bytes and its `size` in bytes; `None` when it will do."""
    if size > MAX_BYTES:
        return Refusal(f"the first frame has {size / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:g} MB are taken", _CURE, "first_frame")
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or webp:
        return None
    return Refusal("the first frame is not a PNG, JPEG or WebP image by its content", _CURE, "first_frame")

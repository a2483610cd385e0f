"""MP4 files made box by box."""


def box(kind: bytes, *payload: bytes, wide: bool = False, length: int | None = None) -> bytes:
    """Return a box, with a 64-bit length if `wide`; `length` is what it claims instead of that."""
    body = b"".join(payload)
    if wide:
        claimed = len(body) + 16 if length is None else length
        return (1).to_bytes(4) + kind + claimed.to_bytes(8) + body
    claimed = len(body) + 8 if length is None else length
    return claimed.to_bytes(4) + kind + body


def header(kind: bytes, seconds: float, timescale: int = 1000, version: int = 0) -> bytes:
    """Return an `mvhd` or `mdhd` box that claims a duration."""
    dates, width = bytes(16 if version else 8), 8 if version else 4
    duration = round(seconds * timescale).to_bytes(width)
    version_and_flags = bytes([version, 0, 0, 0])
    return box(kind, version_and_flags, dates, timescale.to_bytes(4), duration, bytes(20))


FTYP = box(b"ftyp", b"isom", bytes(4), b"isom")
HDLR = box(b"hdlr", bytes(8), b"vide", bytes(12))


def movie(
    *, mvhd: float = 5, mdhd: float = 5, version: int = 0, hdlr: bytes = HDLR, more: bytes = b""
) -> bytes:
    """Return an MP4 of one track without media.

    Parameters:
        mvhd: the seconds that its movie header claims.
        mdhd: the seconds that its track's header claims.
        version: of both headers.
        hdlr: the track's handler box.
        more: further boxes in `moov`.
    """
    track = box(b"trak", box(b"mdia", header(b"mdhd", mdhd, version=version), hdlr))
    return FTYP + box(b"moov", header(b"mvhd", mvhd, version=version), track, more)

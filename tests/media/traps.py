"""Traps: files that are no clips, refer to other files, or lie about themselves."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from av.audio.frame import AudioFrame

from .kinds import KINDS, picture

OUTSIDE = "/etc/passwd"  # what no trap may make anybody read
TRACKS = 2000
_ADDRESS = "http://127.0.0.1:9/outside.ts"  # nothing listens at the discard port


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Split ISO base media into the kinds and contents of its boxes (ISO/IEC 14496-12, 4.2)."""
    boxes, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        boxes.append((kind, data[at + 8 : at + size]))
        at += size
    return boxes


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _edit(data: bytes, path: str, change: Callable[[bytes], bytes]) -> bytes:
    """Change the content of each box at a path, such as `moov/trak/tkhd`.

    The index must be the last box, so that the offsets of the samples stay true.
    """
    kind, _, rest = path.partition("/")
    return b"".join(
        _box(
            each,
            content
            if each != kind.encode()
            else _edit(content, rest, change)
            if rest
            else change(content),
        )
        for each, content in _boxes(data)
    )


def _put(layout: str, at: int, *values: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        edited = bytearray(content)
        struct.pack_into(layout, edited, at, *values)
        return bytes(edited)

    return change


@cache
def _clip(kind: str) -> bytes:
    with TemporaryDirectory() as folder:
        return KINDS[kind](Path(folder)).read_bytes()


def _edited(folder: Path, name: str, *edits: tuple[str, Callable[[bytes], bytes]]) -> Path:
    data = _clip("index last")
    for where, change in edits:
        data = _edit(data, where, change)
    return _bytes(name, data, folder=folder)


def _with_tracks(index: bytes) -> bytes:
    """Repeat the first track under other identifiers."""
    boxes = _boxes(index)
    track = next(content for kind, content in boxes if kind == b"trak")
    more = (
        _box(b"trak", _edit(track, "tkhd", _put(">I", 12, number)))
        for number in range(len(boxes), TRACKS + len(boxes))
    )
    return b"".join(_box(*each) for each in boxes) + b"".join(more)


def _elsewhere(_: bytes) -> bytes:
    """Refer to a file outside, as an alias record (QuickTime File Format, data references)."""
    name = OUTSIDE.encode()
    record = bytes(10) + bytes(28) + bytes(12) + bytes((len(name),)) + name.ljust(63, b"\0")
    record += bytes(16) + struct.pack(">hh", 1, 2) + bytes(16)
    record += struct.pack(">hh", 2, len(name)) + name + bytes(len(name) % 2)
    record += struct.pack(">hh", -1, 0)
    return struct.pack(">II", 0, 1) + _box(b"alis", bytes(4) + record)


def _huge_entry(content: bytes) -> bytes:
    """Declare a size in the first sample entry (ISO/IEC 14496-12, 12.1.3)."""
    is_video = content[12:16] == b"avc1"
    return _put(">HH", 8 + 8 + 24, 20000, 20000)(content) if is_video else content


def _huge_track(content: bytes) -> bytes:
    """Declare a size in the header of a track, unless it is one of sound, without a size."""
    return _put(">II", 76, 20000 << 16, 20000 << 16)(content) if any(content[76:]) else content


def _png(name: str, side: int, *, folder: Path) -> Path:
    """Write a black, square PNG of one bit a pixel."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj()
    row = bytes(1 + (side + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content
        data += struct.pack(">I", zlib.crc32(kind + content))
    return _bytes(name, data, folder=folder)


def _bytes(name: str, data: bytes, *, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _text(name: str, text: str, *, folder: Path) -> Path:
    return _bytes(name, text.encode(), folder=folder)


def _zip(folder: Path) -> Path:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("clip.mp4", bytes(1000))
    return _bytes("zip.mp4", packed.getvalue(), folder=folder)


def _truncated(folder: Path) -> Path:
    """Write the first half of a clip whose index comes first."""
    data = _clip("plain mp4")
    return _bytes("truncated.mp4", data[: len(data) // 2], folder=folder)


def _song(folder: Path) -> Path:
    path = folder / "song.mp4"
    with av.open(str(path), "w", format="mp3") as output:
        audio = output.add_stream("libmp3lame", rate=44100, layout="stereo")
        frame = AudioFrame(format="fltp", layout="stereo", samples=44100)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 44100, 0
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    return path


def _huge_frames(folder: Path) -> Path:
    """Write a film whose frames, as PNG, declare 20000 x 20000 pixels themselves."""
    path = folder / "huge_frames.mov"
    with av.open(str(path), "w") as output:
        video = output.add_stream("png", rate=30)
        context = video.codec_context
        context.width, context.height, context.pix_fmt = 64, 64, "rgb24"
        for number in range(60):
            frame = picture(64, 64, number)
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    declared = struct.pack(">4sII", b"IHDR", 64, 64)
    data = path.read_bytes()
    header = data[data.index(declared) :][:17]
    huge = struct.pack(">4sII", b"IHDR", 20000, 20000) + header[12:]
    checked = [each + struct.pack(">I", zlib.crc32(each)) for each in (header, huge)]
    path.write_bytes(data.replace(*checked))
    return path


def _endless_segment(folder: Path) -> Path:
    """Declare a segment of 2^56 - 2 bytes, the most that EBML can say (RFC 8794, 4)."""
    data = _clip("mkv")
    size = data.index(bytes.fromhex("18538067")) + 4
    assert data[size] == 1  # a size of eight bytes
    lie = data[:size] + b"\x01" + b"\xff" * 6 + b"\xfe" + data[size + 8 :]
    return _bytes("endless.mkv", lie, folder=folder)


def _timescale(name: str, value: int) -> Callable[[Path], Path]:
    put = _put(">I", 12, value)
    edits = (("moov/mvhd", put), ("moov/trak/mdia/mdhd", put))
    return lambda folder: _edited(folder, name, *edits)


_PLAYLIST = f"""#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:2
#EXTINF:2.0,
file://{OUTSIDE}
#EXTINF:2.0,
{_ADDRESS}
#EXT-X-ENDLIST
"""
_CONCAT = f"ffconcat version 1.0\nfile '{OUTSIDE}'\nduration 2\nfile '{_ADDRESS}'\n"
_SESSION = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=clip
c=IN IP4 127.0.0.1
t=0 0
m=video 5004 RTP/AVP 96
a=rtpmap:96 H264/90000
"""
_DRAWING = f"""<svg xmlns="http://www.w3.org/2000/svg" width="320" height="240">
<image href="file://{OUTSIDE}" width="320" height="240"/></svg>
"""

TRAPS: Mapping[str, Callable[[Path], Path]] = {
    "hls playlist": lambda folder: _text("playlist.mp4", _PLAYLIST, folder=folder),
    "ffconcat script": lambda folder: _text("concat.mp4", _CONCAT, folder=folder),
    "sdp": lambda folder: _text("session.mp4", _SESSION, folder=folder),
    "text": lambda folder: _text("text.mp4", "This is not a clip.\n" * 100, folder=folder),
    "svg": lambda folder: _text("drawing.mp4", _DRAWING, folder=folder),
    "zip": _zip,
    "zeros": lambda folder: _bytes("zeros.mp4", bytes(100_000), folder=folder),
    "empty": lambda folder: _bytes("empty.mp4", b"", folder=folder),
    "truncated": _truncated,
    "mp3": _song,
    "png": lambda folder: _png("image.mp4", 64, folder=folder),
    "external reference": lambda folder: _edited(
        folder, "elsewhere.mov", ("moov/trak/mdia/minf/dinf/dref", _elsewhere)
    ),
    "thousands of tracks": lambda folder: _edited(folder, "tracks.mp4", ("moov", _with_tracks)),
    "huge size": lambda folder: _edited(
        folder,
        "huge.mp4",
        ("moov/trak/tkhd", _huge_track),
        ("moov/trak/mdia/minf/stbl/stsd", _huge_entry),
    ),
    "huge png": lambda folder: _png("bomb.mp4", 20000, folder=folder),
    "huge frames": _huge_frames,
    "endless segment": _endless_segment,
    "negative timescale": _timescale("negative.mp4", 0xFFFFFFFF),
    "huge timescale": _timescale("timescale.mp4", 0x7FFFFFFF),
}

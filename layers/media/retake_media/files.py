"""Opens video files by their content, and nothing else that they refer to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from retake.domain.refusal import Refusal

CURE = "export the clip as an ordinary video file, such as MP4, and drop it again"
MP4_OPTIONS = {"movflags": "+faststart"}  # the index first
MAX_TRACKS = 32
_START_BYTES = 4096
_PROBE_BYTES = 20_000_000  # that are read to find the tracks
_PROBE_SECONDS = 10
# ISO/IEC 14496-12, 4.2, and Apple's QuickTime File Format: the types of a file's first box.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_ASF = bytes.fromhex("3026b2758e66cf11")  # ASF specification, 3.1: the header object
# What is not a video, and often has the name of one.
_OTHER = (
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a concatenation script"),
    (b"v=0", "a session description (SDP)"),
    (b"<?xml", "an XML file"),
    (b"<svg", "an SVG image"),
    (b"<", "a markup file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"ID3", "a sound file"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a sound file"),
    (b"PK", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
)


class DamagedError(Exception):
    """A file cannot be read; the text says why, in plain words."""


def container_of(path: Path) -> str | Refusal:
    """Tell what kind of video file a file is by its first bytes.

    Returns:
        `mp4`, `mov`, `matroska`, `avi`, `mpegts`, `mpeg`, or `asf`; or the refusal.
    """
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    if not start:
        return Refusal("the clip is empty (0 bytes)", "upload it again; it was probably cut off")
    if start[4:8] in _FIRST_BOXES:
        is_quicktime = start[4:8] != b"ftyp" or start[8:12] == b"qt  "
        return "mov" if is_quicktime else "mp4"
    if start.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
        return "avi"
    if start.startswith(b"\0\0\1\xba"):
        return "mpeg"
    if start.startswith(_ASF):
        return "asf"
    for first, length in ((0, 188), (4, 192)):  # ISO/IEC 13818-1, 2.4.3.2; and Blu-ray's variant
        syncs = start[first::length]
        if len(syncs) > 4 and set(syncs) == {0x47}:
            return "mpegts"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next((name for prefix, name in _OTHER if text.startswith(prefix)), "not a video")
    return Refusal(f"the clip is {found} by its content, whatever its name says", CURE)


@contextmanager
def open_video(path: Path, container: str) -> Iterator[InputContainer]:
    """Open a video file with the demuxer of its container.

    The demuxer is not guessed, and no other file or address is opened: not by a playlist, not by a
    reference within an MP4.

    Raises:
        DamagedError: it cannot be opened.
    """
    try:
        opened = av.open(
            str(path),
            format="mov" if container == "mp4" else container,
            container_options={
                "protocol_whitelist": "file",
                "probesize": str(_PROBE_BYTES),
                "analyzeduration": str(_PROBE_SECONDS * 1_000_000),
                "max_streams": str(MAX_TRACKS),
            },
        )
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise DamagedError(f"it cannot be opened ({_words(error)})") from error
    try:
        yield opened
    except av.FFmpegError as error:
        raise DamagedError(f"it cannot be read to its end ({_words(error)})") from error
    finally:
        opened.close()


def picture_of(video: InputContainer) -> VideoStream | None:
    """Return the track with the picture: the default one, else the first; never a cover image."""
    tracks = [
        track
        for track in video.streams.video
        if track.codec_context is not None
        and not track.disposition & av.stream.Disposition.attached_pic
    ]
    default = [track for track in tracks if track.disposition & av.stream.Disposition.default]
    return next(iter(default or tracks), None)


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)

"""The footage for tests is what its names promise."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.container import InputContainer

from retake_media.look import is_streamable

from . import footage
from .kinds import KINDS, SECONDS, number_of
from .traps import OUTSIDE, TRACKS, TRAPS

FRAMES = {"60 fps": 120, "23.976 fps": 48, "mpeg ps": 50, "interlaced mts": 50, "uneven frames": 37}
CLICKS = {
    "wmv": [0.5, 1, 1.5],  # the codec loses its first block, and a click at 0 with it
    "short sound": [0, 0.5, 1],
    "late sound": [0.4, 0.9, 1.4, 1.9],
    "long sound": [0, 0.5, 1, 1.5, 2, 2.5],
}


def described(file: InputContainer) -> tuple[str, str, str, str]:
    """Return the container, the codec of the picture, its pixels, and the codec of the sound."""
    video = file.streams.video[0].codec_context
    voices = [each.codec_context.name for each in file.streams.audio]
    return file.format.name.split(",")[0], video.name, video.pix_fmt, "".join(voices)


H264 = ("mov", "h264", "yuv420p", "aac")
FORMATS = dict.fromkeys(KINDS, H264) | {
    "hlg mov": ("mov", "hevc", "yuv420p10le", "aac"),
    "pq mp4": ("mov", "hevc", "yuv420p10le", "aac"),
    "webm vp9": ("matroska", "vp9", "yuv420p", "opus"),
    "webm vp8": ("matroska", "vp8", "yuv420p", "vorbis"),
    "mkv": ("matroska", "h264", "yuv420p", "aac"),
    "mkv flac": ("matroska", "h264", "yuv420p", "flac"),
    "avi": ("avi", "mpeg4", "yuv420p", "mp3float"),
    "mpeg ps": ("mpeg", "mpeg2video", "yuv420p", "mp2"),
    "interlaced mts": ("mpegts", "mpeg2video", "yuv420p", "ac3"),
    "odd size": ("mov", "h264", "yuv444p", "aac"),
    "4:4:4": ("mov", "h264", "yuv444p", "aac"),
    "prores": ("mov", "prores", "yuv422p10le", "pcm_s16le"),
    "silent": ("mov", "h264", "yuv420p", ""),
    "wmv": ("asf", "wmv2", "yuv420p", "wmav2"),
    "3gp": ("mov", "h263", "yuv420p", "aac"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write each kind and each trap once."""
    folder = tmp_path_factory.mktemp("footage")
    return cache(lambda name: (KINDS | TRAPS)[name](folder))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_format_its_frames_in_order_and_its_sound(
    made: Callable[[str], Path], kind: str
) -> None:
    path = made(kind)
    with av.open(str(path)) as file:
        assert described(file) == FORMATS[kind]
        numbers = [number_of(frame) for frame in file.decode(file.streams.video[0])]
    assert numbers == list(range(FRAMES.get(kind, 60)))
    if kind == "silent":
        return
    assert footage.clicks(path) == pytest.approx(CLICKS.get(kind, [0, 0.5, 1, 1.5]), abs=0.03)


def frames(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as file:
        return list(file.decode(file.streams.video[0]))


@pytest.mark.parametrize(("kind", "rotation"), [("phone mov", -90), ("upside down", 180)])
def test_rotated_kinds_say_so(made: Callable[[str], Path], kind: str, rotation: int) -> None:
    assert frames(made(kind))[0].rotation % 360 == rotation % 360


def test_the_phone_writes_a_track_of_data(made: Callable[[str], Path]) -> None:
    with av.open(str(made("phone mov"))) as file:
        assert [each.type for each in file.streams] == ["video", "audio", "data"]
        assert file.streams.video[0].width > file.streams.video[0].height


@pytest.mark.parametrize(("kind", "transfer"), [("hlg mov", 18), ("pq mp4", 16), ("4:4:4", 1)])
def test_colors_are_tagged(made: Callable[[str], Path], kind: str, transfer: int) -> None:
    assert frames(made(kind))[0].color_trc == transfer


@pytest.mark.parametrize(("kind", "expected"), [("interlaced mts", True), ("mpeg ps", False)])
def test_only_one_kind_is_interlaced(
    made: Callable[[str], Path], kind: str, expected: bool
) -> None:
    assert {frame.interlaced_frame for frame in frames(made(kind))} == {expected}


def test_the_index_is_first_or_last_or_in_fragments(made: Callable[[str], Path]) -> None:
    assert is_streamable(made("plain mp4"))
    assert not is_streamable(made("index last"))
    fragmented = made("fragmented mp4").read_bytes()
    assert b"moof" in fragmented
    assert b"mehd" not in fragmented  # the box that would tell the length


def test_pixels_and_sizes(made: Callable[[str], Path]) -> None:
    with av.open(str(made("wide pixels"))) as file:
        assert str(file.streams.video[0].sample_aspect_ratio) == "64/45"
    odd = frames(made("odd size"))[0]
    assert (odd.width, odd.height) == (321, 241)


def test_frames_are_uneven_in_time(made: Callable[[str], Path]) -> None:
    gaps = {round(b - a, 3) for a, b in pairwise(footage.shown(made("uneven frames")))}
    assert len(gaps) > 2


@pytest.mark.parametrize(("kind", "seconds"), [("short sound", 1.5), ("long sound", 2.7)])
def test_sound_has_another_length_than_the_picture(
    made: Callable[[str], Path], kind: str, seconds: float
) -> None:
    path = made(kind)
    assert footage.length(path) == pytest.approx(SECONDS, abs=0.001)
    assert footage.length(path, "audio") == pytest.approx(seconds, abs=0.03)


@pytest.mark.parametrize(("kind", "channels", "rate"), [("mono", 1, 22050), ("5.1", 6, 48000)])
def test_channels_and_rates(
    made: Callable[[str], Path], kind: str, channels: int, rate: int
) -> None:
    with av.open(str(made(kind))) as file:
        voice = file.streams.audio[0]
        assert (voice.channels, voice.rate) == (channels, rate)


def has(text: str) -> Callable[[bytes], bool]:
    return lambda data: text.encode() in data


@pytest.mark.parametrize(
    ("trap", "is_there"),
    [
        ("hls playlist", has(f"file://{OUTSIDE}")),
        ("ffconcat script", has(f"file '{OUTSIDE}'")),
        ("sdp", has("m=video")),
        ("svg", has(f"file://{OUTSIDE}")),
        ("external reference", has(OUTSIDE)),
        ("zip", lambda data: data.startswith(b"PK")),
        ("png", lambda data: data.startswith(b"\x89PNG")),
        ("huge png", lambda data: len(data) < 100_000 and data[16:24] == b"\0\0\x4e\x20" * 2),
        ("zeros", lambda data: not any(data) and len(data) > 0),
        ("empty", lambda data: data == b""),
        ("thousands of tracks", lambda data: data.count(b"tkhd") > TRACKS),
        ("huge size", lambda data: b"\x4e\x20\x4e\x20" in data),
        ("huge frames", lambda data: data.count(b"IHDR" + b"\0\0\x4e\x20" * 2) == 60),
        ("endless segment", lambda data: b"\x18\x53\x80\x67\x01\xff" in data),
        ("negative timescale", lambda data: data.count(b"\xff\xff\xff\xff") >= 3),
        ("huge timescale", lambda data: data.count(b"\x7f\xff\xff\xff") >= 3),
    ],
)
def test_each_trap_holds_what_it_is_named_after(
    made: Callable[[str], Path], trap: str, is_there: Callable[[bytes], bool]
) -> None:
    assert is_there(made(trap).read_bytes())


def test_a_truncated_clip_loses_frames(made: Callable[[str], Path]) -> None:
    with av.open(str(made("truncated"))) as file:
        video = file.streams.video[0]
        sizes = [packet.size for packet in file.demux(video) if packet.size]
        assert 0 < len(sizes) < video.frames


def test_a_song_has_no_picture(made: Callable[[str], Path]) -> None:
    with av.open(str(made("mp3"))) as file:
        assert [each.type for each in file.streams] == ["audio"]


def test_every_file_has_its_own_name(made: Callable[[str], Path]) -> None:
    written = [made(name) for name in (*KINDS, *TRAPS)]
    assert sorted(written) == sorted(written[0].parent.iterdir())

"""Ordinary kinds of footage: what phones, browsers, cameras, and editors write.

Every clip shows an orange block that moves to the right over a gradient, above eight bars that
tell the number of the frame: bright is 1, dark is 0, the highest bit first. It sounds like a
rising tone with noise and a click every half second, so that a shift can be measured.
"""

import math
import random
from array import array
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

SECONDS = 2
SIZE = (320, 240)
PORTRAIT = (240, 320)
BT709, HLG, PQ = (1, 1, 1), (9, 18, 9), (9, 16, 9)  # primaries, transfer, matrix: ITU-T H.273
_BARS = 8
_ORANGE = bytes((235, 130, 30))
_QUIET_X265 = {"x265-params": "log-level=error"}


def picture(width: int, height: int, number: int, *, interlaced: bool = False) -> VideoFrame:
    """Draw a frame.

    Parameters:
        width, height: in pixels.
        number: of the frame; the bars tell it modulo 256.
        interlaced: whether every other row shows the block half a frame later.

    Returns:
        The frame, as 8-bit RGB.
    """
    side = height // 4
    row = b"".join(bytes((30 + 90 * x // width, 60, 120 - 90 * x // width)) for x in range(width))

    def with_block(half_frames: int) -> bytes:
        left = 2 * half_frames % (width - side)
        return row[: 3 * left] + _ORANGE * side + row[3 * (left + side) :]

    fields = [with_block(2 * number), with_block(2 * number + interlaced)]
    bars = b"".join(
        (b"\xeb" if number >> (_BARS - 1 - x * _BARS // width) & 1 else b"\x14") * 3
        for x in range(width)
    )
    rows = [
        bars if 4 * y >= 3 * height else fields[y % 2] if side // 2 <= y < 3 * side // 2 else row
        for y in range(height)
    ]
    frame = VideoFrame(width, height, "rgb24")
    plane = frame.planes[0]
    padding = bytes(plane.line_size - 3 * width)
    plane.update(b"".join(each + padding for each in rows))
    return frame


def number_of(frame: VideoFrame) -> int:
    """Return the number that the bars of a frame tell, as a viewer sees them.

    Parameters:
        frame: decoded; its rotation is applied.
    """
    gray = frame.reformat(format="gray")
    stored, line = bytes(gray.planes[0]), gray.planes[0].line_size
    number = 0
    for bar in range(_BARS):
        across, down = (bar + 0.5) / _BARS, 0.875
        x, y = {
            0: (across, down),
            90: (1 - down, across),
            180: (1 - across, 1 - down),
            270: (down, 1 - across),
        }[frame.rotation % 360]
        number = 2 * number + (stored[int(y * gray.height) * line + int(x * gray.width)] > 127)
    return number


@cache
def sound(rate: int, channels: int, seconds: float) -> tuple[array, ...]:
    """Compose a tone that rises from 200 to 2000 Hz, with noise, and a click every half second.

    Parameters:
        rate: samples a second.
        channels: each has noise of its own.
        seconds: the length.

    Returns:
        The samples of each channel, from -1 to 1.
    """
    noise = random.Random(14)
    samples = range(round(rate * seconds))
    tone = [
        0.06 * math.sin(2 * math.pi * (200 * at + 450 * at * at)) + (0.6 if at % 0.5 < 0.005 else 0)
        for at in (sample / rate for sample in samples)
    ]
    return tuple(
        array("f", (each + noise.uniform(-0.015, 0.015) for each in tone)) for _ in range(channels)
    )


def _write(
    name: str,
    folder: Path,
    *,
    format: str | None = None,  # noqa: A002 - as PyAV calls it
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 30,
    size: tuple[int, int] = SIZE,
    times: list[int] | None = None,
    filters: str = "",
    rotation: int = 0,
    interlaced: bool = False,
    aspect: Fraction | None = None,
    colors: tuple[int, int, int] = BT709,
    codec_options: dict[str, str] | None = None,
    voice: str | None = "aac",
    voice_rate: int = 48000,
    layout: str = "stereo",
    voice_starts: float = 0,
    voice_seconds: float = SECONDS,
    voice_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    path = folder / name
    with av.open(str(path), "w", format=format, options=options or {}) as output:
        output.metadata.update(metadata or {})
        fast = {"preset": "veryfast"} if codec.startswith("libx26") else {}
        video = output.add_stream(codec, rate=rate, options=fast | (codec_options or {}))
        context = video.codec_context
        turned = rotation % 180 != 0
        context.width, context.height = reversed(size) if turned else size
        context.pix_fmt, context.thread_count = pix_fmt, 1
        context.color_primaries, context.color_trc, context.colorspace = colors
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(rotation)
        audio = output.add_stream(voice, rate=voice_rate, layout=layout) if voice else None
        if audio and voice_options:
            audio.codec_context.options = voice_options
        heard = _frames_of_sound(voice_rate, layout, voice_seconds, voice_starts) if audio else []
        numbers = times or range(round(SECONDS * rate))
        for number, at in enumerate(numbers):
            while heard and heard[0].time <= at / rate:
                output.mux(audio.encode(heard.pop(0)))
            frame = picture(*size, number, interlaced=interlaced)
            frame = _filtered(frame, filters).reformat(
                format=pix_fmt, dst_colorspace=Colorspace.ITU709
            )
            frame.pts, frame.time_base = at, 1 / Fraction(rate)
            output.mux(video.encode(frame))
        for each in heard:
            output.mux(audio.encode(each))
        output.mux(video.encode(None))
        if audio:
            output.mux(audio.encode(None))
    return path


def _frames_of_sound(rate: int, layout: str, seconds: float, starts: float) -> list[AudioFrame]:
    channels = sound(rate, av.AudioLayout(layout).nb_channels, seconds)
    frames = []
    for at in range(0, len(channels[0]), 1024):
        pieces = [each[at : at + 1024] for each in channels]
        frame = AudioFrame(format="fltp", layout=layout, samples=len(pieces[0]))
        for plane, piece in zip(frame.planes, pieces, strict=True):
            plane.update(piece.tobytes().ljust(plane.buffer_size, b"\0"))
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(starts * rate) + at
        frames.append(frame)
    return frames


def _filtered(frame: VideoFrame, filters: str) -> VideoFrame:
    if not filters:
        return frame
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    graph = Graph()
    steps = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
    ]
    for each in filters.split(","):
        name, _, arguments = each.partition("=")
        steps.append(graph.add(name, arguments))
    steps.append(graph.add("buffersink"))
    graph.link_nodes(*steps).configure()
    graph.push(frame)
    return graph.pull()


_UNEVEN = [
    number + number // 3 + 2 * (number // 7) for number in range(37)
]  # in thirtieths of a second

KINDS: Mapping[str, Callable[[Path], Path]] = {
    "plain mp4": partial(_write, "plain.mp4", options={"movflags": "faststart"}),
    "phone mov": partial(
        _write,
        "IMG_0001.MOV",
        format="mov",
        size=PORTRAIT,
        rotation=-90,
        filters="transpose=cclock",
        metadata={"timecode": "01:00:00:00"},
    ),
    "hlg mov": partial(
        _write,
        "hlg.mov",
        codec="libx265",
        pix_fmt="yuv420p10le",
        colors=HLG,
        codec_options=_QUIET_X265,
    ),
    "pq mp4": partial(
        _write,
        "pq.mp4",
        codec="libx265",
        pix_fmt="yuv420p10le",
        colors=PQ,
        codec_options=_QUIET_X265,
    ),
    "upside down": partial(_write, "upside_down.mp4", rotation=180, filters="hflip,vflip"),
    "fragmented mp4": partial(
        _write,
        "fragmented.mp4",
        options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    ),
    "index last": partial(_write, "index_last.mp4"),
    "webm vp9": partial(
        _write,
        "vp9.webm",
        codec="libvpx-vp9",
        voice="libopus",
        codec_options={"deadline": "realtime", "cpu-used": "8"},
    ),
    "webm vp8": partial(
        _write,
        "vp8.webm",
        codec="libvpx",
        voice="vorbis",
        codec_options={"deadline": "realtime", "cpu-used": "8"},
        voice_options={"strict": "experimental"},
    ),
    "mkv": partial(_write, "clip.mkv"),
    "mkv flac": partial(_write, "flac.mkv", voice="flac"),
    "avi": partial(_write, "clip.avi", codec="mpeg4", voice="libmp3lame"),
    "mpeg ps": partial(_write, "clip.mpg", format="mpeg", codec="mpeg2video", rate=25, voice="mp2"),
    "interlaced mts": partial(
        _write,
        "00001.MTS",
        format="mpegts",
        codec="mpeg2video",
        rate=25,
        interlaced=True,
        filters="setfield=tff",
        voice="ac3",
        codec_options={"flags": "+ildct+ilme"},
    ),
    "wide pixels": partial(_write, "wide_pixels.mp4", aspect=Fraction(64, 45)),
    "odd size": partial(_write, "odd.mp4", size=(321, 241), pix_fmt="yuv444p"),
    "4:4:4": partial(_write, "444.mp4", pix_fmt="yuv444p"),
    "prores": partial(
        _write, "prores.mov", codec="prores_ks", pix_fmt="yuv422p10le", voice="pcm_s16le"
    ),
    "uneven frames": partial(_write, "uneven.mp4", times=_UNEVEN),
    "60 fps": partial(_write, "60fps.mp4", rate=60),
    "23.976 fps": partial(_write, "film.mp4", rate=Fraction(24000, 1001)),
    "silent": partial(_write, "silent.mp4", voice=None),
    "wmv": partial(_write, "clip.wmv", codec="wmv2", voice="wmav2", voice_options={"b": "128000"}),
    "3gp": partial(_write, "clip.3gp", codec="h263", size=(176, 144), voice_rate=22050),
    "late sound": partial(_write, "late.mp4", voice_starts=0.4, voice_seconds=1.6),
    "short sound": partial(_write, "short.mp4", voice_seconds=1.5),
    "long sound": partial(_write, "long.mp4", voice_seconds=2.7),
    "mono": partial(_write, "mono.mp4", voice_rate=22050, layout="mono"),
    "5.1": partial(_write, "surround.mp4", layout="5.1"),
    "m4v": partial(_write, "clip.m4v", format="ipod"),
}

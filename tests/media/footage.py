"""Footage for tests: a block that moves over a gradient, and a click every half second."""

from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

SIZE = (160, 120)
CLICK_SECONDS = 0.5
_BLOCK = 24  # pixels


def picture(number: int, width: int, height: int) -> VideoFrame:
    """Draw a frame: bright at the top left, a white block that moves right, a dark lower half."""
    left = 4 * number % (width - _BLOCK)
    row = bytes(40 + 100 * x // width for x in range(width))
    with_block = row[:left] + b"\xeb" * _BLOCK + row[left + _BLOCK :]
    rows = [
        with_block if height // 8 <= y < height // 8 + _BLOCK else row if y < height // 2 else None
        for y in range(height)
    ]
    frame = VideoFrame(width, height, "gray")
    plane = frame.planes[0]
    padding = bytes(plane.line_size - width)
    plane.update(b"".join((each or b"\x30" * width) + padding for each in rows))
    return frame


def sound(rate: int, layout: str, seconds: float, starts: float = 0) -> Iterator[AudioFrame]:
    """Yield frames of silence with a click of 10 ms every half second, from 0.25 s on."""
    samples, at = round(rate * seconds), 0
    first = round(rate * starts)
    while at < samples:
        length = min(1024, samples - at)
        frame = AudioFrame(format="fltp", layout=layout, samples=length)
        values = array("f", (_level(at + each, rate) for each in range(length)))
        for plane in frame.planes:
            plane.update(values.tobytes().ljust(plane.buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = rate, first + at, Fraction(1, rate)
        yield frame
        at += length


def _level(sample: int, rate: int) -> float:
    since = (sample / rate - CLICK_SECONDS / 2) % CLICK_SECONDS
    return (0.8 if int(since * 2000) % 2 else -0.8) if since < 0.01 else 0.0


def write(
    path: Path,
    *,
    codec: str = "libx264",
    rate: Fraction | int = 30,
    seconds: float = 2,
    size: tuple[int, int] = SIZE,
    pix_fmt: str = "yuv420p",
    voice: str | None = "aac",
    voice_rate: int = 48000,
    layout: str = "stereo",
    voice_seconds: float | None = None,
    voice_starts: float = 0,
    rotation: int = 0,
    aspect: Fraction | None = None,
    times: list[int] | None = None,
    drawing: Any = picture,
    codec_options: dict[str, str] | None = None,
    colors: tuple[int, int, int] | None = None,
    **options: str,
) -> Path:
    """Write a clip.

    Parameters:
        path: the file; its suffix decides about the container.
        times: when the frames are shown, in frames; otherwise one after another.
        drawing: draws a frame from its number and the size.
        colors: primaries, transfer, and matrix, by their numbers.
        options: of the container.
    """
    with av.open(str(path), "w", options=options) as output:
        video = output.add_stream(codec, rate=rate, options=codec_options or {})
        context = video.codec_context
        context.width, context.height, context.pix_fmt = *size, pix_fmt
        if aspect:
            context.sample_aspect_ratio = aspect
        if colors:
            context.color_primaries, context.color_trc, context.colorspace = colors
        if rotation:
            video.set_display_rotation(rotation)
        audio = output.add_stream(voice, rate=voice_rate, layout=layout) if voice else None
        length = voice_seconds or seconds
        heard = sound(voice_rate, layout, length, voice_starts) if audio else iter(())
        resampler = av.AudioResampler(audio.format, layout, voice_rate) if audio else None

        def hear(frame: AudioFrame | None) -> None:
            for piece in resampler.resample(frame):
                output.mux(audio.encode(piece))

        pending = next(heard, None)
        for number in range(round(seconds * rate)):
            at = times[number] if times else number
            while pending is not None and pending.time <= at / rate:
                output.mux(
                    [each for piece in resampler.resample(pending) for each in audio.encode(piece)]
                )
                pending = next(heard, None)
            frame = drawing(number, *size).reformat(format=pix_fmt)
            frame.pts, frame.time_base = at, 1 / Fraction(rate)
            output.mux(video.encode(frame))
        while pending is not None:
            output.mux(
                [each for piece in resampler.resample(pending) for each in audio.encode(piece)]
            )
            pending = next(heard, None)
        output.mux(video.encode(None))
        if audio:
            hear(None)
            output.mux(audio.encode(None))
    return path


def clicks(path: Path) -> list[float]:
    """Return when the clicks are heard, in seconds after the first frame is shown, if any is."""
    with av.open(str(path)) as file:
        picture = next(iter(file.streams.video), None)
        begins = float((picture.start_time or 0) * picture.time_base) if picture else 0.0
        resampler = av.AudioResampler("flt", "mono", 48000)
        found: list[float] = []
        after = 0.0  # frames of Windows Media share the time of their packet's first
        for frame in file.decode(file.streams.audio[0]):
            for piece in resampler.resample(frame):
                values = array("f", bytes(piece.planes[0])[: piece.samples * 4])
                starts = after if piece.time is None else piece.time
                after = starts + piece.samples / 48000
                for number, value in enumerate(values):
                    at = starts + number / 48000 - begins
                    if abs(value) > 0.3 and (not found or at - found[-1] > CLICK_SECONDS / 2):
                        found.append(at)
    return found


def packets(path: Path, kind: str = "audio") -> list[bytes]:
    """Return the packets of a track."""
    with av.open(str(path)) as file:
        track = getattr(file.streams, kind)[0]
        return [bytes(packet) for packet in file.demux(track) if packet.size]


def shown(path: Path) -> list[float]:
    """Return when the frames are shown, in seconds."""
    with av.open(str(path)) as file:
        return [frame.time for frame in file.decode(file.streams.video[0])]


def length(path: Path, kind: str = "video") -> float:
    """Return how long a track is, in seconds."""
    with av.open(str(path)) as file:
        track = getattr(file.streams, kind)[0]
        return float(track.duration * track.time_base)

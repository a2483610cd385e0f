"""Copies a picture packet by packet, and shows its frames evenly over a given length."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from .files import MP4_OPTIONS, DamagedError, picture_of
from .look import MAX_PACKETS, timing_of

_TICKS = 1000  # of the output's clock for each frame, so that all frames are equally long
# What the packets say about their colors where they say nothing: ITU-T H.264 and H.265, annex E.
_BT709 = "colour_primaries=1:transfer_characteristics=1:matrix_coefficients=1"
_UNTAGGED = 2
_TAGGERS = {"h264": "h264_metadata", "hevc": "hevc_metadata"}
COPIED = frozenset(_TAGGERS)  # codecs that play everywhere in an MP4


class PictureCopy:
    """A picture that is copied into an MP4.

    Parameters:
        video: the file with the picture, at its start.

    Attributes:
        codec: of the picture.
        timing: of the picture as it is in its file.
    """

    def __init__(self, video: InputContainer) -> None:
        found = picture_of(video)
        if found is None:
            raise DamagedError("it has no picture")
        self._video, self._picture = video, found
        shown, longest = _timestamps(video, found)
        timing = timing_of([pts for pts in shown if pts is not None], found.time_base, longest)
        if timing is None:
            raise DamagedError("it has no frames")
        self.codec, self.timing = found.codec_context, timing
        self._shown = shown
        self._timescale = 0
        self._stream: VideoStream | None = None
        self._seconds = Fraction(0)

    def options(self, seconds: Fraction) -> dict[str, str]:
        """Return the options of an MP4 in which the picture lasts so many seconds."""
        self._seconds = seconds
        self._timescale = round(_TICKS * self.timing.frames / seconds)
        return {**MP4_OPTIONS, "video_track_timescale": str(self._timescale)}

    def begin(self, output: OutputContainer) -> None:
        """Add the picture to an MP4 that was opened with `options`."""
        codec = self.codec
        stream: Any = output.add_stream_from_template(self._picture)
        stream.codec_context.codec_tag = "hvc1" if codec.name == "hevc" else "avc1"
        stream.metadata.clear()
        self._stream = stream
        self._filter = None
        if int(codec.color_primaries) == _UNTAGGED and codec.name in _TAGGERS:
            description = f"{_TAGGERS[codec.name]}={_BT709}"
            self._filter = BitStreamFilterContext(description, self._picture, stream)

    def packets(self) -> Iterator[av.Packet]:
        """Yield the packets in their order in the file, with their new timestamps."""
        times = iter(self._times())
        self._video.seek(0)
        for packet in self._video.demux(self._picture):
            if packet.size == 0:
                continue
            packet.pts, packet.dts, packet.duration = next(times)
            packet.time_base = Fraction(1, self._timescale)
            filtered = self._filter.filter(packet) if self._filter else [packet]
            for each in filtered:
                each.stream = self._stream
                yield each

    def _times(self) -> list[tuple[int, int, int]]:
        """Return presentation, decoding time and duration of each packet, in ticks."""
        shown = sorted({pts for pts in self._shown if pts is not None})
        if self.timing.is_constant:
            places = {pts: place * _TICKS for place, pts in enumerate(shown)}
        else:
            ticks = self._seconds * self._timescale / Fraction(self.timing.seconds)
            base = self._picture.time_base
            places = {pts: round((pts - shown[0]) * base * ticks) for pts in shown}
        ends = [*sorted(places.values())[1:], round(self._seconds * self._timescale)]
        lasts = dict(zip(sorted(places.values()), ends, strict=True))
        # Packets that are only decoded, before the first frame that is shown, come before it.
        early = sum(pts is None for pts in self._shown)
        wanted = [
            places[pts] if pts is not None else (number - early) * _TICKS
            for number, pts in enumerate(self._shown)
        ]
        in_order = sorted(wanted)
        delay = max(in_order[number] - pts for number, pts in enumerate(wanted))
        return [
            (pts, in_order[number] - delay, lasts.get(pts, pts + _TICKS) - pts)
            for number, pts in enumerate(wanted)
        ]


def _timestamps(video: InputContainer, picture: VideoStream) -> tuple[list[int | None], int]:
    """Return when each packet is shown, `None` for one that is only decoded; and the longest."""
    shown: list[int | None] = []
    longest = 0
    for packet in video.demux(picture):
        if packet.size == 0:
            continue
        if len(shown) > MAX_PACKETS:
            raise DamagedError(f"it has more than {MAX_PACKETS:,} packets")
        is_hidden = packet.pts is None or packet.is_discard
        shown.append(None if is_hidden else packet.pts)
        longest = max(longest, packet.duration or 0)
    return shown, longest

"""HDR becomes SDR with the colors that it had, and highlights that are not cut."""

import math
import struct
from fractions import Fraction

import pytest
from av.filter import Graph
from av.video.frame import VideoFrame

from retake_media.convert import _tone_map
from retake_media.filters import chain

# Linear light in the primaries of BT.2020, of colors in those of bt709 (ITU-R BT.2087, annex 1).
COLORS = {
    "white": (1, 1, 1),
    "gray": (0.2, 0.2, 0.2),
    "red": (0.6274, 0.0691, 0.0164),
    "green": (0.3293, 0.9195, 0.0880),
    "blue": (0.0433, 0.0114, 0.8956),
}
WHITE, GRAY = 236, 111  # 92 %, and 0.2 by the curve of bt709, of 255


def hlg(light: float) -> float:
    """Encode light, relative to reference white (ITU-R BT.2100, table 5)."""
    scene = 0.265 * light
    if scene <= 1 / 12:
        return math.sqrt(3 * scene)
    return 0.17883277 * math.log(12 * scene - 0.28466892) + 0.55991073


def pq(light: float) -> float:
    """Encode light, relative to reference white of 203 cd/m² (ITU-R BT.2100, table 4)."""
    power = (203 * light / 10000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def converted(signal: list[float], transfer: str) -> tuple[int, ...]:
    """Convert a frame of one color, and return its red, green, and blue."""
    frame = VideoFrame(32, 32, "gbrp10le")
    for plane, value in zip(frame.planes, (signal[1], signal[2], signal[0]), strict=True):
        plane.update(struct.pack("<H", round(1023 * min(1, value))) * (plane.buffer_size // 2))
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    frame.color_primaries, frame.color_trc = 9, {"hlg": 18, "pq": 16}[transfer]
    graph = Graph()
    size = "video_size=32x32:pix_fmt=gbrp10le:time_base=1/30:pixel_aspect=1/1"
    source = graph.add("buffer", f"{size}:colorspace=0:range=2")
    chain(graph, source, [*_tone_map(transfer), "format=yuv444p"], "buffersink")
    graph.push(frame)
    return tuple(bytes(graph.vpull().reformat(format="rgb24").planes[0])[:3])


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(("transfer", "encode"), [("hlg", hlg), ("pq", pq)])
def test_a_color_stays_what_it_was(transfer: str, encode: object, color: str) -> None:
    assert callable(encode)
    found = converted([encode(light) for light in COLORS[color]], transfer)
    full = GRAY if color == "gray" else WHITE
    expected = {
        "red": (full, 0, 0),
        "green": (0, full, 0),
        "blue": (0, 0, full),
    }.get(color, (full, full, full))
    assert found == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(("transfer", "encode"), [("hlg", hlg), ("pq", pq)])
def test_highlights_differ_from_white_and_from_each_other(transfer: str, encode: object) -> None:
    assert callable(encode)
    levels = [converted([encode(light)] * 3, transfer)[0] for light in (0.5, 1, 1.5, 2, 3)]
    assert levels == sorted(set(levels))
    assert levels[-1] >= 250

"""What a clip is, and what has to be done so that the model takes it. Pure decisions, no video."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from .limits import MAX_CLIP_BYTES

# ISO/IEC 23091-2, 8.2: what color_trc, color_primaries and colorspace are in a video.
TRANSFERS = {1: "bt709", 16: "pq", 18: "hlg"}
HDR = frozenset({"pq", "hlg"})
# MP4 is promised, nothing else (docs.segmind.com), so the rest is what every decoder takes.
_PLAIN_PROFILES = ("Baseline", "Constrained Baseline", "Main", "High")
_COPIED_CONTAINERS = ("mp4", "mov", "matroska")
MAX_FRAME_RATE = 60  # that is sent as it is
MAX_CONVERTED_FRAME_RATE = 30  # of what is encoded anyway: the model gives 24 frames a second back
_COMMON_RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")
)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """The sound of a clip.

    Attributes:
        codec: as FFmpeg names it.
        channels: how many.
        rate: samples a second.
        seconds: from its first sample to its last.
    """

    codec: str
    channels: int
    rate: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Footage:
    """What a clip was found to be. Written by prepare.

    Attributes:
        size: bytes.
        container: `mp4`, `mov`, `matroska`, `avi`, `mpegts`, `mpeg`, or `asf`.
        codec: of the picture, as FFmpeg names it.
        profile: of the codec; empty if it has none.
        pixel_format: as FFmpeg names it.
        width: pixels, as stored.
        height: pixels, as stored.
        rotation: degrees by which it must be turned counterclockwise to be upright.
        sample_aspect: width by height of a pixel, such as `64/45`.
        frames: how many are shown.
        seconds: from the first frame to the end of the last.
        frame_rate: mean frames a second.
        is_constant: whether all frames are shown equally long.
        is_interlaced: whether a frame holds two fields.
        transfer: `bt709`, `hlg`, `pq`, or another that is not known.
        is_bt709: whether its colors are tagged as those of bt709, or not at all.
        is_streamable: whether an MP4 has its index first and is not fragmented.
        tracks: of all kinds.
        sound: its sound; `None` if it is silent.
    """

    size: int
    container: str
    codec: str
    profile: str
    pixel_format: str
    width: int
    height: int
    rotation: int = 0
    sample_aspect: str = "1"
    frames: int
    seconds: float
    frame_rate: float
    is_constant: bool = True
    is_interlaced: bool = False
    transfer: str = ""
    is_bt709: bool = True
    is_streamable: bool = True
    tracks: int = 1
    sound: Sound | None = None

    @property
    def is_hdr(self) -> bool:
        """Tell whether its brightness is coded for an HDR display."""
        return self.transfer in HDR

    @property
    def upright(self) -> tuple[int, int]:
        """Return the width and height that a viewer sees, in square pixels."""
        width, height = round(self.width * Fraction(self.sample_aspect)), self.height
        return (height, width) if self.rotation % 180 else (width, height)

    def describe(self) -> str:
        """Describe the clip in one line."""
        width, height = self.upright
        sound = f"{self.sound.codec}, {self.sound.channels} ch" if self.sound else "no sound"
        hdr = f" {self.transfer.upper()}" if self.is_hdr else ""
        rate = f"{self.frame_rate:.3f}".rstrip("0").rstrip(".")
        return (
            f"{width}×{height}, {rate} fps, {self.codec}{hdr}, {self.seconds:.1f} s, "
            f"{self.size / 1e6:.1f} MB, {sound}"
        )


@dataclass(frozen=True)
class Plan:
    """What has to be done to a clip.

    Attributes:
        width: pixels of what is sent.
        height: pixels of what is sent.
        rate: frames a second of what is sent.
        encodes: whether the picture is encoded again; otherwise its packets are copied.
        steps: what is done, in plain words; none if the clip is sent as it is.
    """

    width: int
    height: int
    rate: Fraction
    encodes: bool
    steps: tuple[str, ...]


def plan(footage: Footage, short_side: int | None) -> Plan:
    """Decide what has to be done so that the model takes a clip.

    Parameters:
        footage: the clip.
        short_side: the most pixels of the short side that are sent; `None` for as many as it has.
    """
    width, height = sent_size(footage, short_side)
    encoding = list(_encoding_steps(footage, (width, height)))
    rate = _nearest_rate(footage.frame_rate)
    if encoding:
        while rate > MAX_CONVERTED_FRAME_RATE:
            rate /= 2
        encoding.append(f"encoded as H.264 at {float(rate):.5g} fps")
    packing = list(_packing_steps(footage))
    return Plan(width, height, rate, bool(encoding), tuple(encoding or packing))


def _encoding_steps(footage: Footage, size: tuple[int, int]) -> list[str]:
    """Return what cannot be done without encoding the picture again."""
    steps = []
    is_plain = footage.codec == "h264" and footage.profile in _PLAIN_PROFILES
    if footage.is_interlaced:
        steps.append("deinterlaced")
    if footage.is_hdr:
        steps.append(f"tone-mapped from {footage.transfer.upper()} to bt709")
    elif not is_plain or footage.pixel_format != "yuv420p":
        steps.append(f"converted from {footage.codec} {footage.pixel_format}")
    elif not footage.is_bt709:
        steps.append("converted to the colors of bt709")
    if footage.rotation:
        steps.append("turned upright")
    if Fraction(footage.sample_aspect) != 1:
        steps.append("given square pixels")
    if size != footage.upright:
        steps.append(f"scaled to {size[0]}×{size[1]}")
    if not footage.is_constant:
        steps.append("given a constant frame rate")
    if footage.frame_rate > MAX_FRAME_RATE * 1.001:
        steps.append("given a lower frame rate")
    if footage.size > MAX_CLIP_BYTES:
        steps.append(f"made smaller than {MAX_CLIP_BYTES // 1_000_000} MB")
    if not steps and footage.container not in _COPIED_CONTAINERS:
        steps.append(f"converted from {footage.container}")
    return steps


def _packing_steps(footage: Footage) -> list[str]:
    """Return what can be done by copying the picture into another file."""
    steps = []
    if footage.container != "mp4":
        steps.append("copied into an MP4")
    if not footage.is_streamable:
        steps.append("given its index at the start")
    if footage.tracks > 1:
        steps.append("reduced to its picture")
    return steps


@lru_cache(maxsize=64)
def sent_size(footage: Footage, short_side: int | None) -> tuple[int, int]:
    """Return the even size of what is sent: the shape of the clip, and not larger.

    Parameters:
        footage: the clip.
        short_side: the most pixels of the short side; `None` for as many as it has.
    """
    size = footage.upright
    scale = min(Fraction(1), Fraction(short_side or min(size), min(size)))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in size)
    return width, height


def _nearest_rate(rate: float) -> Fraction:
    """Return a rate that is used for video, if there is one as near as timestamps are exact."""
    nearest = min(_COMMON_RATES, key=lambda common: abs(common - rate))
    if abs(nearest - rate) < 0.005 * rate:
        return nearest
    return Fraction(rate).limit_denominator(1001)

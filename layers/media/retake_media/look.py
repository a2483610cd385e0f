"""Looks at a clip once: what it is, how long, and whether it can be a clip at all."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from retake.domain.footage import TRANSFERS, Footage, Sound
from retake.domain.refusal import Refusal

from .files import CURE, DamagedError, container_of, open_video, picture_of

MAX_PIXELS = 8192 * 4320  # of a frame; the largest that H.264 and cameras have
MIN_SIDE = 32  # pixels
MAX_PACKETS = 100_000  # of all tracks; two minutes have about ten thousand
MAX_FRAME_RATE = 480
_DOLBY_VISION_5 = ("dvh1", "dvhe")  # Dolby Vision streams within ISO base media, 5.2


@dataclass(frozen=True)
class Timing:
    """When the frames of a picture are shown.

    Attributes:
        starts: when the first is shown, in seconds of the file.
        frames: how many.
        seconds: from the first to the end of the last.
        is_constant: whether all are shown equally long, as exactly as the file says it.
    """

    starts: float
    frames: int
    seconds: float
    is_constant: bool


def look(path: Path, *, max_seconds: float) -> Footage | Refusal:
    """Look at a clip.

    Parameters:
        path: the file; its name does not matter.
        max_seconds: the length that it must stay under.

    Returns:
        What it is; or why it cannot be a clip.
    """
    container = container_of(path)
    if isinstance(container, Refusal):
        return container
    try:
        with open_video(path, container) as video:
            return _look(video, path, container, max_seconds)
    except DamagedError as error:
        return Refusal(f"the clip is damaged: {error}", CURE)


def _look(
    video: InputContainer, path: Path, container: str, max_seconds: float
) -> Footage | Refusal:
    picture = picture_of(video)
    if picture is None:
        return Refusal("the clip has no picture", CURE)
    codec = picture.codec_context
    refusal = _refuse_track(picture)
    if refusal:
        return refusal
    first = _first_frame(video, picture)
    video.seek(0)
    sound = next(iter(video.streams.audio), None)
    timing, sound_seconds = _read(video, picture, sound)
    if timing is None:
        return Refusal("the clip has no frames", CURE)
    if picture.frames and timing.frames < 0.98 * picture.frames - 2 and container in ("mp4", "mov"):
        raise DamagedError(f"{timing.frames} of its {picture.frames} frames are there")
    if timing.seconds >= max_seconds:
        return Refusal(
            f"the clip lasts {timing.seconds:.1f} s; it must be shorter than {max_seconds:g} s",
            "cut it into shorter clips (ffmpeg -i clip.mp4 -t 25 -c copy short.mp4)",
        )
    if timing.frames / timing.seconds > MAX_FRAME_RATE:
        return Refusal(f"the clip has {timing.frames / timing.seconds:.0f} frames a second", CURE)
    aspect = picture.sample_aspect_ratio or codec.sample_aspect_ratio or Fraction(1)
    return Footage(
        size=path.stat().st_size,
        container=container,
        codec=codec.name,
        profile=codec.profile or "",
        pixel_format=first.format.name,
        width=first.width,
        height=first.height,
        rotation=first.rotation % 360,
        sample_aspect=str(aspect if Fraction(1, 4) <= aspect <= 4 else Fraction(1)),
        frames=timing.frames,
        seconds=round(timing.seconds, 3),
        frame_rate=round(timing.frames / timing.seconds, 4),
        is_constant=timing.is_constant,
        is_interlaced=first.interlaced_frame,
        transfer=TRANSFERS.get(int(first.color_trc), ""),
        is_bt709=_has_colors_of_bt709(first),
        is_streamable=container not in ("mp4", "mov") or is_streamable(path),
        tracks=len(video.streams),
        sound=Sound(
            codec=sound.codec_context.name,
            channels=sound.codec_context.channels,
            rate=sound.codec_context.sample_rate,
            seconds=round(sound_seconds, 3),
        )
        if sound and sound.codec_context and sound_seconds
        else None,
    )


def is_streamable(path: Path) -> bool:
    """Tell whether an MP4 has its index before its media, and is not fragmented."""
    seen_index = False
    with path.open("rb") as file:
        end = path.stat().st_size
        while file.tell() < end:
            header = file.read(8)
            length, kind = int.from_bytes(header[:4]), header[4:8]
            if kind in (b"moof", b"mdat"):
                return seen_index and kind == b"mdat"
            seen_index = seen_index or kind == b"moov"
            if length == 1:
                length = int.from_bytes(file.read(8)) - 8
            if length < 8:
                return False
            file.seek(length - 8, 1)
    return False


def _refuse_track(picture: VideoStream) -> Refusal | None:
    codec = picture.codec_context
    if codec.codec_tag in ("encv", "drmi"):
        return Refusal("the clip is encrypted (DRM)", "drop a clip without copy protection")
    if codec.codec_tag in _DOLBY_VISION_5:
        reason = "the clip is in Dolby Vision profile 5, which has no ordinary picture"
        return Refusal(reason, "export it as HLG, HDR10, or SDR and drop it again")
    if codec.width * codec.height > MAX_PIXELS:
        return Refusal(f"the clip has {codec.width}×{codec.height} pixels", CURE)
    if min(codec.width, codec.height) < MIN_SIDE:
        reason = f"the clip has {codec.width}×{codec.height} pixels; {MIN_SIDE} is the least"
        return Refusal(reason, "drop a larger clip")
    return None


def _first_frame(video: InputContainer, picture: VideoStream) -> VideoFrame:
    picture.thread_type = "AUTO"
    for packets, packet in enumerate(video.demux(picture)):
        for frame in _decode(packet):
            return frame
        if packets > 600:
            break
    raise DamagedError("its picture cannot be decoded")


def _has_colors_of_bt709(frame: VideoFrame) -> bool:
    """Tell whether a frame is tagged as bt709, or not at all (ISO/IEC 23091-2, 8.1 to 8.3)."""
    tags = (frame.color_primaries, frame.color_trc, frame.colorspace)
    return all(int(tag) in (1, 2) for tag in tags)


def _decode(packet: av.Packet) -> list[VideoFrame]:
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return []  # a damaged frame at a cut is nothing to stumble over


def _read(
    video: InputContainer, picture: VideoStream, sound: av.AudioStream | None
) -> tuple[Timing | None, float]:
    """Read all packets; return the timing of the picture, and the seconds of the sound."""
    shown: list[int] = []
    longest = 0
    heard = [0.0, 0.0]
    for number, packet in enumerate(video.demux([track for track in (picture, sound) if track])):
        if number > MAX_PACKETS:
            raise DamagedError(f"it has more than {MAX_PACKETS:,} packets")
        if packet.pts is None or packet.is_discard:
            continue
        if packet.stream is picture:
            shown.append(packet.pts)
            longest = max(longest, packet.duration or 0)
        else:
            begins = float(packet.pts * packet.time_base)
            ends = begins + float((packet.duration or 0) * packet.time_base)
            heard = [min(heard[0], begins), max(heard[1], ends)] if heard[1] else [begins, ends]
    return timing_of(shown, picture.time_base, longest), heard[1] - heard[0]


def timing_of(shown: list[int], base: Fraction, longest: int) -> Timing | None:
    """Work out when frames are shown.

    Parameters:
        shown: their timestamps in any order, in units of `base`.
        base: seconds.
        longest: how long the longest is shown by its packet; 0 if that is not known.
    """
    shown = sorted(set(shown))
    if not shown:
        return None
    gaps = sorted(after - before for before, after in pairwise(shown))
    usual = gaps[len(gaps) // 2] if gaps else longest or round(Fraction(1, 24) / base)
    # Containers that count milliseconds, such as Matroska, cannot be more exact than one.
    exact = max(1, round(Fraction(1, 1000) / base)) if base > Fraction(1, 5000) else 1
    is_constant = not gaps or (gaps[0] >= usual - exact and gaps[-1] <= usual + exact)
    whole = (shown[-1] - shown[0] + usual) * base
    if is_constant and len(gaps) > 1:
        whole = Fraction(shown[-1] - shown[0], len(gaps)) * (len(gaps) + 1) * base
    return Timing(float(shown[0] * base), len(shown), float(whole), is_constant)

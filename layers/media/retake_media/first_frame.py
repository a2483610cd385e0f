"""Makes a first frame match the clip that it belongs to."""

from pathlib import Path

import av
from av.filter import Graph

from retake.domain.media import IMAGE_HEADER_BYTES, check_first_frame, image_kind
from retake.domain.refusal import Refusal

from .filters import chain

MAX_PIXELS = 100_000_000
_CURE = "save the first frame as PNG, JPEG or WebP and drop it again"
# EXIF 2.32, 4.6.4: how an image must be turned to be upright, as FFmpeg's filters.
_EXIF_TURNS = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}
_QUALITY = "2"  # of FFmpeg's JPEG encoder; 1 is the best
_SHAPE_TOLERANCE = 0.01  # of the ratio of the sides


def match(source: Path, target: Path, *, width: int, height: int) -> tuple[str, ...] | Refusal:
    """Write a first frame in the size of its clip.

    Parameters:
        source: a PNG, JPEG or WebP image.
        target: the JPEG image to write.
        width: pixels of the clip.
        height: pixels of the clip.

    Returns:
        What was done, in plain words; or why it is no first frame.
    """
    with source.open("rb") as opened:
        header = opened.read(IMAGE_HEADER_BYTES)
    refusal = check_first_frame(header, source.stat().st_size)
    if refusal:
        return refusal
    try:
        with av.open(
            str(source),
            format=f"{image_kind(header)}_pipe",
            container_options={"protocol_whitelist": "file"},
        ) as file:
            image = file.streams.video[0]
            context = image.codec_context
            if context.width * context.height > MAX_PIXELS:
                reason = f"the first frame has {context.width}×{context.height} pixels"
                return Refusal(reason, "make it smaller", "first_frame")
            frame = next(file.decode(image))
    except (av.FFmpegError, StopIteration, IndexError, ValueError) as error:
        reason = f"the first frame cannot be decoded ({type(error).__name__})"
        return Refusal(reason, _CURE, "first_frame")
    steps = []
    before = (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)
    if frame.rotation % 360:
        steps.append("turned upright")
    if abs(before[0] * height / (before[1] * width) - 1) > _SHAPE_TOLERANCE:
        steps.append("cropped to the shape of the clip")
    if before != (width, height):
        steps.append(f"scaled to {width}×{height}")
    _write(frame, target, width, height)
    return tuple(steps)


def _write(frame: av.VideoFrame, target: Path, width: int, height: int) -> None:
    turn = _EXIF_TURNS.get(frame.rotation % 360)
    filters = [
        *(turn.split(",") if turn else []),
        f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=lanczos",
        f"crop={width}:{height}",
        "format=yuvj444p",
    ]
    frame.pts = 0
    graph = Graph()
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
        "time_base=1/25:pixel_aspect=1/1",
    )
    chain(graph, source, filters, "buffersink")
    graph.push(frame)
    matched = graph.vpull()
    with av.open(str(target), "w", format="image2", options={"update": "1"}) as output:
        picture = output.add_stream("mjpeg", rate=25, options={"qscale": _QUALITY, "q": _QUALITY})
        context = picture.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuvj444p"
        matched.pts, matched.pict_type = 0, 0
        output.mux(picture.encode(matched))
        output.mux(picture.encode(None))

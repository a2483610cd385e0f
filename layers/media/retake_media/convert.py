"""Makes of a clip what the model takes: a plain MP4 with one upright, progressive picture."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from retake.domain.footage import Footage, Plan
from retake.domain.limits import MAX_CLIP_BYTES
from retake.domain.refusal import Refusal

from .files import CURE, MP4_OPTIONS, DamagedError, open_video, picture_of
from .filters import chain, pull
from .picture import PictureCopy

# The model re-renders every pixel, so what is sent only has to be better than what comes back.
_QUALITIES = (17, 23, 29)  # x264's CRF; the next is used when a file gets too large
_PRESET = "veryfast"
_ROOM = 0.9  # of the largest file, for the highest bit rate
_TURNS = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}
# HDR to SDR, as expressions of FFmpeg for one sample. Light is decoded from the signal (HLG: ITU-R
# BT.2100, table 5; PQ: table 4) and given the primaries of bt709 (BT.2087). Reference white (203
# cd/m², or 75 % HLG: BT.2408) becomes 92 % of the SDR signal, and what is brighter is rolled off.
_DECODED = {
    "hlg": (
        "st(0,val/maxval);maxval*if(lte(ld(0),0.5),ld(0)*ld(0)/3,"
        "(exp((ld(0)-0.55991073)/0.17883277)+0.28466892)/12)"
    ),
    "pq": (
        "st(0,pow(val/maxval,1/78.84375));maxval*min(1,10*pow("
        "max(ld(0)-0.8359375,0)/(18.8515625-18.6875*ld(0)),1/0.1593017578125))"
    ),
}
_PEAKS = {"hlg": 3.774, "pq": 4.926}  # of what is decoded, in reference whites
_PRIMARIES = (
    "colorchannelmixer=rr=1.6605:rg=-0.5876:rb=-0.0728:gr=-0.1246:gg=1.1329:gb=-0.0083:"
    "br=-0.0182:bg=-0.1006:bb=1.1187"
)
_ENCODED = (  # rolled off, and then encoded: ITU-R BT.709, 1.2
    "st(0,val/maxval*{peak});st(1,if(lte(ld(0),0.6),ld(0),0.6+0.4*(1-exp((0.6-ld(0))/0.4))));"
    "maxval*if(lte(ld(1),0.018),4.5*ld(1),1.099*pow(ld(1),0.45)-0.099)"
)
_TO_BT709 = "scale=out_color_matrix=bt709:out_range=tv"


def convert(source: Path, target: Path, footage: Footage, plan: Plan) -> Refusal | None:
    """Write what is sent to the model.

    Parameters:
        source: the clip.
        target: the MP4 to write.
        footage: what the clip is.
        plan: what has to be done.

    Returns:
        Why it cannot be done, if it cannot.
    """
    try:
        if not plan.encodes:
            _copy(source, target, footage, plan)
            return None
        for quality in _QUALITIES:
            _encode(source, target, footage, plan, quality)
            if target.stat().st_size <= MAX_CLIP_BYTES:
                return None
    except DamagedError as error:
        return Refusal(f"the clip is damaged: {error}", CURE)
    return Refusal("the clip stays larger than 100 MB", "shorten it, or drop a smaller one")


def _copy(source: Path, target: Path, footage: Footage, plan: Plan) -> None:
    with open_video(source, footage.container) as video:
        picture = PictureCopy(video)
        options = picture.options(footage.frames / plan.rate)
        with av.open(str(target), "w", format="mp4", options=options) as output:
            picture.begin(output)
            for packet in picture.packets():
                output.mux(packet)


def _encode(source: Path, target: Path, footage: Footage, plan: Plan, quality: int) -> None:
    bits = int(_ROOM * MAX_CLIP_BYTES * 8 / max(footage.seconds, 1))
    options = {
        "crf": str(quality),
        "preset": _PRESET,
        "maxrate": str(bits),
        "bufsize": str(bits),
        "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709",
    }
    with (
        open_video(source, footage.container) as video,
        av.open(str(target), "w", format="mp4", options=MP4_OPTIONS) as output,
    ):
        picture = output.add_stream("libx264", rate=plan.rate, options=options)
        context = picture.codec_context
        context.width, context.height, context.pix_fmt = plan.width, plan.height, "yuv420p"
        context.profile, context.time_base = "High", 1 / plan.rate
        context.thread_type = "AUTO"
        context.color_primaries = context.color_trc = context.colorspace = 1
        context.color_range = 1  # limited
        for number, frame in enumerate(_frames(video, footage, plan)):
            frame.pts, frame.time_base = number, 1 / plan.rate
            frame.pict_type = 0
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))


def _frames(
    video: av.container.InputContainer, footage: Footage, plan: Plan
) -> Iterator[VideoFrame]:
    """Yield the frames of a clip, converted."""
    picture = picture_of(video)
    assert picture  # noqa: S101 - it was looked at
    picture.thread_type = "AUTO"
    graph: Graph | None = None
    for packet in video.demux(picture):
        if packet.is_discard:
            continue
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue  # one damaged frame; `fps` shows the one before it longer
        for frame in decoded:
            if graph is None:
                graph = _graph(frame, picture.time_base, footage, plan)
            graph.push(frame)
            yield from pull(graph)
    if graph is None:
        raise DamagedError("its picture cannot be decoded")
    graph.push(None)
    yield from pull(graph)


def _graph(frame: VideoFrame, time_base: Fraction, footage: Footage, plan: Plan) -> Graph:
    """Build the filters, in the order that costs least."""
    width, height = plan.width, plan.height
    if footage.rotation % 180:
        width, height = height, width  # it is turned after it is scaled
    filters = [
        *(["bwdif=mode=send_frame"] if footage.is_interlaced else []),
        f"fps={plan.rate}:start_time={float(frame.pts * time_base):.6f}",
        f"scale={width}:{height}:flags=lanczos",
        *(_tone_map(footage.transfer) if footage.is_hdr else [_TO_BT709]),
        *(_TURNS[footage.rotation].split(",") if footage.rotation else []),
        "setsar=1",
        "format=yuv420p",
    ]
    graph = Graph()
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
        f"time_base={time_base}:pixel_aspect={Fraction(footage.sample_aspect)}:"
        f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
    )
    return chain(graph, source, filters, "buffersink")


def _tone_map(transfer: str) -> list[str]:
    """Return the filters that convert HDR to bt709."""
    return [
        "format=gbrp16le",
        _on_each(_DECODED[transfer]),
        _PRIMARIES,
        _on_each(_ENCODED.format(peak=_PEAKS[transfer])),
        "setparams=color_primaries=bt709:color_trc=bt709",
        _TO_BT709,
    ]


def _on_each(curve: str) -> str:
    """Return the filter that applies a curve to red, green, and blue."""
    return f"lutrgb=r='{curve}':g='{curve}':b='{curve}'"

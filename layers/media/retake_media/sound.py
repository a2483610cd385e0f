"""The sound of a clip: taken out once, and laid under the picture of its film."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph

from .files import MP4_OPTIONS, open_video, picture_of
from .filters import chain, pull

# ISO/IEC 14496-3, table 1.18: the rates that AAC has.
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_FRAME = 1024  # samples of a packet
_BITS_PER_CHANNEL = 128_000
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_LOW_COMPLEXITY = 2  # ISO/IEC 14496-3, table 1.17


def extract(source: Path, container: str, target: Path) -> bool:
    """Write the sound of a clip into a file of its own, in step with the clip's picture.

    AAC is copied; another codec is encoded as AAC once. Time 0 is when the first frame is shown.

    Parameters:
        source: the clip.
        container: of the clip, see `files.container_of`.
        target: the MP4 to write.

    Returns:
        Whether there is any sound.

    Raises:
        DamagedError: the clip cannot be read.
    """
    with open_video(source, container) as video:
        sound = next((track for track in video.streams.audio if track.codec_context), None)
        if sound is None:
            return False
        begins = _picture_begins(video)
        with av.open(str(target), "w", format="mp4", options=MP4_OPTIONS) as output:
            if sound.codec_context.name == "aac" and sound.codec_context.extradata:
                packets = _copied(video, sound, output, begins)
            else:
                packets = _encoded(video, sound, output, begins)
            count = 0
            for packet in packets:
                output.mux(packet)
                count += 1
    return count > 0


class SoundCopy:
    """The sound of a clip that is copied under a picture: cut, or followed by silence.

    Parameters:
        file: what `extract` wrote, opened.
        output: the film.
        seconds: the length of the picture.
    """

    def __init__(self, file: InputContainer, output: OutputContainer, seconds: Fraction) -> None:
        self._file, self._sound = file, file.streams.audio[0]
        self._stream = output.add_stream_from_template(self._sound)
        self._stream.metadata.clear()
        self._base = self._sound.time_base
        self._end = seconds / self._base

    def packets(self) -> Iterator[av.Packet]:
        """Yield the packets that begin before the picture ends, and silence after the last."""
        end = 0
        for packet in self._file.demux(self._sound):
            if packet.pts is None or packet.pts >= self._end:
                continue
            end = packet.pts + (packet.duration or _AAC_FRAME)
            packet.stream = self._stream
            yield packet
        yield from self._silence(end)

    def _silence(self, begins: int) -> Iterator[av.Packet]:
        context = self._sound.codec_context
        length = round(Fraction(_AAC_FRAME, context.sample_rate) / self._base)
        count = int((self._end - begins) // length)
        if count < 1:
            return
        data = _silent_packet(context.sample_rate, context.layout.name, context.extradata)
        for number in range(count if data else 0):
            packet = av.Packet(data)
            packet.time_base = self._base
            packet.pts = packet.dts = begins + number * length
            packet.duration = length
            packet.is_keyframe = True
            packet.stream = self._stream
            yield packet


def _picture_begins(video: InputContainer) -> Fraction:
    """Return when the first frame is shown, in seconds of the file."""
    picture = picture_of(video)
    first: Fraction | None = None
    if picture:
        for number, packet in enumerate(video.demux(picture)):
            if packet.pts is not None and not packet.is_discard:
                at = packet.pts * packet.time_base
                first = at if first is None else min(first, at)
            if number > 32:  # more than any codec reorders
                break
        video.seek(0)
    return first or Fraction(0)


def _copied(
    video: InputContainer, sound: AudioStream, output: OutputContainer, begins: Fraction
) -> Iterator[av.Packet]:
    stream = output.add_stream_from_template(sound)
    rate = sound.codec_context.sample_rate
    shift = round(begins * rate)
    last = None
    for packet in video.demux(sound):
        if packet.pts is None or packet.size == 0:
            continue
        at = round(packet.pts * packet.time_base * rate) - shift
        # Containers that count milliseconds round each packet; AAC packets follow each other.
        if last is not None and abs(at - last - _AAC_FRAME) <= rate // 500:
            at = last + _AAC_FRAME
        last = at
        if at + _AAC_FRAME <= -_AAC_FRAME:
            continue  # before the picture; the packet before it is needed to decode the first
        packet.time_base = Fraction(1, rate)
        packet.pts = packet.dts = at
        packet.duration = _AAC_FRAME
        packet.stream = stream
        yield packet


def _encoded(
    video: InputContainer, sound: AudioStream, output: OutputContainer, begins: Fraction
) -> Iterator[av.Packet]:
    context = sound.codec_context
    rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48000
    layout = _LAYOUTS.get(context.channels, "stereo")
    stream = output.add_stream("aac", rate=rate, layout=layout)
    stream.codec_context.bit_rate = _BITS_PER_CHANNEL * stream.codec_context.channels
    graph: Graph | None = None
    for packet in video.demux(sound):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue  # `aresample` fills the gap
        for frame in frames:
            if frame.pts is None:
                continue
            frame.pts = frame.pts - round(begins / frame.time_base)
            graph = graph or _resampler(frame, rate, layout)
            graph.push(frame)
            for converted in pull(graph):
                yield from stream.encode(converted)
    if graph:
        graph.push(None)
        for converted in pull(graph):
            yield from stream.encode(converted)
        yield from stream.encode(None)


def _resampler(frame: AudioFrame, rate: int, layout: str) -> Graph:
    """Build the filters: gaps get silence, and what is before the picture is cut."""
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=frame.layout.name,
        time_base=frame.time_base,
    )
    filters = (
        f"aresample={rate}:async=1:min_hard_comp=0.05",
        "atrim=start=0",
        f"aformat=sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}",
        f"asetnsamples=n={_AAC_FRAME}:p=0",
    )
    return chain(graph, source, filters, "abuffersink")


def _silent_packet(rate: int, layout: str, config: bytes | None) -> bytes | None:
    """Return an AAC packet of silence, if the encoder's configuration is that of the sound."""
    if not config or config[0] >> 3 != _LOW_COMPLEXITY:
        return None
    encoder = av.CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, layout, "fltp"
    encoder.time_base = Fraction(1, rate)
    encoder.bit_rate = _BITS_PER_CHANNEL
    packets: list[bytes] = []
    for number in range(6):
        frame = AudioFrame(format="fltp", layout=layout, samples=_AAC_FRAME)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = rate, number * _AAC_FRAME, Fraction(1, rate)
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    if not encoder.extradata or encoder.extradata[:2] != config[:2]:
        return None
    return packets[-1]

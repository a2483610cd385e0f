"""Makes a film of a render: its picture, the clip's sound and length, and the mark of AI."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from retake.domain.refusal import Refusal

from .check import check
from .files import DamagedError, container_of, open_video
from .marks import append_mark, has_manifest
from .picture import COPIED, PictureCopy
from .sound import SoundCopy

MAX_DRIFT = 0.2  # of the length: a render that differs more is not the clip at another speed
_SHAPE_TOLERANCE = 0.03  # of the ratio of the sides
_CURE = "contact Segmind's support with the request id"


@dataclass(frozen=True)
class Film:
    """A film that is finished.

    Attributes:
        seconds: its length.
        frames: how many it shows.
        warnings: what a person should know about it, in plain words.
    """

    seconds: float
    frames: int
    warnings: tuple[str, ...]


def finish(
    render: Path,
    sound: Path | None,
    target: Path,
    *,
    seconds: float,
    size: tuple[int, int] | None,
    prompt: str,
) -> Film | Refusal:
    """Make a film.

    The packets of the picture are copied. A drift of a few frames is spread: all frames are shown
    a little longer or shorter, so that the film is as long as the clip.

    Parameters:
        render: the file as rendered.
        sound: the sound of the clip, see `sound.extract`; `None` for a silent film.
        target: the MP4 to write.
        seconds: the length of the clip.
        size: the upright width and height of the clip, if they are known.
        prompt: the instruction that the model got.

    Returns:
        The film; or why the render cannot be finished.
    """
    container = container_of(render)
    if isinstance(container, Refusal):
        return Refusal("the render is not a video", _CURE)
    try:
        with open_video(render, container) as video:
            picture = PictureCopy(video)
            codec = picture.codec
            if codec.name not in COPIED:
                return Refusal(f"the render is {codec.name} video", _CURE)
            length, warnings = _length(picture.timing.seconds, seconds)
            warnings += _shape(codec.width, codec.height, size)
            _mux(picture, sound, target, Fraction(length))
    except DamagedError as error:
        return Refusal(f"the render is damaged: {error}", _CURE)
    if has_manifest(render):
        warnings.append("the render carries a C2PA manifest, which only the staged file keeps")
    found = check(target, frames=picture.timing.frames)
    if isinstance(found, Refusal):
        return found
    append_mark(target, prompt)
    return Film(length, picture.timing.frames, (*warnings, *found))


def _mux(picture: PictureCopy, sound: Path | None, target: Path, seconds: Fraction) -> None:
    """Write both tracks, interleaved by time."""
    with av.open(str(target), "w", format="mp4", options=picture.options(seconds)) as output:
        picture.begin(output)
        if sound is None:
            for packet in picture.packets():
                output.mux(packet)
            return
        with open_video(sound, "mp4") as file:
            heard = SoundCopy(file, output, seconds)
            packets = heard.packets()
            pending = next(packets, None)
            for shown in picture.packets():
                at = shown.dts * shown.time_base
                while pending is not None and pending.dts * pending.time_base <= at:
                    output.mux(pending)
                    pending = next(packets, None)
                output.mux(shown)
            while pending is not None:
                output.mux(pending)
                pending = next(packets, None)


def _length(rendered: float, wanted: float) -> tuple[float, list[str]]:
    """Return the length of the film, and a warning if it is not that of the clip."""
    if abs(rendered - wanted) <= MAX_DRIFT * wanted:
        return wanted, []
    return rendered, [f"the render lasts {rendered:.1f} s, the clip {wanted:.1f} s"]


def _shape(width: int, height: int, size: tuple[int, int] | None) -> list[str]:
    if size is None:
        return []
    ratio = (width / height) / (size[0] / size[1])
    if abs(ratio - 1) <= _SHAPE_TOLERANCE:
        return []
    return [f"the render has another shape: {width}×{height}; the clip has {size[0]}×{size[1]}"]

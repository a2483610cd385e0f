"""Checks a finished film: it decodes to its end, and it shows something that moves."""

from pathlib import Path

import av

from retake.domain.refusal import Refusal

from .files import DamagedError, open_video, picture_of

_CURE = "contact Segmind's support with the request id"
_THUMBNAIL = (32, 18)  # pixels; enough to tell black and still pictures
_BLACK = 28  # luma, of 255: black is 16, or 0 where all values are used
_BLACK_SHARE = 0.95  # of the frames
_STILL = 2  # the largest difference of a pixel that noise of the codec explains


def check(film: Path, *, frames: int) -> tuple[str, ...] | Refusal:
    """Decode a film once.

    Parameters:
        film: the MP4.
        frames: how many it should show.

    Returns:
        What a person should know about it; or why it is not a film.
    """
    shown, black, still = 0, 0, 0
    before: bytes | None = None
    try:
        with open_video(film, "mp4") as video:
            picture = picture_of(video)
            if picture is None:
                return Refusal("the film has no picture", _CURE)
            picture.thread_type = "AUTO"
            for frame in video.decode(picture):
                shown += 1
                small = frame.reformat(*_THUMBNAIL, format="gray", threads=1)
                pixels = bytes(small.planes[0])
                black += max(pixels) <= _BLACK
                if before is not None:
                    still += max(map(abs, map(int.__sub__, pixels, before))) <= _STILL
                before = pixels
    except (DamagedError, av.FFmpegError) as error:
        return Refusal(f"the film cannot be decoded to its end: {error}", _CURE)
    if shown != frames:
        return Refusal(f"only {shown} of {frames} frames can be decoded", _CURE)
    warnings = []
    if black >= _BLACK_SHARE * shown:
        warnings.append("the picture is black")
    elif shown > 2 and still == shown - 1:
        warnings.append("the picture is frozen")
    return tuple(warnings)

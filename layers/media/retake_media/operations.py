"""What the sandbox runs: whole steps on files, with arguments and results in JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from retake.domain.footage import plan
from retake.domain.refusal import Refusal

from . import first_frame, sound
from .convert import convert
from .files import DamagedError
from .finish import finish
from .look import look


def prepare(
    clip: str, frame: str | None, folder: str, short_side: int | None, max_seconds: float
) -> dict[str, Any] | Refusal:
    """Make of a clip what the model takes.

    Parameters:
        clip: the path of the clip.
        frame: the path of its first frame, if there is one.
        folder: where files are written.
        short_side: the most pixels of the short side; `None` for all.
        max_seconds: the length that the clip must stay under.

    Returns:
        `footage`, `steps`, and the paths `clip`, `frame`, and `sound`, if there are any; or why the
        clip is refused.
    """
    footage = look(Path(clip), max_seconds=max_seconds)
    if isinstance(footage, Refusal):
        return footage
    wanted = plan(footage, short_side)
    steps = list(wanted.steps)
    target = Path(folder) / "prepared.mp4"
    if steps:
        refusal = convert(Path(clip), target, footage, wanted)
        if refusal:
            return refusal
    else:
        Path(clip).rename(target)
        clip = str(target)
    matched = Path(folder) / "frame.jpg"
    if frame:
        done = first_frame.match(Path(frame), matched, width=wanted.width, height=wanted.height)
        if isinstance(done, Refusal):
            return done
        steps += [f"first frame {step}" for step in done]
    voice = Path(folder) / "sound.m4a"
    try:
        has_sound = footage.sound and sound.extract(Path(clip), footage.container, voice)
    except DamagedError as error:
        return Refusal(f"the sound of the clip is damaged: {error}", "export the clip again")
    return {
        "footage": asdict(footage),
        "steps": steps,
        "clip": str(target),
        "frame": str(matched) if frame else None,
        "sound": str(voice) if has_sound else None,
    }


def make_film(
    render: str, sound: str | None, target: str, seconds: float, size: list[int], prompt: str
) -> dict[str, Any] | Refusal:
    """Make a film of a render and the sound of its clip; see `finish.finish`.

    Returns:
        `warnings`, in plain words; or why the render cannot be finished.
    """
    width, height = size
    film = finish(
        Path(render),
        Path(sound) if sound else None,
        Path(target),
        seconds=seconds,
        size=(width, height),
        prompt=prompt,
    )
    return film if isinstance(film, Refusal) else {"warnings": film.warnings}

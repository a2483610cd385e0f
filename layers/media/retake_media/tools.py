"""The media work of the functions, each step in the sandbox."""

from pathlib import Path
from typing import Any

from retake.domain.footage import Footage, Sound
from retake.domain.refusal import Refusal
from retake.services.prepare import Prepared

from .sandbox import run


class Tools:
    """Works on video files on disk, for `prepare` and `finish`."""

    def prepare(
        self, clip: Path, frame: Path | None, *, short_side: int | None, max_seconds: float
    ) -> Prepared | Refusal:
        """Make of a clip what the model takes; see `ClipMedia`."""
        made = run(
            "prepare",
            {
                "clip": str(clip),
                "frame": str(frame) if frame else None,
                "folder": str(clip.parent),
                "short_side": short_side,
                "max_seconds": max_seconds,
            },
        )
        if isinstance(made, Refusal):
            return made
        return Prepared(
            footage=_footage(made["footage"]),
            steps=tuple(made["steps"]),
            clip=Path(made["clip"]),
            frame=Path(made["frame"]) if made["frame"] else None,
            sound=Path(made["sound"]) if made["sound"] else None,
        )

    def finish(
        self, render: Path, sound: Path | None, target: Path, *, footage: Footage, prompt: str
    ) -> tuple[str, ...] | Refusal:
        """Make a film; see `FilmMedia`."""
        made = run(
            "make_film",
            {
                "render": str(render),
                "sound": str(sound) if sound else None,
                "target": str(target),
                "seconds": footage.seconds,
                "size": footage.upright,
                "prompt": prompt,
            },
        )
        return made if isinstance(made, Refusal) else tuple(made["warnings"])


def _footage(found: dict[str, Any]) -> Footage:
    sound = found.pop("sound")
    return Footage(**found, sound=Sound(**sound) if sound else None)

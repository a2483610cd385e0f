"""What people drop in one history: clips with their sidecars, in every order, and changes later."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.support import mp4

LOOK = b"\x89PNG\r\n\x1a\n" + bytes(24)
DROPPING_SECONDS = 1200
NAMES = ("clip.mp4", "clip.mp4", "Ünder wáter.mp4", "CLIP.MP4", "a b+c%20d.mp4")


@dataclass(frozen=True)
class Put:
    """A file that is dropped, or deleted if it has no body.

    Attributes:
        at: seconds from the beginning.
        key: its key.
        body: its content.
    """

    at: float
    key: str
    body: bytes | None


@dataclass
class Plan:
    """All drops of a history.

    Attributes:
        puts: what is dropped and deleted.
        clips: the keys of the clips, with the kind of each.
    """

    puts: list[Put] = field(default_factory=list)
    clips: dict[str, str] = field(default_factory=dict)


class Planner:
    """Plans the drops of one key.

    Parameters:
        dice: decide about times and contents.
        folder: of its own.
        plan: gets the drops.
    """

    def __init__(self, dice: Random, folder: str, plan: Plan) -> None:
        self._dice, self._folder, self._plan = dice, folder, plan
        self._key = f"{folder}/{dice.choice(NAMES)}"
        self._begin = dice.uniform(1, DROPPING_SECONDS)

    def add(self) -> None:
        """Add the drops of some kind."""
        kinds: list[Callable[[], None]] = [
            self.pair,
            self.pair,
            self.pair,
            self.framed,
            self.preset,
            self.refused,
            self.not_a_clip,
            self.lone_clip,
            self.overwritten,
            self.edited,
            self.dropped_again,
            self.deleted,
        ]
        kind = self._dice.choice(kinds)
        self._plan.clips[self._key] = kind.__name__
        kind()

    def _put(self, name: str, body: bytes | None, after: float = 0) -> None:
        apart = self._dice.choice((0, 0.01, 1, 30, 200)) * self._dice.random()
        self._plan.puts.append(Put(self._begin + after + apart, name, body))

    def _clip(self, version: int = 1, after: float = 0) -> None:
        # Its content tells which version of which clip Segmind got.
        content = mp4.movie() + mp4.box(b"free", f"{self._key} {version}".encode())
        self._put(self._key, content, after)

    def _sidecar(self, version: int = 1, after: float = 0, **fields: object) -> None:
        body = {"prompt": f"{self._folder} {version}", **fields}
        self._put(self._beside(".json"), json.dumps(body).encode(), after)

    def _beside(self, suffix: str) -> str:
        return self._key.rpartition(".")[0] + suffix

    def pair(self) -> None:
        """A clip and a sidecar."""
        self._clip()
        self._sidecar()

    def framed(self) -> None:
        """A pair whose sidecar names a first frame."""
        self.pair_with(first_frame="look.png")
        self._put(f"{self._folder}/look.png", LOOK)

    def pair_with(self, **fields: object) -> None:
        """A pair with other fields in its sidecar."""
        self._clip()
        self._sidecar(**fields)

    def preset(self) -> None:
        """A clip in a folder with a preset."""
        self._clip()
        self._put(f"{self._folder}/_retake.json", json.dumps({"prompt": "preset"}).encode())

    def refused(self) -> None:
        """A pair whose sidecar is wrong, and then perhaps is not."""
        self.pair_with(promt="?")
        if self._dice.random() < 0.5:
            self._sidecar(2, after=400)

    def not_a_clip(self) -> None:
        """A file that is named like a clip."""
        self._put(self._key, b"not a video " + self._key.encode())
        self._sidecar()

    def lone_clip(self) -> None:
        """A clip whose sidecar comes late, or never."""
        self._clip()
        if self._dice.random() < 0.5:
            self._sidecar(after=600)

    def overwritten(self) -> None:
        """A pair whose clip is replaced by another."""
        self.pair()
        self._clip(2, after=self._dice.choice((1, 60, 600)))

    def edited(self) -> None:
        """A pair whose sidecar changes."""
        self.pair()
        self._sidecar(2, after=self._dice.choice((1, 60, 600)))

    def dropped_again(self) -> None:
        """The same pair, more than once."""
        self.pair()
        for number in range(self._dice.randint(1, 3)):
            self._clip(after=300 * number)
            self._sidecar(after=300 * number)

    def deleted(self) -> None:
        """A pair whose clip is deleted after a while."""
        self.pair()
        self._put(self._key, None, after=self._dice.choice((2, 60, 300)))


def plan(dice: Random, number: int) -> list[Plan]:
    """Plan the drops of a history, one plan for each clip."""
    plans = []
    for each in range(number):
        plans.append(Plan())
        Planner(Random(dice.random()), f"d{each}", plans[-1]).add()
    return plans

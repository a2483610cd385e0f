"""What the gallery's page shows."""

from dataclasses import dataclass
from datetime import datetime

from retake.domain.job import PAID, TERMINAL, State


@dataclass(frozen=True)
class Video:
    """A video, and the picture that is shown before it plays.

    Attributes:
        src: its URL, or its path from the page.
        poster: the picture's; without one, the browser takes a picture from the video.
    """

    src: str
    poster: str | None = None


@dataclass(frozen=True)
class Take:
    """One job.

    Attributes:
        job: its id.
        clip: the clip's key.
        state: where the job stands.
        message: what happened, in plain words.
        do_now: what to do now, if there is something to do.
        mode: the mode in the sidecar.
        prompt: the prompt in the sidecar.
        rerun: the number of the take in the sidecar.
        at: when the job was claimed.
        took: the seconds until it ended; `None` while it has not.
        length: the clip's duration in seconds.
        cost_usd: what Segmind says the job cost.
        before: the clip.
        after: the retake.
    """

    job: str
    clip: str
    state: State
    message: str
    do_now: str | None = None
    mode: str | None = None
    prompt: str | None = None
    rerun: int | None = None
    at: datetime | None = None
    took: float | None = None
    length: float | None = None
    cost_usd: float | None = None
    before: Video | None = None
    after: Video | None = None

    @property
    def tone(self) -> str:
        """Return how its state looks: a class of the style sheet."""
        if self.state in TERMINAL:
            return "good" if self.state is State.DELIVERED else "bad"
        return "held" if self.state in (State.HELD, State.SUBMIT_UNKNOWN) else "busy"

    @property
    def unpaid(self) -> bool:
        """Tell whether it ended without a charge."""
        return self.state in TERMINAL - PAID

    @property
    def moment(self) -> float:
        """Return the second whose picture stands for the clip; the first one is often black."""
        return round((self.length or 0) / 3, 2)

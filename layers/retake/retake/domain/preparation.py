"""What `prepare` made of a clip and its first frame."""

from dataclasses import dataclass

from .footage import Footage
from .refusal import Refusal


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What was made of one version of a clip. Written by prepare.

    Attributes:
        made_of: names the versions and the size that it was made of, see `Candidate.to_prepare`.
        expires_at: when its files are no longer certain to be there, in seconds since the epoch.
        clip_sha256: the SHA-256 of the clip as it was dropped; empty if the clip was not read.
        frame_sha256: that of the first frame; empty without one.
        refusal: why nothing could be made; then the fields below are empty.
        footage: what the clip was found to be.
        steps: what was done, in plain words.
        clip: the key in the staging bucket of what is sent.
        frame: that of the first frame; empty without one.
        sound: that of the sound; empty for a silent clip.
    """

    made_of: str
    expires_at: int
    clip_sha256: str = ""
    frame_sha256: str = ""
    refusal: Refusal | None = None
    footage: Footage | None = None
    steps: tuple[str, ...] = ()
    clip: str = ""
    frame: str = ""
    sound: str = ""

"""The one shape in which input is refused."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why an input was refused and how to fix it.

    Attributes:
        reason: what is wrong, in plain words.
        cure: what to do now.
        field: the field of the sidecar or preset at fault, if there is one.
    """

    reason: str
    cure: str
    field: str | None = None

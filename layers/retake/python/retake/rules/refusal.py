"""The one shape in which anything is refused."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why something was not accepted, for a person: the rule that was broken and the cure.

    `reason` says what is wrong, `cure` what to do now; `field` names the sidecar's field, when one is to blame.
    """

    reason: str
    cure: str
    field: str | None = None

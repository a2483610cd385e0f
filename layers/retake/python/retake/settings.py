"""The functions' environment, read once into a typed object."""

import os
from dataclasses import dataclass
from typing import Any

_NUMBERS = {"requests_per_minute": int, "daily_budget_usd": float, "max_clip_seconds": float, "notice_minutes": int}


@dataclass(frozen=True)
class Settings:
    """What the template tells the functions; a name that a function is not given is empty and must not be needed by it."""

    table: str = ""
    input_bucket: str = ""
    output_bucket: str = ""
    drop_queue_url: str = ""
    state_machine_arn: str = ""
    signer_role_arn: str = ""
    notice_queue_url: str = ""
    notices_topic_arn: str = ""
    secret_id: str = ""
    segmind_base_url: str = ""
    segmind_history_url: str = ""
    requests_per_minute: int = 50
    daily_budget_usd: float = 25
    max_clip_seconds: float = 30
    notice_minutes: int = 5

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the variables, named as the fields in upper case."""
        given: dict[str, Any] = {name: os.environ[name.upper()] for name in cls.__annotations__ if name.upper() in os.environ}
        given |= {name: number(given[name]) for name, number in _NUMBERS.items() if name in given}
        return cls(**given)

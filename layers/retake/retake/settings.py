"""The functions' environment, read once into a typed object."""

import os
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Settings:
    """The variables that the template sets; one that a function does not get stays empty."""

    stack_id: str = ""
    jobs_table: str = ""
    input_bucket: str = ""
    output_bucket: str = ""
    staging_bucket: str = ""
    drop_queue_url: str = ""
    media_queue_url: str = ""
    notification_queue_url: str = ""
    notification_topic_arn: str = ""
    state_machine_arn: str = ""
    signer_role_arn: str = ""
    segmind_secret_arn: str = ""
    segmind_base_url: str = ""
    segmind_history_url: str = ""
    requests_per_minute: int = 50
    daily_budget_usd: float = 25.0
    max_job_usd: float = 5.0
    max_clip_seconds: float = 30.0
    max_input_gb: float = 4.0
    staging_retention_days: int = 30
    digest_minutes: int = 5

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the variables, which are named like the fields in upper case."""
        given: dict[str, Any] = {}
        for setting in fields(cls):
            text = os.environ.get(setting.name.upper())
            if text is not None:
                given[setting.name] = _parse(text, type(setting.default))
        return cls(**given)


def _parse(text: str, kind: type) -> Any:
    """Read a value; CloudFormation's numbers may have a fraction where a whole one is meant."""
    return int(float(text)) if kind is int else kind(text)

"""The settings of a simulator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

SHAPES = (
    "output",
    "video",
    "video_only",
    "output_list",
    "output_url",
    "output_video_url",
    "output_videos",
    "video_url",
    "url",
    "unknown",
)
JSON_SHAPES = tuple(f"json:{name}" for name in SHAPES if name.startswith("output"))
BILLINGS = ("request", "second", "megapixel")
REPORTS = ("cost", "nothing", "zero", "absurd")
FAILURE_FORMS = ("error", "detail", "detail_list")


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Settings that a rule may also change for single requests; each field's help describes it."""

    queue_seconds: float = field(default=0.0, metadata=_help("seconds that a request stays QUEUED"))
    render_seconds: float = field(
        default=0.0, metadata=_help("minimum seconds that a request stays PROCESSING")
    )
    record_life_seconds: float = field(
        default=3600.0, metadata=_help("seconds from the submit until a request is not found")
    )
    history_delay_seconds: float = field(
        default=0.0, metadata=_help("seconds until the history lists a request")
    )
    shape: str = field(
        default="output",
        metadata=_help("shape of the result: " + ", ".join(SHAPES + JSON_SHAPES)),
    )
    fail: str = field(
        default="", metadata=_help("error with which requests end FAILED; empty: they do not")
    )
    fail_as: str = field(
        default="error", metadata=_help("where the error is: " + ", ".join(FAILURE_FORMS))
    )
    failed_status: int = field(
        default=422, metadata=_help("HTTP status of a FAILED request: 422 or 200")
    )

    billing: str = field(
        default="request", metadata=_help("what the price is for: " + ", ".join(BILLINGS))
    )
    reports: str = field(default="cost", metadata=_help("price in results: " + ", ".join(REPORTS)))
    drift_frames: int = field(
        default=0, metadata=_help("frames by which a result is too long; below 0, too short")
    )

    def __post_init__(self) -> None:
        check_types(self, fields(self))
        for item in fields(self):
            is_number = isinstance(item.default, (int, float)) and item.name != "drift_frames"
            if is_number and getattr(self, item.name) < 0:
                raise ValueError(f"{item.name}: must not be negative")
        check_choice("shape", self.shape, SHAPES + JSON_SHAPES)
        check_choice("fail_as", self.fail_as, FAILURE_FORMS)
        check_choice("billing", self.billing, BILLINGS)
        check_choice("reports", self.reports, REPORTS)
        check_choice("failed_status", self.failed_status, (200, 422))


@dataclass(frozen=True, kw_only=True)
class Settings(JobSettings):
    """All settings of a simulator; each field's help describes it."""

    key: str = field(default="SG_local_simulator", metadata=_help("the x-api-key that is accepted"))
    requests_per_minute: int = field(
        default=0, metadata=_help("API calls allowed in any 60 s; 0: no limit")
    )
    credits: float = field(default=100.0, metadata=_help("balance in USD"))
    price: float = field(
        default=0.60, metadata=_help("price in USD, unless a request ends FAILED; see billing")
    )
    no_credits_status: int = field(
        default=406, metadata=_help("HTTP status without credits: 406 or 402")
    )
    file_life_seconds: float = field(
        default=7 * 86400.0, metadata=_help("seconds from the submit until the file is gone")
    )
    history_list_key: str = field(
        default="data", metadata=_help("key of the list in a page of the history")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("no_credits_status", self.no_credits_status, (402, 406))

    def changed(self, values: Mapping[str, Any], *, job_only: bool = False) -> Settings:
        """Return these settings with some values replaced.

        Parameters:
            values: new values by field name.
            job_only: accept only what a rule may change for single requests.

        Raises:
            ValueError: a name or a value is not valid.
        """
        known = {item.name for item in fields(JobSettings if job_only else Settings)}
        for name in values:
            check_choice("setting", name, sorted(known))
        return replace(self, **values)


def check_types(record: object, items: Iterable[Field[Any]]) -> None:
    """Raise ValueError unless fields have their default's type; accept integers as floats."""
    for item in items:
        value, default = getattr(record, item.name), item.default
        if isinstance(default, float) and type(value) is int:
            object.__setattr__(record, item.name, float(value))
        elif isinstance(default, (str, int, float)) and type(value) is not type(default):
            raise ValueError(f"{item.name}: {type(default).__name__} expected, not {value!r}")


def check_choice(name: str, value: object, allowed: Any) -> None:
    """Raise ValueError unless a value is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is not one of {', '.join(map(str, allowed))}")

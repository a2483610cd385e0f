"""What a run of the simulator can be told: its settings, and rules that make single calls misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import unquote, urlsplit

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
FAILURE_FORMS = ("error", "detail", "detail_list")
ENDPOINTS = ("submit", "status", "result", "history", "credits", "file")
FAULTS = (
    "answer",
    "empty",
    "reset",
    "redirect",
    "content",
    "delay",
    "slow",
    "truncate",
    "no_id",
    "word",
    "break",
    "chunked",
    "length",
)


def _about(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Settings that hold for the whole run and that a rule may change for single requests."""

    queue_seconds: float = field(default=0.0, metadata=_about("seconds a request stays QUEUED"))
    render_seconds: float = field(default=0.0, metadata=_about("least seconds a request stays PROCESSING"))
    record_life_seconds: float = field(default=3600.0, metadata=_about("seconds from submission to 404"))
    history_delay_seconds: float = field(default=0.0, metadata=_about("seconds until history shows a request"))
    shape: str = field(default="output", metadata=_about("shape of the result: " + ", ".join(SHAPES + JSON_SHAPES)))
    fail: str = field(default="", metadata=_about("text with which requests end FAILED; empty: they do not"))
    fail_as: str = field(default="error", metadata=_about("where the text sits: " + ", ".join(FAILURE_FORMS)))
    failed_status: int = field(default=422, metadata=_about("HTTP status of a FAILED request: 422 or 200"))

    def __post_init__(self) -> None:
        _check_types(self)
        for item in fields(self):
            if isinstance(item.default, (int, float)) and getattr(self, item.name) < 0:
                raise ValueError(f"{item.name}: must not be negative")
        _one_of("shape", self.shape, SHAPES + JSON_SHAPES)
        _one_of("fail_as", self.fail_as, FAILURE_FORMS)
        _one_of("failed_status", self.failed_status, (200, 422))


@dataclass(frozen=True, kw_only=True)
class Settings(JobSettings):
    """Everything a run of the simulator can be told."""

    key: str = field(default="SG_local_simulator", metadata=_about("the x-api-key that is accepted"))
    requests_per_minute: int = field(default=0, metadata=_about("API calls allowed in any 60 s; 0: no limit"))
    credits: float = field(default=100.0, metadata=_about("balance in USD"))
    price: float = field(default=0.60, metadata=_about("USD a request costs unless it ends FAILED"))
    no_credits_status: int = field(default=406, metadata=_about("HTTP status when credits are out: 406 or 402"))
    file_life_seconds: float = field(default=7 * 86400.0, metadata=_about("seconds from submission to a lost file"))
    history_list_key: str = field(default="data", metadata=_about("key of the list in the history envelope"))

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("no_credits_status", self.no_credits_status, (402, 406))

    def changed(self, values: Mapping[str, Any], *, job_only: bool = False) -> Settings:
        """Return these settings with `values` (by field name) put in; ValueError says what does not fit."""
        known = {item.name for item in fields(JobSettings if job_only else Settings)}
        for name in values:
            _one_of("setting", name, sorted(known))
        return replace(self, **values)


@dataclass(kw_only=True)
class Rule:
    """What the simulator does to the calls it matches, the next `times` times (None: always).

    `endpoint` is one of ENDPOINTS and `match` a part of the path of the request's video_url. `settings` (on
    "submit" only) are the JobSettings of the request that is accepted. The other fields belong to faults:

    - instead of the answer, `processed` telling whether the call takes effect all the same:
      "answer" (status, body as JSON or html as text, headers), "empty" (status), "reset", "redirect" (location,
      by default another host name that leads to /_simulator/elsewhere), "content" (body as text, sent as video/mp4);
    - the real answer, late: "delay" (seconds before it starts), "slow" (seconds its body takes);
    - the real answer, changed: "truncate" (half the JSON), "no_id", "word" (the status word), "break" (connection
      closed after `bytes` of body), "chunked" (no content-length; above 0 `bytes`, broken as well), "length" (content-length wrong by
      `bytes`: above 0 the body ends before its announced end, below 0 it is cut and nothing tells).
    """

    endpoint: str
    match: str = ""
    fault: str = ""
    times: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    processed: bool = False
    status: int = 0
    body: Any = None
    html: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    location: str = ""
    seconds: float = 1.0
    word: str = "WARMING_UP"
    bytes: int = 0
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        _check_types(self)
        if self.times is not None and type(self.times) is not int:
            raise ValueError(f"times: a whole number or null expected, not {self.times!r}")
        _one_of("endpoint", self.endpoint, ENDPOINTS)
        _one_of("fault", self.fault, ("", *FAULTS))
        if self.endpoint == "file" and self.fault in ("truncate", "no_id", "word"):
            raise ValueError(f"{self.fault}: not on a file, it changes JSON")
        if self.status and not 200 <= self.status <= 599:
            raise ValueError("status: 200 to 599 expected")
        if not isinstance(self.settings, dict) or not isinstance(self.headers, dict):
            raise ValueError("settings and headers: objects expected")
        if self.settings and self.endpoint != "submit":
            raise ValueError("settings: only a rule on submit can carry them")
        Settings().changed(self.settings, job_only=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Rule:
        """Return the rule that a JSON object describes; ValueError says what does not fit."""
        for name in values:
            _one_of("field", name, [item.name for item in fields(cls) if item.init])
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def applies(self, endpoint: str, video_url: str) -> bool:
        """Tell whether the rule is still alive and covers a call."""
        return (
            self.endpoint == endpoint and (self.times is None or self.hits < self.times) and self.match in unquote(urlsplit(video_url).path)
        )

    def row(self) -> dict[str, Any]:
        """Return the rule as JSON, with the number of calls it met."""
        return asdict(self)


def _check_types(record: JobSettings | Rule) -> None:
    for item in fields(record):
        value, default = getattr(record, item.name), item.default
        if isinstance(default, float) and type(value) is int:
            object.__setattr__(record, item.name, float(value))
        elif isinstance(default, (str, int, float)) and type(value) is not type(default):
            raise ValueError(f"{item.name}: {type(default).__name__} expected, not {value!r}")


def _one_of(what: str, value: object, allowed: Any) -> None:
    if value not in allowed:
        raise ValueError(f"{what}: {value!r} is not one of {', '.join(map(str, allowed))}")

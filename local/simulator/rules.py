"""Rules that make single calls misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from urllib.parse import unquote, urlsplit

from .settings import Settings, check_choice, check_types

ENDPOINTS = ("submit", "status", "result", "history", "credits", "file")
REPLACING_FAULTS = ("answer", "empty", "reset", "redirect", "content")
JSON_FAULTS = ("truncate", "no_id", "word")
BODY_FAULTS = ("slow", "break", "chunked", "length")
FAULTS = (*REPLACING_FAULTS, "delay", *JSON_FAULTS, *BODY_FAULTS)


@dataclass(kw_only=True)
class Rule:
    """What the simulator does to the calls that it matches.

    Faults that replace the response:
        "answer": `status`, with `body` as JSON or `html` as text, and `headers`.
        "empty": `status` without a body.
        "reset": a TCP reset.
        "redirect": to `location`; by default to another host name that leads back to
            /_simulator/elsewhere.
        "content": `body` as text, sent as video/mp4.
    A fault that delays it:
        "delay": the response starts after `seconds`.
    Faults that change it:
        "truncate": the first half of the JSON.
        "no_id": JSON without the request ID and the URLs.
        "word": JSON with `word` as the status.
        "slow": the body takes `seconds`.
        "break": the connection closes after `bytes` of the body.
        "chunked": no content-length; the connection closes after `bytes`, unless that is 0.
        "length": the content-length is wrong by `bytes`. Above 0, the body ends early; below 0,
            it is cut, and the client cannot tell.

    Attributes:
        endpoint: one of ENDPOINTS.
        match: part of the prompt, or of the path of the request's video_url; empty for every
            request.
        fault: one of FAULTS, or empty.
        times: for how many calls the rule holds; `None` for all.
        settings: JobSettings for the accepted request; on "submit" only.
        processed: whether the call takes effect although its response is replaced.
        hits: how many calls the rule has met.
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
        check_types(self, fields(self))
        if self.times is not None and type(self.times) is not int:
            raise ValueError(f"times: a whole number or null expected, not {self.times!r}")
        check_choice("endpoint", self.endpoint, ENDPOINTS)
        check_choice("fault", self.fault, ("", *FAULTS))
        if self.endpoint == "file" and self.fault in JSON_FAULTS:
            raise ValueError(f"{self.fault}: not on a file, because it changes JSON")
        if self.status and not 200 <= self.status <= 599:
            raise ValueError("status: 200 to 599 expected")
        if not isinstance(self.settings, dict) or not isinstance(self.headers, dict):
            raise ValueError("settings and headers: objects expected")
        if self.settings and self.endpoint != "submit":
            raise ValueError("settings: only a rule on submit can have them")
        Settings().changed(self.settings, job_only=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Rule:
        """Return the rule that a JSON object describes.

        Raises:
            ValueError: a name or a value is not valid.
        """
        for name in values:
            check_choice("field", name, [item.name for item in fields(cls) if item.init])
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def applies(self, endpoint: str, inputs: Mapping[str, Any]) -> bool:
        """Tell whether the rule still holds and matches a call."""
        is_used_up = self.times is not None and self.hits >= self.times
        if self.endpoint != endpoint or is_used_up:
            return False
        path = unquote(urlsplit(str(inputs.get("video_url") or "")).path)
        return self.match in path or self.match in str(inputs.get("prompt") or "")

    def as_json(self) -> dict[str, Any]:
        """Return the rule as the control API shows it."""
        return asdict(self)

"""The requests that the simulator has accepted."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Job:
    """An accepted request and its outcome; times are seconds since the epoch.

    Attributes:
        body: the request's body.
        overrides: settings that rules gave to this request.
        price: what it costs in USD, unless it ends FAILED.
        state: QUEUED, PROCESSING, COMPLETED or FAILED.
        error: why it FAILED.
    """

    body: dict[str, Any]
    overrides: dict[str, Any]
    price: float
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    file_name: str = field(default_factory=lambda: f"{uuid.uuid4()}.mp4")
    created: float = field(default_factory=time.time)
    started: float = 0.0
    ended: float = 0.0
    state: str = "QUEUED"
    error: str | None = None

    @property
    def is_paid(self) -> bool:
        """Tell whether the request is billed: every accepted one is, unless it FAILED."""
        return self.state != "FAILED"

    def start(self) -> None:
        """Enter PROCESSING."""
        self.state = "PROCESSING"
        self.started = time.time()

    def complete(self) -> None:
        """Enter COMPLETED."""
        self.state = "COMPLETED"
        self.ended = time.time()

    def fail(self, error: str) -> None:
        """Enter FAILED."""
        self.state = "FAILED"
        self.ended = time.time()
        self.error = error

    def metrics(self, credits_left: float, reports: str = "cost") -> dict[str, Any]:
        """Return Segmind's metrics: none before the end, and no cost if the request FAILED.

        Parameters:
            credits_left: the account's balance in USD.
            reports: what it says about the price; see the settings.
        """
        if not self.ended:
            return {}
        queued = self.started - self.created
        processed = self.ended - self.started
        metrics: dict[str, Any] = {
            "inference_time": round(processed, 3),
            "queue_time": round(queued, 3),
            "total_time": round(queued + processed, 3),
            "retry_count": 0,
        }
        if self.is_paid and reports != "nothing":
            cost = {"cost": self.price, "zero": 0.0, "absurd": 1e6}[reports]
            metrics |= {"cost": cost, "remaining_credits": credits_left}
        return metrics

    def as_json(self) -> dict[str, Any]:
        """Return the request as the ledger shows it."""
        return {
            "request_id": self.request_id,
            "time": self.created,
            "body": self.body,
            "state": self.state,
            "paid": self.is_paid,
            "cost": self.price if self.is_paid else 0.0,
            "error": self.error,
        }

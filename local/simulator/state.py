"""Everything that a running simulator remembers."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from .jobs import Job
from .rules import Rule
from .settings import Settings

RATE_WINDOW_SECONDS = 60


class State:
    """The account, its requests, the rules, and what was called.

    Attributes:
        settings: the settings that hold now.
        credits: the account's balance in USD.
        jobs: the accepted requests by ID.
        rules: the rules, oldest first.
    """

    def __init__(self, settings: Settings) -> None:
        self._initial_settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget everything except the initial settings."""
        self.settings = self._initial_settings
        self.credits = self.settings.credits
        self.jobs: dict[str, Job] = {}
        self.rules: list[Rule] = []
        self._recent_calls: deque[float] = deque()  # monotonic times within the rate window
        self._calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._misplaced_keys: list[dict[str, str]] = []

    def change_settings(self, values: Mapping[str, Any]) -> None:
        """Replace some settings; `credits` sets the balance."""
        self.settings = self.settings.changed(values)
        self.credits = float(values.get("credits", self.credits))

    def settings_of(self, job: Job) -> Settings:
        """Return the settings that hold for a request."""
        return self.settings.changed(job.overrides)

    def add_job(self, job: Job) -> None:
        """Add an accepted request and charge it."""
        self.jobs[job.request_id] = job
        self.credits = round(self.credits - job.price, 4)

    def charge(self, job: Job, usd: float) -> None:
        """Charge a request what it costs, instead of what it was charged."""
        self.refund(job)
        job.price = usd
        self.credits = round(self.credits - usd, 4)

    def refund(self, job: Job) -> None:
        """Give back what a request was charged."""
        self.credits = round(self.credits + job.price, 4)

    def job_of_file(self, name: str) -> Job | None:
        """Return the request that a file belongs to."""
        return next((job for job in self.jobs.values() if job.file_name == name), None)

    def has_record(self, job: Job) -> bool:
        """Tell whether a request can still be asked for."""
        return time.time() < job.created + self.settings_of(job).record_life_seconds

    def has_file(self, job: Job) -> bool:
        """Tell whether the file of a request can be downloaded."""
        is_expired = time.time() > job.created + self.settings.file_life_seconds
        return job.state == "COMPLETED" and not is_expired

    def is_in_history(self, job: Job) -> bool:
        """Tell whether the history lists a request yet."""
        return time.time() >= job.created + self.settings_of(job).history_delay_seconds

    def acquire_call(self) -> datetime | None:
        """Count a call against the rate limit; return when to try again if it is exceeded."""
        now = time.monotonic()
        while self._recent_calls and self._recent_calls[0] <= now - RATE_WINDOW_SECONDS:
            self._recent_calls.popleft()
        if len(self._recent_calls) >= self.settings.requests_per_minute:
            wait = self._recent_calls[0] + RATE_WINDOW_SECONDS - now
            return datetime.now(UTC) + timedelta(seconds=wait)
        self._recent_calls.append(now)
        return None

    def count_response(self, endpoint: str, outcome: str) -> None:
        """Count a response by its endpoint and HTTP status, or "reset"."""
        self._calls[endpoint][outcome] += 1

    def record_misplaced_key(self, method: str, path: str) -> None:
        """Remember that the API key was sent where it does not belong."""
        self._misplaced_keys.append({"method": method, "path": path})

    def ledger(self) -> dict[str, Any]:
        """Return what has happened: the requests, the money, the calls and the rules."""
        requests = [job.as_json() for job in self.jobs.values()]
        return {
            "requests": requests,
            "paid_requests": sum(request["paid"] for request in requests),
            "paid_total": round(sum(request["cost"] for request in requests), 4),
            "credits": self.credits,
            "calls": {name: dict(counts) for name, counts in self._calls.items()},
            "rate_limited": sum(counts["429"] for counts in self._calls.values()),
            "misplaced_keys": self._misplaced_keys,
            "rules": [rule.as_json() for rule in self.rules],
        }

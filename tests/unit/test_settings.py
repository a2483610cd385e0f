"""The environment that CloudFormation's parameters become."""

import pytest

from retake.settings import Settings


def test_numbers_are_read_as_cloudformation_passes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DAILY_BUDGET_USD": "12.50",
        "MAX_CLIP_SECONDS": "29.9",
        "REQUESTS_PER_MINUTE": "7.5",
        "DIGEST_MINUTES": "5",
        "JOBS_TABLE": "jobs",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert (settings.daily_budget_usd, settings.max_clip_seconds) == (12.5, 29.9)
    assert (settings.requests_per_minute, settings.digest_minutes) == (7, 5)
    assert settings.jobs_table == "jobs"

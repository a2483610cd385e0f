"""Secrets Manager: Segmind's API key, kept for a few minutes, read again when it was not accepted."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

KEPT_SECONDS = 300


class ApiKey:
    """The key; it goes into one header and nowhere else. `vault` is a Secrets Manager client; `clock()` gives seconds from any start."""

    def __init__(self, vault: Any, secret_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._vault, self._secret_id, self._clock = vault, secret_id, clock
        self._kept = ""
        self._read_at = float("-inf")

    def get(self) -> str:
        """Give the key, at most five minutes old."""
        if self._clock() >= self._read_at + KEPT_SECONDS:
            self._read()
        return self._kept

    def refresh(self) -> None:
        """Read the key again: it may have been rotated."""
        with suppress(BotoCoreError, ClientError):  # it is read again when it is next needed
            self._read()

    def _read(self) -> None:
        text = str(self._vault.get_secret_value(SecretId=self._secret_id)["SecretString"])
        # What cannot stand in a header is left out: a damaged key is then refused by Segmind, which holds all jobs, as it should.
        self._kept, self._read_at = "".join(sign for sign in text if "!" <= sign <= "~"), self._clock()

"""Secrets Manager: Segmind's API key, cached for a few minutes."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

CACHE_SECONDS = 300


class ApiKey:
    """The API key; it goes into one header and nowhere else.

    Parameters:
        client: a Secrets Manager client.
        secret_arn: the secret.
        clock: returns seconds since the epoch, which go on while Lambda has frozen the function.
    """

    def __init__(
        self, *, client: Any, secret_arn: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._client, self._secret_arn, self._clock = client, secret_arn, clock
        self._cached = ""
        self._read_at = float("-inf")

    def get(self) -> str:
        """Return the key, at most five minutes old."""
        if self._clock() >= self._read_at + CACHE_SECONDS:
            self._read()
        return self._cached

    def refresh(self) -> None:
        """Read the key again, because it may have been rotated."""
        with suppress(BotoCoreError, ClientError):  # it is read again when it is needed next
            self._read()

    def _read(self) -> None:
        text = str(self._client.get_secret_value(SecretId=self._secret_arn)["SecretString"])
        # Characters that a header cannot hold are dropped. Segmind then rejects the damaged key,
        # which holds all jobs, as it should.
        self._cached = "".join(character for character in text if "!" <= character <= "~")
        self._read_at = self._clock()

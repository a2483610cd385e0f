"""Secrets Manager: Segmind's API key, kept for a few minutes, read again when it was not accepted."""

from contextlib import suppress

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

KEPT_SECONDS = 300


class ApiKey:
    """The key; it goes into one header and nowhere else."""

    def __init__(self, provider: SecretsProvider, secret_id: str) -> None:
        self._provider, self._secret_id = provider, secret_id

    def get(self) -> str:
        """Give the key, at most five minutes old."""
        # What cannot stand in a header is left out: a damaged key is then refused by Segmind, which holds all jobs, as it should.
        return "".join(sign for sign in str(self._provider.get(self._secret_id, max_age=KEPT_SECONDS)) if "!" <= sign <= "~")

    def refresh(self) -> None:
        """Read the key again: it may have been rotated."""
        with suppress(GetParameterError):  # it is read again when it is next needed
            self._provider.get(self._secret_id, force_fetch=True, max_age=KEPT_SECONDS)

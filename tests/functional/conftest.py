"""The command and the gallery call AWS through boto3 themselves."""

from collections.abc import Iterator

import pytest

from tests.support import mocked
from tests.support.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """The pipeline over moto, in this process."""
    with mocked.aws():
        yield mocked.create_world()

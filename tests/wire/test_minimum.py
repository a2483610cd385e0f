"""The oldest boto3 that the code needs. Lambda provides boto3, in a version that AWS chooses.

To run the wire tests against it, in an environment of its own:

    python -m venv /tmp/oldest
    /tmp/oldest/bin/pip install boto3==1.36.0 pytest rich typer jinja2
    /tmp/oldest/bin/python -m pytest --noconftest tests/wire
"""

import tomllib
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.session import get_session

ROOT = Path(__file__).parents[2]
MINIMUM_BOTO3 = "1.36.0"  # the first one with request_checksum_calculation


def test_the_installed_boto3_is_new_enough() -> None:
    installed, minimum = (
        tuple(map(int, version.split(".")[:3])) for version in (boto3.__version__, MINIMUM_BOTO3)
    )
    assert installed >= minimum


@pytest.mark.parametrize(
    ("operation", "parameter"),
    [
        ("PutObject", "IfNoneMatch"),
        ("PutObject", "IfMatch"),
        ("CompleteMultipartUpload", "IfNoneMatch"),
        ("CompleteMultipartUpload", "IfMatch"),
    ],
)
def test_s3_has_conditional_writes(operation: str, parameter: str) -> None:
    shape = get_session().get_service_model("s3").operation_model(operation).input_shape
    assert parameter in shape.members


def test_a_client_can_send_without_a_checksum_trailer() -> None:
    config = Config(request_checksum_calculation="when_required")
    assert config.request_checksum_calculation == "when_required"


def test_the_package_requires_the_minimum() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"boto3>={MINIMUM_BOTO3}" in package["dependencies"]


def test_the_documentation_states_the_minimum() -> None:
    assert f"boto3 {MINIMUM_BOTO3}" in (ROOT / "docs/deploy.md").read_text()

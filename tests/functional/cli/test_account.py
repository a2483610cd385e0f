"""Without credentials or a Region, a command says so, and how to get them."""

import os
from pathlib import Path

import pytest
from botocore import credentials
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    SSOTokenLoadError,
)

from retake_cli.account import explain_aws, open_session
from retake_cli.commands import deploy, destroy
from retake_cli.console import CommandError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which AWS isn't configured."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_LOGIN_CACHE_DIRECTORY", str(tmp_path))
    return tmp_path


def set_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def problem(profile: str | None = None, region: str | None = None) -> CommandError:
    """Open a session, and return why that isn't possible."""
    with pytest.raises(CommandError) as raised:
        open_session(profile, region)
    assert raised.value.code == 2
    return raised.value


def test_without_credentials_and_region_both_are_explained_at_once() -> None:
    both = problem()
    assert both.what == "there are no AWS credentials, and no AWS Region is set"
    for word in ("aws configure", "aws sso login", "aws login", "--profile", "AWS_REGION"):
        assert word in both.do_now


def test_one_that_is_missing_is_explained_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    without_credentials = problem(region="eu-central-1")
    assert without_credentials.what == "there are no AWS credentials"
    assert "AWS_REGION" not in without_credentials.do_now
    set_credentials(monkeypatch)
    without_region = problem()
    assert without_region.what == "no AWS Region is set"
    assert "aws configure" not in without_region.do_now


def test_the_region_comes_from_the_option_the_variable_or_the_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_credentials(monkeypatch)
    (home / "config").write_text("[default]\nregion = eu-west-3\n")
    assert open_session(None, None).region_name == "eu-west-3"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")  # boto3 itself doesn't read this variable
    assert open_session(None, None).region_name == "eu-north-1"
    assert open_session(None, "us-west-2").region_name == "us-west-2"


def test_a_profile_that_does_not_exist_is_explained() -> None:
    unknown = problem(profile="nobody", region="eu-central-1")
    assert "nobody" in unknown.what
    assert "aws configure list-profiles" in unknown.do_now


def test_half_a_credential_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    half = problem(region="eu-central-1")
    assert "incomplete" in half.what
    assert "aws configure" in half.do_now


def test_a_profile_of_aws_login_without_awscrt_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "EC", None)  # as without awscrt
    (home / "config").write_text(
        "[profile me]\nregion = eu-central-1\nlogin_session = arn:aws:iam::123456789012:user/me\n"
    )
    missing = problem(profile="me")
    assert "aws login" in missing.what
    assert "awscrt" in missing.what
    assert "pip install 'botocore[crt]'" in missing.do_now


def test_an_expired_login_says_to_log_in_again() -> None:
    for error in (
        SSOTokenLoadError(error_msg="expired"),
        ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "DescribeStacks"),
    ):
        assert "log in again" in explain_aws(error).do_now


def test_what_aws_rejects_is_explained() -> None:
    denied = explain_aws(
        ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "DescribeStacks")
    )
    assert denied.what == "AWS rejected DescribeStacks: no"
    assert "permissions" in denied.do_now
    assert explain_aws(NoCredentialsError()).what == "there are no AWS credentials"
    assert "network" in explain_aws(EndpointConnectionError(endpoint_url="https://x")).do_now


@pytest.mark.parametrize("main", [deploy.main, destroy.main])
def test_deploy_and_destroy_say_first_that_nobody_is_logged_in(
    main: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing is asked or run")

    monkeypatch.setattr("builtins.input", never)
    monkeypatch.setattr("getpass.getpass", never)
    monkeypatch.setattr("subprocess.run", never)
    assert callable(main)
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    first, *rest = printed.err.splitlines()
    assert first.startswith("Nothing was ")
    assert "no AWS credentials, and no AWS Region is set" in first
    assert "aws configure" in "\n".join(rest)

"""Opens a session of the AWS account that a command works on, and explains what AWS rejects."""

import os
import sys
from typing import Any

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    MissingDependencyException,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from retake.aws.dynamodb import error_code

from .console import CommandError

RESUME = "run the same command again to resume"
_NO_CREDENTIALS = "there are no AWS credentials"
_GET_CREDENTIALS = (
    "run `aws configure`, `aws sso login`, or `aws login`; "
    "to use a profile, add --profile or set AWS_PROFILE"
)
_NO_REGION = "no AWS Region is set"
_SET_REGION = "add --region, or set AWS_REGION, such as `export AWS_REGION=eu-central-1`"


def open_session(profile: str | None, region: str | None) -> Any:
    """Return a boto3 session that has credentials and a Region.

    Parameters:
        profile: the AWS profile; `None` for the one that the environment selects.
        region: the AWS Region; `None` for the one of the environment or the profile.

    Raises:
        CommandError: there are no credentials, or there is no Region.
    """
    try:
        session = boto3.Session(
            profile_name=profile, region_name=region or os.environ.get("AWS_REGION")
        )
        credentials = session.get_credentials()
        if credentials is not None:
            credentials.get_frozen_credentials()  # it reads or refreshes the token of a login
    except BotoCoreError as error:
        problem = explain_aws(error)
        do_now = _GET_CREDENTIALS if problem.do_now == RESUME else problem.do_now
        raise CommandError(problem.what, do_now, 2) from error
    missing = []
    if credentials is None:
        missing.append((_NO_CREDENTIALS, _GET_CREDENTIALS))
    if not session.region_name:
        missing.append((_NO_REGION, _SET_REGION))
    if missing:
        what = ", and ".join(what for what, _ in missing)
        raise CommandError(what, "\n".join(do_now for _, do_now in missing), 2)
    return session


def explain_aws(error: Exception) -> CommandError:
    """Describe an error of AWS, or of the way to it, in plain words."""
    if isinstance(error, NoCredentialsError):
        return CommandError(_NO_CREDENTIALS, _GET_CREDENTIALS)
    if isinstance(error, PartialCredentialsError):
        return CommandError(f"the AWS credentials are incomplete: {error}", _GET_CREDENTIALS)
    if isinstance(error, ProfileNotFound):
        what = str(error).removesuffix(".")
        return CommandError(what, "run `aws configure list-profiles` to list the profiles")
    if isinstance(error, MissingDependencyException):
        what = "profiles of `aws login` need the Python package awscrt, which isn't installed"
        return CommandError(what, f"run `{sys.executable} -m pip install 'botocore[crt]'`")
    if isinstance(error, SSOError | TokenRetrievalError):
        return CommandError(str(error), "log in again: run `aws login` or `aws sso login`")
    if isinstance(error, HTTPClientError | EndpointConnectionError):
        hint = "check your network; for the embedded cloud, run `make down`, then `make up`"
        return CommandError(f"could not connect to AWS: {error}", hint)
    if not isinstance(error, ClientError):
        return CommandError(str(error), RESUME)
    return _explain_response(error)


def _explain_response(error: ClientError) -> CommandError:
    code = error_code(error)
    message = error.response["Error"].get("Message") or code
    hint = RESUME
    if "Expired" in code or "Token" in code:
        hint = "log in again: run `aws login` or `aws sso login`"
    elif "Denied" in code or code == "403":
        hint = "use a --profile with more permissions"
    return CommandError(f"AWS rejected {error.operation_name}: {message}", hint)

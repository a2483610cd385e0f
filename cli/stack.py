"""Finds the stack that a command is about: the embedded cloud that is up, or a CloudFormation stack."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ProfileNotFound

from retake.adapters.jobs import JobsTable

from .console import Problem

DEFAULT_NAME = "retake"
LOCAL_OUTPUTS = Path(".local/outputs.json")
_CHECKOUT = Path(__file__).resolve().parent.parent
_PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, max_pool_connections=16)


@dataclass(frozen=True)
class Stack:
    """A deployed stack: its `outputs` and `parameters` by name, and `where` it was found, for people."""

    where: str
    status: str
    outputs: dict[str, str]
    parameters: dict[str, str]
    session: Any
    endpoint: str | None = None

    def client(self, service: str) -> Any:
        """Make a client for the account and region of the stack."""
        return self.session.client(service, endpoint_url=self.endpoint, config=_PATIENT)

    @cached_property
    def s3(self) -> Any:
        return self.session.client("s3", endpoint_url=self.endpoint, config=_PATIENT.merge(Config(signature_version="s3v4")))

    @cached_property
    def table(self) -> Any:
        """The jobs table."""
        resource = self.session.resource("dynamodb", endpoint_url=self.endpoint, config=_PATIENT)
        return resource.Table(self.outputs["JobsTableName"])

    @property
    def jobs(self) -> JobsTable:
        """The jobs table as the functions use it."""
        return JobsTable(self.table)

    @property
    def input(self) -> str:
        return self.outputs["InputBucketName"]

    @property
    def budget_usd(self) -> float:
        return float(self.parameters.get("DailyBudgetUsd", 25))

    @property
    def max_seconds(self) -> float:
        return float(self.parameters.get("MaxClipSeconds", 30))


def find(name: str | None, profile: str | None, region: str | None) -> Stack:
    """Find the stack; without a name and a profile, the embedded cloud is taken when it is up.

    Raises `Problem` when there is none.
    """
    if not name and not profile and (outputs := _embedded()):
        known: dict[str, Any] = json.loads(outputs.read_text())
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=known["Region"])  # noqa: S106 - the emulator's
        return _describe(session, DEFAULT_NAME, f"the embedded cloud ({outputs})", known["Endpoint"])
    name = name or DEFAULT_NAME
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
    except ProfileNotFound:
        raise Problem(f"there is no AWS profile {profile}", "`aws configure list-profiles` names those there are", 2) from None
    if not session.region_name:
        cure = "give --region, or set AWS_REGION; for the embedded cloud: make up, and stay in its folder"
        raise Problem("no AWS region is chosen", cure, 2)
    return _describe(session, name, f"the stack {name} in {session.region_name}", None)


def _embedded() -> Path | None:
    here = Path.cwd()
    found = (folder / LOCAL_OUTPUTS for folder in (here, *here.parents, _CHECKOUT))
    return next((path for path in found if path.is_file()), None)


def _describe(session: Any, name: str, where: str, endpoint: str | None) -> Stack:
    try:
        described = session.client("cloudformation", endpoint_url=endpoint, config=_PATIENT).describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        cure = "give --stack, --profile or --region; `make deploy` makes one, `make up` starts one on this machine"
        raise Problem(f"there is no stack {name} in this account in {session.region_name}", cure, 2) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    if "JobsTableName" not in outputs:
        raise Problem(f"{where} is no Retake stack, or not deployed yet ({described['StackStatus']})", "give --stack", 2)
    parameters = {given["ParameterKey"]: given["ParameterValue"] for given in described.get("Parameters", [])}
    return Stack(where, described["StackStatus"], outputs, parameters, session, endpoint)

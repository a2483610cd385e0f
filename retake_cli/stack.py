"""Finds the stack a command works on: the embedded cloud if it is up, or a CloudFormation stack."""

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ProfileNotFound

from retake.aws.admission_store import AdmissionStore
from retake.aws.clients import SIGNING
from retake.aws.follow_ups import FollowUps
from retake.aws.input_store import InputStore
from retake.aws.job_store import JobStore
from retake.aws.s3 import InputBucket
from retake.services.claim import Candidates

from .console import CommandError

DEFAULT_NAME = "retake"
LOCAL_OUTPUTS = Path(".local/outputs.json")
_CHECKOUT = Path(__file__).resolve().parent.parent
_PATIENT = Config(
    retries={"mode": "standard", "total_max_attempts": 5},
    connect_timeout=5,
    max_pool_connections=16,
)
_PATIENT_S3 = _PATIENT.merge(SIGNING)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A deployed stack.

    Attributes:
        name: its name.
        where: where it was found, for people.
        status: its status in CloudFormation.
        outputs: its outputs by name.
        parameters: its parameters by name.
        session: the boto3 session of its account and Region.
        endpoint: the URL of an emulator; `None` for AWS.
    """

    name: str = DEFAULT_NAME
    where: str
    status: str
    outputs: dict[str, str]
    parameters: dict[str, str]
    session: Any
    endpoint: str | None = None

    def client(self, service: str, config: Config = _PATIENT) -> Any:
        """Create a client for the account and Region of the stack."""
        return self.session.client(service, endpoint_url=self.endpoint, config=config)

    @cached_property
    def s3(self) -> Any:
        """Return an S3 client that can also sign URLs."""
        return self.client("s3", _PATIENT_S3)

    @cached_property
    def table(self) -> Any:
        """Return the jobs table."""
        resource = self.session.resource("dynamodb", endpoint_url=self.endpoint, config=_PATIENT)
        return resource.Table(self.outputs["JobsTableName"])

    @cached_property
    def jobs(self) -> JobStore:
        """Return the jobs."""
        return JobStore(table=self.table)

    @cached_property
    def records(self) -> InputStore:
        """Return what is known about the keys of the input bucket."""
        return InputStore(table=self.table, bucket=self.input_bucket.name)

    @cached_property
    def follow_ups(self) -> FollowUps:
        """Return the index of what is followed up."""
        return FollowUps(table=self.table)

    @cached_property
    def admission(self) -> AdmissionStore:
        """Return the state of admission control."""
        return AdmissionStore(table=self.table)

    @cached_property
    def input_bucket(self) -> InputBucket:
        """Return the input bucket."""
        return InputBucket(s3=self.s3, name=self.outputs["InputBucketName"])

    @cached_property
    def candidates(self) -> Candidates:
        """Return the reader of clips and presets that the functions use."""
        return Candidates(
            bucket=self.input_bucket, records=self.records, jobs=self.jobs, clock=time.time
        )

    @property
    def daily_budget_usd(self) -> float:
        """Return what may be spent in a day (UTC)."""
        return float(self.parameters.get("DailyBudgetUsd", 25))

    @property
    def max_job_usd(self) -> float:
        """Return what one job may cost, unless its sidecar says more."""
        return float(self.parameters.get("MaxJobUsd", 5))

    @property
    def uses_kms(self) -> bool:
        """Tell whether the buckets encrypt with a key of AWS KMS."""
        return bool(self.parameters.get("KmsKeyArn"))

    @property
    def max_clip_seconds(self) -> float:
        """Return the duration that a clip must stay under."""
        return float(self.parameters.get("MaxClipSeconds", 30))

    def put_json(self, key: str, body: bytes) -> None:
        """Upload a sidecar or a preset to the input bucket."""
        self.s3.put_object(
            Bucket=self.input_bucket.name, Key=key, Body=body, ContentType="application/json"
        )

    def count_messages(self, queue_output: str) -> int:
        """Count the messages in a queue, about as well as SQS knows.

        Parameters:
            queue_output: the stack's output with the queue's URL.
        """
        attribute = "ApproximateNumberOfMessages"
        response = self.client("sqs").get_queue_attributes(
            QueueUrl=self.outputs[queue_output], AttributeNames=[attribute]
        )
        return int(response["Attributes"][attribute])


def find(name: str | None, profile: str | None, region: str | None) -> Stack:
    """Find the stack. Without a name and a profile, use the embedded cloud if it is up.

    Raises:
        CommandError: there is no such stack, or no Region is set.
    """
    local_outputs = None if name or profile else _local_outputs()
    if local_outputs:
        return _embedded_cloud(local_outputs)
    name = name or DEFAULT_NAME
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
    except ProfileNotFound:
        hint = "run `aws configure list-profiles` to list the profiles"
        raise CommandError(f"there is no AWS profile {profile}", hint, 2) from None
    if not session.region_name:
        hint = (
            "add --region, or set AWS_REGION; "
            "to use the embedded cloud, run `make up` and stay in its folder"
        )
        raise CommandError("no AWS Region is set", hint, 2)
    return _describe(session, name, f"the stack {name} in {session.region_name}", None)


def _local_outputs() -> Path | None:
    here = Path.cwd()
    candidates = (folder / LOCAL_OUTPUTS for folder in (here, *here.parents, _CHECKOUT))
    return next((path for path in candidates if path.is_file()), None)


def _embedded_cloud(local_outputs: Path) -> Stack:
    known: dict[str, Any] = json.loads(local_outputs.read_text())
    session = boto3.Session(
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator's
        region_name=known["Region"],
    )
    where = f"the embedded cloud ({local_outputs})"
    return _describe(session, DEFAULT_NAME, where, known["Endpoint"])


def _describe(session: Any, name: str, where: str, endpoint: str | None) -> Stack:
    formation = session.client("cloudformation", endpoint_url=endpoint, config=_PATIENT)
    try:
        found = formation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        hint = (
            "add --stack, --profile, or --region; "
            "to create a stack, run `make deploy`, or `make up` on this machine"
        )
        what = f"there is no stack {name} in this account in {session.region_name}"
        raise CommandError(what, hint, 2) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    status = found["StackStatus"]
    if "JobsTableName" not in outputs:
        what = f"{where} is not a Retake stack, or is not deployed yet ({status})"
        raise CommandError(what, "add --stack with the name of another stack", 2)
    parameters = {
        parameter["ParameterKey"]: parameter["ParameterValue"]
        for parameter in found.get("Parameters", [])
    }
    return Stack(
        name=name,
        where=where,
        status=status,
        outputs=outputs,
        parameters=parameters,
        session=session,
        endpoint=endpoint,
    )

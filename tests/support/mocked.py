"""The pipeline over moto, for what calls AWS through boto3 itself, such as the command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import boto3
from botocore.config import Config
from moto import mock_aws

from .stand_ins import REGION
from .template import RESOURCES
from .world import World

_FAST = Config(parameter_validation=False)
_OF_THE_TABLE = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


@cache
def client(service: str) -> Any:
    """Create a client once: that takes longer than a test."""
    return boto3.client(service, region_name=REGION, config=_FAST)


@cache
def _resource() -> Any:
    return boto3.resource("dynamodb", region_name=REGION, config=_FAST)


@contextmanager
def aws() -> Iterator[None]:
    """Let boto3 call moto, whatever the environment says."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with mock.patch.dict(os.environ, ours, clear=True), mock_aws():
        yield


def create_world() -> World:
    """Create the pipeline."""
    create_buckets(client("s3"))
    return World(create_jobs_table(_resource()), s3=client("s3"))


def create_jobs_table(dynamodb: Any) -> Any:
    """Create the jobs table as the template defines it.

    Parameters:
        dynamodb: a boto3 resource.
    """
    properties = RESOURCES["JobsTable"]["Properties"]
    of_the_table = {name: properties[name] for name in _OF_THE_TABLE}
    return dynamodb.create_table(TableName="jobs", **of_the_table)


def create_buckets(s3: Any) -> None:
    """Create the input bucket and the output bucket, with versions."""
    for name in ("input", "output", "staging"):
        where = {"LocationConstraint": REGION}
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=where)
        versioning = {"Status": "Enabled"}
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=versioning)

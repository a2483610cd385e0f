"""What deploys from GitHub is pinned, and allowed exactly what the template needs."""

import json
import os
import re
import shlex
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.template import RESOURCES, ROOT, TEMPLATE, listed, load

GITHUB = ROOT / ".github"
ROLE_TEXT = (GITHUB / "deploy-role.yaml").read_text()
ROLE = load(GITHUB / "deploy-role.yaml")["Resources"]
BOUNDARY_POLICY = ROLE["Boundary"]["Properties"]["PolicyDocument"]
DEPLOY_POLICY = ROLE["DeployRole"]["Properties"]["Policies"][0]["PolicyDocument"]
WORKFLOW = yaml.safe_load((GITHUB / "workflows/deploy.yml").read_text())
THROUGH_CLOUDFORMATION = {"aws:CalledVia": "cloudformation.amazonaws.com"}
PINNED = r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/ci\.yml"
FORBIDDEN = [
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:PutObjectAcl",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Scan",
    "dynamodb:Query",
    "secretsmanager:GetSecretValue",
    "lambda:InvokeFunction",
    "states:StartExecution",
    "logs:GetLogEvents",
    "iam:AttachRolePolicy",
    "iam:DeleteRolePermissionsBoundary",
]


# What CloudFormation calls to create, read, and delete the resources of the template, as far
# as they are of a type whose rollback needs more than its creation; from the handlers in the
# resource schemas of AWS. What is only called for a property that the template doesn't set is left
# out.
HANDLERS = {
    "AWS::S3::Bucket": [
        "s3:CreateBucket",
        "s3:ListBucket",
        "s3:DeleteBucket",
        "s3:GetAccelerateConfiguration",
        "s3:GetAnalyticsConfiguration",
        "s3:GetBucketAbac",
        "s3:GetBucketAcl",
        "s3:GetBucketCORS",
        "s3:GetBucketLogging",
        "s3:GetBucketMetadataTableConfiguration",
        "s3:GetBucketNotification",
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketTagging",
        "s3:GetBucketVersioning",
        "s3:GetBucketWebsite",
        "s3:GetEncryptionConfiguration",
        "s3:GetIntelligentTieringConfiguration",
        "s3:GetInventoryConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:GetMetricsConfiguration",
        "s3:GetReplicationConfiguration",
        "s3:ListTagsForResource",
    ],
    "AWS::S3::BucketPolicy": ["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"],
    "AWS::DynamoDB::Table": [
        "dynamodb:CreateTable",
        "dynamodb:DeleteTable",
        "dynamodb:DescribeTable",
        "dynamodb:DescribeContinuousBackups",
        "dynamodb:DescribeContributorInsights",
        "dynamodb:DescribeKinesisStreamingDestination",
        "dynamodb:DescribeTimeToLive",
        "dynamodb:GetResourcePolicy",
        "dynamodb:ListTagsOfResource",
    ],
    "AWS::SNS::Subscription": [
        "sns:Subscribe",
        "sns:Unsubscribe",
        "sns:GetSubscriptionAttributes",
        "sns:SetSubscriptionAttributes",
    ],
    "AWS::CloudWatch::Dashboard": [
        "cloudwatch:PutDashboard",
        "cloudwatch:GetDashboard",
        "cloudwatch:DeleteDashboards",
        "cloudwatch:TagResource",
        "cloudwatch:ListTagsForResource",
    ],
    "AWS::Logs::LogGroup": [
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:DescribeLogGroups",
        "logs:DescribeIndexPolicies",
        "logs:DescribeResourcePolicies",
        "logs:GetDataProtectionPolicy",
        "logs:ListTagsForResource",
    ],
}


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy, including those under a condition."""
    given = document["Statement"]
    return [each["Fn::If"][1] if "Fn::If" in each else each for each in given]


def actions(document: dict[str, Any]) -> set[str]:
    """Return the actions of a policy."""
    return {action for each in statements(document) for action in listed(each["Action"])}


def allowing(document: dict[str, Any], action: str, of: str) -> list[dict[str, Any]]:
    """Return the statements that allow an action on a resource; `of` is a part of its ARN."""
    return [
        each
        for each in statements(document)
        if any(fnmatchcase(action, pattern) for pattern in listed(each["Action"]))
        and (each["Resource"] == "*" or of in json.dumps(each["Resource"]))
    ]


def characters(document: dict[str, Any]) -> int:
    """Return how many characters IAM counts in a policy: all but white space."""
    text = json.dumps(document, separators=(",", ":"))
    text = re.sub(r'{"Fn::Sub":("[^"]*")}', r"\1", text)
    text = text.replace("${AWS::Partition}", "aws-us-gov").replace("${AWS::AccountId}", "1" * 12)
    return len(re.sub(r'{"Ref":"[^"]*"}', '"' + "x" * 100 + '"', text))


def stack_policies() -> list[dict[str, Any]]:
    """Return the policies of all roles of the stack."""
    documents = []
    for resource in RESOURCES.values():
        properties = resource["Properties"]
        documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        if resource["Type"] == "AWS::IAM::Policy":
            documents.append(properties["PolicyDocument"])
    return documents


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    for workflow in (GITHUB / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: (.+)", workflow.read_text()):
            assert re.fullmatch(PINNED, action), action


def test_the_boundary_allows_everything_that_a_role_of_the_stack_may_do() -> None:
    needed = {action for document in stack_policies() for action in actions(document)}
    assert needed
    assert needed <= actions(BOUNDARY_POLICY)


def test_the_deployment_role_reads_and_deletes_no_data() -> None:
    allowed = actions(DEPLOY_POLICY)
    for action in FORBIDDEN:
        assert not any(fnmatchcase(action, pattern) for pattern in allowed), action


@pytest.mark.parametrize("kind", HANDLERS)
def test_the_deployment_role_may_create_read_and_roll_back_a_resource(kind: str) -> None:
    arns = {"S3": ":s3:::retake-*", "SNS": ":sns:", "Logs": ":log-group:retake-*"}
    service = kind.split("::")[1]
    assert kind in {resource["Type"] for resource in RESOURCES.values()}
    for action in HANDLERS[kind]:
        of = arns.get(service, "dashboard/*" if "Dashboard" in kind else ":table/retake-*")
        assert allowing(DEPLOY_POLICY, action, of), action


def test_a_failed_first_deployment_can_be_deleted() -> None:
    assert allowing(DEPLOY_POLICY, "cloudformation:DeleteStack", ":stack/retake/*")


@pytest.mark.parametrize("action", ["s3:DeleteBucket", "dynamodb:DeleteTable"])
def test_buckets_and_tables_are_deleted_only_through_cloudformation(action: str) -> None:
    given = [each for each in statements(DEPLOY_POLICY) if action in listed(each["Action"])]
    assert given
    for statement in given:
        condition = statement["Condition"]["ForAnyValue:StringEquals"]
        assert condition == THROUGH_CLOUDFORMATION


def test_cloudformation_deletes_stateful_resources_only_when_their_creation_fails() -> None:
    stateful = ("AWS::S3::Bucket", "AWS::DynamoDB::Table")
    found = [resource for resource in RESOURCES.values() if resource["Type"] in stateful]
    assert len(found) == 4
    for resource in found:
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_the_role_is_the_same_in_every_partition() -> None:
    assert "arn:aws:" not in ROLE_TEXT
    assert re.findall(r"arn:(?!\$\{AWS::Partition\}|\[)", ROLE_TEXT) == []
    assert "sts.amazonaws.com" not in ROLE_TEXT.replace("sts.amazonaws.com.cn", "")


def test_the_policies_are_within_the_limits_of_iam() -> None:
    assert characters(BOUNDARY_POLICY) <= 6_144
    assert characters(DEPLOY_POLICY) <= 10_240


def test_the_parameters_of_the_role_are_those_of_the_stack() -> None:
    mine, theirs = load(GITHUB / "deploy-role.yaml")["Parameters"], TEMPLATE["Parameters"]
    shared = mine.keys() & theirs.keys()
    for name in shared:
        assert mine[name]["AllowedPattern"] == theirs[name]["AllowedPattern"]


# ─── The workflow ────────────────────────────────────────────────────────────────────────────────


def deploy_from_github(tmp_path: Path, **variables: str) -> tuple[int, list[str]]:
    """Run the step that deploys, with a `make` that only records its arguments."""
    steps = WORKFLOW["jobs"]["deploy"]["steps"]
    (step,) = [step for step in steps if step.get("name") == "Deploy"]
    assert step["env"].keys() == {"BOUNDARY", "PARAMETERS", "SEGMIND_API_KEY"}
    log = tmp_path / "log"
    (tmp_path / "make").write_text(f'#!/bin/sh\nfor word; do echo "$word"; done >{log}\n')
    (tmp_path / "make").chmod(0o755)
    environment = dict.fromkeys(step["env"], "") | variables
    done = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, log.read_text().splitlines() if log.exists() else []


def arguments(words: list[str]) -> list[str]:
    """Return what `make deploy` passes to the command."""
    assert words[:2] == ["--silent", "deploy"]
    return shlex.split(words[2].removeprefix("ARGS="))


def test_the_workflow_deploys_with_the_command_and_without_questions(tmp_path: Path) -> None:
    code, words = deploy_from_github(tmp_path, SEGMIND_API_KEY="SG_secret")
    assert code == 0
    assert arguments(words) == ["--no-confirm-changeset"]


def test_the_workflow_names_the_boundary_and_the_given_parameters(tmp_path: Path) -> None:
    boundary = "arn:aws-us-gov:iam::123456789012:policy/deploy-retake-Boundary-1"
    code, words = deploy_from_github(
        tmp_path, BOUNDARY=boundary, PARAMETERS="DailyBudgetUsd=100 MaxClipSeconds=9"
    )
    assert code == 0
    assert arguments(words) == [
        "--no-confirm-changeset",
        "--parameter-overrides",
        f"PermissionsBoundaryArn={boundary}",
        "DailyBudgetUsd=100",
        "MaxClipSeconds=9",
    ]


@pytest.mark.parametrize("hostile", ["A=$(id)", "A=1; id", "A=`id`", "A=1\nB=2", "A=$HOME"])
def test_the_workflow_refuses_parameters_that_a_shell_would_run(
    tmp_path: Path, hostile: str
) -> None:
    code, words = deploy_from_github(tmp_path, PARAMETERS=hostile)
    assert (code, words) == (1, [])

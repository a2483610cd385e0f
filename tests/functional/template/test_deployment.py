"""What deploys from GitHub is pinned, and allowed exactly what the template needs."""

import re
from fnmatch import fnmatchcase
from typing import Any

from tests.support.template import RESOURCES, ROOT, listed, load

GITHUB = ROOT / ".github"
ROLE = load(GITHUB / "deploy-role.yaml")["Resources"]
PINNED = r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/ci\.yml"
FORBIDDEN = [
    "s3:DeleteObject",
    "s3:DeleteBucket",
    "dynamodb:DeleteTable",
    "dynamodb:GetItem",
    "dynamodb:Scan",
    "dynamodb:Query",
    "secretsmanager:GetSecretValue",
    "lambda:InvokeFunction",
    "states:StartExecution",
    "logs:GetLogEvents",
    "iam:AttachRolePolicy",
    "iam:DeleteRolePermissionsBoundary",
]


def actions(document: dict[str, Any]) -> set[str]:
    """Return the actions of a policy."""
    return {action for statement in document["Statement"] for action in listed(statement["Action"])}


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
    boundary = actions(ROLE["Boundary"]["Properties"]["PolicyDocument"])
    needed = {action for document in stack_policies() for action in actions(document)}
    assert needed
    assert needed <= boundary


def test_the_deployment_role_reads_and_deletes_no_data() -> None:
    allowed = actions(ROLE["DeployRole"]["Properties"]["Policies"][0]["PolicyDocument"])
    for action in FORBIDDEN:
        assert not any(fnmatchcase(action, pattern) for pattern in allowed), action

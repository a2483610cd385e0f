"""What deploys from GitHub: pinned, and allowed what the template needs."""

import re
from fnmatch import fnmatchcase
from typing import Any

import yaml

from tests.template.test_template import RESOURCES, ROOT, _Loader

GITHUB = ROOT / ".github"
ROLE: dict[str, Any] = yaml.load((GITHUB / "deploy-role.yaml").read_text(), Loader=_Loader)["Resources"]  # noqa: S506


def actions(document: dict[str, Any]) -> set[str]:
    given = [statement["Action"] for statement in document["Statement"]]
    return {action for each in given for action in ([each] if isinstance(each, str) else each)}


def test_actions_are_pinned_by_commit_and_tell_their_version() -> None:
    for workflow in (GITHUB / "workflows").glob("*.yml"):
        for used in re.findall(r"uses: (.+)", workflow.read_text()):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/ci\.yml", used), used


def test_the_boundary_allows_what_every_role_of_the_stack_may() -> None:
    boundary = actions(ROLE["Boundary"]["Properties"]["PolicyDocument"])
    inline = [policy["PolicyDocument"] for each in RESOURCES.values() for policy in each["Properties"].get("Policies", [])]
    apart = [each["Properties"]["PolicyDocument"] for each in RESOURCES.values() if each["Type"] == "AWS::IAM::Policy"]
    needed = {action for document in inline + apart for action in actions(document)}
    assert needed
    assert needed <= boundary


def test_who_deploys_reads_no_data_and_deletes_none() -> None:
    allowed = actions(ROLE["DeployRole"]["Properties"]["Policies"][0]["PolicyDocument"])
    never = ["s3:DeleteObject", "s3:DeleteBucket", "dynamodb:DeleteTable", "dynamodb:GetItem", "dynamodb:Scan", "dynamodb:Query"]
    never += [
        "secretsmanager:GetSecretValue",
        "lambda:InvokeFunction",
        "states:StartExecution",
        "logs:GetLogEvents",
        "iam:AttachRolePolicy",
    ]
    never += ["iam:DeleteRolePermissionsBoundary"]
    for action in never:
        assert not any(fnmatchcase(action, pattern) for pattern in allowed), action

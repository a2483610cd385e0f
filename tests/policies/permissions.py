"""Every permission of every role, read from the template, and what shows that it is needed.

docs/policies.md is made of this.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.policies import scenarios
from tests.policies.scenarios import Scenario
from tests.support.template import DEFINITION, RESOURCES, ROOT, listed, of_type

PAGE = ROOT / "docs/policies.md"
JOB_FILES, ERROR_FILES = "OutputBucket/*.job.json", "OutputBucket/*.error.json"
RENDERS, PREPARED = "StagingBucket/renders/*", "StagingBucket/prepared/*"
INDEX = "JobsTable/index/follow-up"
Name = tuple[str, str, str]  # role, action, resource


@dataclass(frozen=True)
class Permission:
    """One action on one resource.

    Attributes:
        role: the role that has it.
        action: the action.
        resource: the resource, by its logical ID.
        policy: the name of the policy that grants it.
        statement: the statement's position in the policy.
        number: the resource's position in the statement.
    """

    role: str
    action: str
    resource: str
    policy: str
    statement: int
    number: int

    @property
    def name(self) -> Name:
        """Return what the tables call it."""
        return self.role, self.action, self.resource


def permissions() -> Iterator[Permission]:
    """Read every permission from the template."""
    for role, policy in _policies():
        for position, statement in enumerate(policy["PolicyDocument"]["Statement"]):
            for action in listed(statement["Action"]):
                for number, resource in enumerate(listed(statement["Resource"])):
                    label = _label(resource)
                    yield Permission(role, action, label, policy["PolicyName"], position, number)


def _policies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the policies with their roles."""
    for role, properties in of_type("AWS::IAM::Role").items():
        for policy in properties["Policies"]:
            yield role, policy
    for policy in of_type("AWS::IAM::Policy").values():
        for role in policy["Roles"]:
            yield role["Ref"], policy


def _label(resource: Any) -> str:
    match resource:
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
            return str(name)
        case {"Fn::Sub": [text, variables]}:
            for name, value in variables.items():
                text = text.replace(f"${{{name}}}", _label(value))
            return _label({"Fn::Sub": text})
        case {"Fn::Sub": text}:
            without_prefix = re.sub(r"^arn:.*::\w+\}:", "", text)
            return re.sub(r"\$\{(\w+)\.\w+\}", r"\1", without_prefix)
    return str(resource)


# Role, scenario, and the permissions without which it fails: `make policies` removes them one by
# one and plays the scenario.
_NEEDED: tuple[tuple[str, Scenario, dict[str, list[str]]], ...] = (
    (
        "SubmitRole",
        scenarios.a_drop_is_delivered,
        {
            "s3:ListBucket": ["InputBucket"],
            "s3:GetObject": ["InputBucket/*", ERROR_FILES, PREPARED],
            "s3:PutObject": [JOB_FILES, "StagingBucket/sent/*"],
            "sqs:SendMessage": ["MediaQueue"],
            "dynamodb:GetItem": ["JobsTable"],
            "dynamodb:BatchGetItem": ["JobsTable"],
            "dynamodb:PutItem": ["JobsTable"],
            "dynamodb:UpdateItem": ["JobsTable"],
            "dynamodb:Query": [INDEX],
            "states:StartExecution": ["WaitLoop"],
            "sts:AssumeRole": ["SignerRole"],
        },
    ),
    (
        "SubmitRole",
        scenarios.an_invalid_sidecar_is_refused,
        {
            "s3:PutObject": [ERROR_FILES],
            "s3:GetObject": [JOB_FILES],
            "s3:DeleteObject": [JOB_FILES],
            "events:PutEvents": ["event-bus/default"],
        },
    ),
    (
        "SubmitRole",
        scenarios.a_clip_joins_its_waiting_sidecar,
        {"dynamodb:DeleteItem": ["JobsTable"]},
    ),
    (
        "SubmitRole",
        scenarios.a_corrected_sidecar_is_accepted,
        {"s3:DeleteObject": [ERROR_FILES]},
    ),
    (
        "SubmitRole",
        scenarios.a_first_frame_arrives_last,
        {"dynamodb:Query": ["JobsTable"], "sqs:SendMessage": ["DropQueue"]},
    ),
    (
        "SubmitRole",
        scenarios.a_new_worker_reads_the_key,
        {"secretsmanager:GetSecretValue": ["SegmindApiKeySecret"]},
    ),
    ("SignerRole", scenarios.a_drop_is_delivered, {"s3:GetObject": ["StagingBucket/sent/*"]}),
    (
        "PollRole",
        scenarios.a_drop_is_delivered,
        {
            "dynamodb:BatchGetItem": ["JobsTable"],
            "dynamodb:PutItem": ["JobsTable"],
            "dynamodb:UpdateItem": ["JobsTable"],
        },
    ),
    (
        "PollRole",
        scenarios.a_new_worker_reads_the_key,
        {"secretsmanager:GetSecretValue": ["SegmindApiKeySecret"]},
    ),
    (
        "PollRole",
        scenarios.a_leftover_status_file_is_replaced,
        {
            "dynamodb:GetItem": ["JobsTable"],
            "s3:PutObject": [JOB_FILES],
            "s3:GetObject": [ERROR_FILES],
            "s3:DeleteObject": [ERROR_FILES],
        },
    ),
    (
        "PollRole",
        scenarios.a_job_ends_meanwhile,
        {
            "s3:PutObject": [ERROR_FILES],
            "s3:GetObject": [JOB_FILES],
            "s3:DeleteObject": [JOB_FILES],
        },
    ),
    (
        "PrepareRole",
        scenarios.a_drop_is_delivered,
        {
            "s3:ListBucket": ["InputBucket"],
            "s3:GetObject": ["InputBucket/*"],
            "s3:GetObjectVersion": ["InputBucket/*"],
            "s3:PutObject": [PREPARED],
            "sqs:SendMessage": ["DropQueue"],
            "dynamodb:BatchGetItem": ["JobsTable"],
            "dynamodb:UpdateItem": ["JobsTable"],
        },
    ),
    (
        "PrepareRole",
        scenarios.a_first_frame_is_prepared,
        {"dynamodb:GetItem": ["JobsTable"], "dynamodb:PutItem": ["JobsTable"]},
    ),
    (
        "FetchRole",
        scenarios.a_drop_is_delivered,
        {
            "s3:PutObject": [RENDERS],
            "dynamodb:GetItem": ["JobsTable"],
            "dynamodb:UpdateItem": ["JobsTable"],
        },
    ),
    (
        "FetchRole",
        scenarios.a_broken_upload_is_aborted,
        {"s3:AbortMultipartUpload": [RENDERS]},
    ),
    (
        "FetchRole",
        scenarios.a_film_that_cannot_be_finished_is_delivered_as_rendered,
        {
            "s3:GetObject": [RENDERS, "OutputBucket/*"],
            "s3:PutObject": ["OutputBucket/*"],
        },
    ),
    (
        "FetchRole",
        scenarios.a_leftover_status_file_is_replaced,
        {"s3:DeleteObject": [ERROR_FILES], "dynamodb:BatchGetItem": ["JobsTable"]},
    ),
    ("FetchRole", scenarios.a_job_ends_meanwhile, {"s3:DeleteObject": [JOB_FILES]}),
    (
        "FinishRole",
        scenarios.a_drop_is_delivered,
        {
            "s3:GetObject": [RENDERS, "OutputBucket/*"],
            "s3:PutObject": ["OutputBucket/*"],
            "dynamodb:GetItem": ["JobsTable"],
            "dynamodb:BatchGetItem": ["JobsTable"],
            "dynamodb:UpdateItem": ["JobsTable"],
        },
    ),
    ("FinishRole", scenarios.a_clip_with_sound_is_finished, {"s3:GetObject": [PREPARED]}),
    (
        "FinishRole",
        scenarios.a_leftover_status_file_is_replaced,
        {"s3:DeleteObject": [ERROR_FILES]},
    ),
    (
        "SettleRole",
        scenarios.a_drop_is_delivered,
        {
            "dynamodb:GetItem": ["JobsTable"],
            "dynamodb:BatchGetItem": ["JobsTable"],
            "dynamodb:UpdateItem": ["JobsTable"],
            "s3:PutObject": [JOB_FILES],
            "s3:GetObject": [ERROR_FILES],
            "events:PutEvents": ["event-bus/default"],
        },
    ),
    (
        "SettleRole",
        scenarios.a_failed_render_is_reported,
        {
            "s3:PutObject": [ERROR_FILES],
            "s3:GetObject": [JOB_FILES],
            "s3:DeleteObject": [JOB_FILES],
            "dynamodb:PutItem": ["JobsTable"],
        },
    ),
    (
        "SettleRole",
        scenarios.a_leftover_status_file_is_replaced,
        {"s3:DeleteObject": [ERROR_FILES]},
    ),
    (
        "SettleRole",
        scenarios.a_free_slot_wakes_the_next_job,
        {"dynamodb:Query": [INDEX], "sqs:SendMessage": ["DropQueue"]},
    ),
    (
        "SweepRole",
        scenarios.a_lost_response_is_found,
        {
            "dynamodb:GetItem": ["JobsTable"],
            "dynamodb:PutItem": ["JobsTable"],
            "dynamodb:UpdateItem": ["JobsTable"],
            "dynamodb:Query": [INDEX],
            "s3:PutObject": [JOB_FILES],
            "s3:GetObject": [ERROR_FILES],
            "secretsmanager:GetSecretValue": ["SegmindApiKeySecret"],
        },
    ),
    (
        "SweepRole",
        scenarios.a_stopped_execution_is_replaced,
        {
            "states:StartExecution": ["WaitLoop"],
            "states:DescribeExecution": ["execution:WaitLoop:*"],
        },
    ),
    (
        "SweepRole",
        scenarios.a_result_is_emailed,
        {
            "sqs:ReceiveMessage": ["NotificationQueue"],
            "sqs:DeleteMessage": ["NotificationQueue"],
            "sns:Publish": ["NotificationTopic"],
        },
    ),
    ("SweepRole", scenarios.a_held_job_continues, {"sqs:SendMessage": ["DropQueue"]}),
    (
        "SweepRole",
        scenarios.the_events_of_a_drop_are_lost,
        {"s3:ListBucket": ["InputBucket"], "dynamodb:Query": ["JobsTable"]},
    ),
    (
        "SweepRole",
        scenarios.an_ended_job_is_settled,
        {
            "dynamodb:BatchGetItem": ["JobsTable"],
            "s3:PutObject": [ERROR_FILES],
            "s3:GetObject": [JOB_FILES],
            "s3:DeleteObject": [JOB_FILES],
            "events:PutEvents": ["event-bus/default"],
        },
    ),
    (
        "SweepRole",
        scenarios.a_leftover_status_file_is_replaced,
        {"s3:DeleteObject": [ERROR_FILES]},
    ),
)
PROVEN: dict[Name, Scenario] = {
    (role, action, resource): scenario
    for role, scenario, needed in _NEEDED
    for action, resources in needed.items()
    for resource in resources
}

_GUIDE = "https://docs.aws.amazon.com"
_MISSING = (
    "Without it, [a missing object is a 403, not a "
    f"404]({_GUIDE}/AmazonS3/latest/API/API_HeadObject.html), and no status file is written."
)
_POLLER = (
    "[Lambda reads the queue with the function's "
    f"role]({_GUIDE}/lambda/latest/dg/services-sqs-configure.html)."
)
_FAILED_EVENTS = (
    "[Lambda keeps events that `settle` could not process, with the function's "
    f"role]({_GUIDE}/lambda/latest/dg/invocation-async-retain-records.html)."
)
_KMS = (
    "With `KmsKeyArn`: [S3, DynamoDB, SQS, SNS, and Secrets Manager use the key for the "
    f"caller]({_GUIDE}/kms/latest/developerguide/service-integration.html)."
)
_LOG = (
    "[Lambda writes the function's log with its "
    f"role]({_GUIDE}/lambda/latest/dg/monitoring-cloudwatchlogs.html)."
)
_TRACE = (
    f"[Lambda sends traces with the function's role]({_GUIDE}/lambda/latest/dg/services-xray.html) "
    "(`Tracing: Active`)."
)
_EXECUTION_TRACE = (
    f"[Traces of the wait loop]({_GUIDE}/step-functions/latest/dg/xray-iam.html) (`Tracing`)."
)
_EXECUTION_LOG = (
    f"[Log delivery of the wait loop]({_GUIDE}/step-functions/latest/dg/cw-logs.html) (`Logging`)."
)
_SEND_TRACES = ("xray:PutTraceSegments", "xray:PutTelemetryRecords")
_LOG_DELIVERY = (
    *(f"logs:{verb}LogDelivery" for verb in ("Create", "Get", "Update", "Delete")),
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
)


def _reasoned() -> Iterator[tuple[Name, str]]:
    """Yield what the embedded cloud does not enforce, and why AWS needs it."""
    for function in of_type("AWS::Serverless::Function"):
        verb = function.removesuffix("Function")
        role = f"{verb}Role"
        if role != "PrepareRole":  # it writes no status files
            yield (role, "s3:ListBucket", "OutputBucket"), _MISSING
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            yield (role, action, f"{verb}Log"), _LOG
        for action in _SEND_TRACES:
            yield (role, action, "*"), _TRACE
    for role in ("SubmitRole", "FetchRole", "FinishRole"):
        yield (role, "s3:ListBucket", "StagingBucket"), _MISSING
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"):
        yield ("SubmitRole", action, "DropQueue"), _POLLER
        yield ("PrepareRole", action, "MediaQueue"), _POLLER
    yield ("SettleRole", "sqs:SendMessage", "EventDeadLetterQueue"), _FAILED_EVENTS
    for role in RESOURCES["KmsPolicy"]["Properties"]["Roles"]:
        for action in ("kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"):
            yield (role["Ref"], action, "KmsKeyArn"), _KMS
    for function in re.findall(r"\{(\w+)Arn\}", DEFINITION):
        task = "It is a task of the definition."
        yield ("WaitLoopRole", "lambda:InvokeFunction", function), task
    for action in (*_SEND_TRACES, "xray:GetSamplingRules", "xray:GetSamplingTargets"):
        yield ("WaitLoopRole", action, "*"), _EXECUTION_TRACE
    for action in _LOG_DELIVERY:
        yield ("WaitLoopRole", action, "*"), _EXECUTION_LOG


# `make policies` removes all of these at once, and nothing fails.
REASONED: dict[Name, str] = dict(_reasoned())


def page() -> str:
    """Return the content of docs/policies.md."""
    order = list(RESOURCES)
    names = sorted(
        (permission.name for permission in permissions()),
        key=lambda name: (order.index(name[0]), name[1], name[2]),
    )
    proven = [_row(name, _title(PROVEN[name])) for name in names if name in PROVEN]
    reasoned = [_row(name, REASONED[name]) for name in names if name in REASONED]
    return _PAGE.format(proven="\n".join(proven), reasoned="\n".join(reasoned))


def _title(scenario: Scenario) -> str:
    return scenario.__name__.replace("_", " ").capitalize()


def _row(name: Name, why: str) -> str:
    role, action, resource = name
    return f"| {role} | `{action}` | `{resource}` | {why} |"


_PAGE = """# What each permission is for

`make policies` writes this page. It deploys the stack to the embedded cloud with IAM enforced and
plays every scenario once. Then it removes one permission after the other (one action on one
resource) from the running stack. Each time, a call must be denied and the scenario must fail. When
the permission is back, everything must continue to its end.

The scenarios are in [`tests/policies/scenarios.py`](../tests/policies/scenarios.py). `make test`
compares this page with `template.yaml`. It fails if a permission is in neither table, or in both.

## Shown to be needed

| Role | Action | Resource | Scenario that fails without it |
|---|---|---|---|
{proven}

On AWS, the trust policy of SignerRole names SubmitRole, so SubmitRole [doesn't need
`sts:AssumeRole`](https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html). It is
granted nevertheless, so that the policies of SubmitRole show everything that it may do.

## Not enforced by the embedded cloud

`make policies` also removes all of these permissions at once, and nothing fails. AWS needs them.

| Role | Action | Resource | Why AWS needs it |
|---|---|---|---|
{reasoned}
"""

"""Every permission of every role, read off the template, and what shows that it is needed; docs/policies.md is made of this."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.policies import scenarios
from tests.policies.scenarios import Scenario
from tests.template.test_template import DEFINITION, RESOURCES, ROOT, of_type

PAGE = ROOT / "docs/policies.md"
JOB, ERROR = "OutputBucket/*.job.json", "OutputBucket/*.error.json"
Name = tuple[str, str, str]  # role, action, resource


@dataclass(frozen=True)
class Permission:
    """One action on one resource; where it stands: the policy's name, the statement's number, the resource's number."""

    role: str
    action: str
    resource: str
    policy: str
    statement: int
    number: int

    @property
    def name(self) -> Name:
        return self.role, self.action, self.resource


def permissions() -> Iterator[Permission]:
    """Read every permission off the template."""
    policies = [(role, policy) for role, properties in of_type("AWS::IAM::Role").items() for policy in properties["Policies"]]
    policies += [(role["Ref"], policy) for policy in of_type("AWS::IAM::Policy").values() for role in policy["Roles"]]
    for role, policy in policies:
        for position, statement in enumerate(policy["PolicyDocument"]["Statement"]):
            for action in listed(statement["Action"]):
                for number, resource in enumerate(listed(statement["Resource"])):
                    yield Permission(role, action, _label(resource), policy["PolicyName"], position, number)


def listed(one_or_more: Any) -> list[Any]:
    """Give what stands in a policy alone or in a list as a list."""
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


def _label(resource: Any) -> str:
    match resource:
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
            return str(name)
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{(\w+)\.\w+\}", r"\1", re.sub(r"^arn:.*::\w+\}:", "", text))
    return str(resource)


# What fails when a permission is removed: `make policies` removes them one by one and plays the scenario.
PROVEN: dict[Name, Scenario] = {
    (role, action, resource): scenario
    for role, scenario, needed in (
        (
            "SubmitRole",
            scenarios.a_drop_is_delivered,
            {
                "s3:ListBucket": ["InputBucket"],
                "s3:GetObject": ["InputBucket/*", ERROR],
                "s3:PutObject": [JOB],
                "dynamodb:GetItem": ["JobsTable"],
                "dynamodb:PutItem": ["JobsTable"],
                "dynamodb:UpdateItem": ["JobsTable"],
                "dynamodb:Query": ["JobsTable/index/queue"],
                "states:StartExecution": ["WaitLoop"],
                "sts:AssumeRole": ["SignerRole"],
            },
        ),
        (
            "SubmitRole",
            scenarios.a_broken_note_is_refused,
            {"s3:PutObject": [ERROR], "s3:GetObject": [JOB], "s3:DeleteObject": [JOB], "events:PutEvents": ["event-bus/default"]},
        ),
        ("SubmitRole", scenarios.a_note_that_comes_first, {"dynamodb:DeleteItem": ["JobsTable"]}),
        ("SubmitRole", scenarios.a_mended_note_is_taken, {"s3:DeleteObject": [ERROR]}),
        ("SubmitRole", scenarios.a_first_frame_that_comes_last, {"dynamodb:Query": ["JobsTable"], "sqs:SendMessage": ["DropQueue"]}),
        ("SubmitRole", scenarios.an_upper_case_clip_is_copied, {"s3:PutObject": ["InputBucket/.retake/*"]}),
        ("SubmitRole", scenarios.a_clip_overwritten_while_it_is_held, {"s3:GetObjectVersion": ["InputBucket/*"]}),
        ("SubmitRole", scenarios.a_new_worker_reads_the_key, {"secretsmanager:GetSecretValue": ["SegmindKey"]}),
        ("SignerRole", scenarios.a_drop_is_delivered, {"s3:GetObject": ["InputBucket/*"]}),
        (
            "PollRole",
            scenarios.a_drop_is_delivered,
            {
                "dynamodb:GetItem": ["JobsTable"],
                "dynamodb:PutItem": ["JobsTable"],
                "dynamodb:UpdateItem": ["JobsTable"],
            },
        ),
        ("PollRole", scenarios.a_new_worker_reads_the_key, {"secretsmanager:GetSecretValue": ["SegmindKey"]}),
        ("PollRole", scenarios.a_leftover_answer_is_replaced, {"s3:PutObject": [JOB], "s3:GetObject": [ERROR], "s3:DeleteObject": [ERROR]}),
        ("PollRole", scenarios.a_job_that_ends_meanwhile, {"s3:PutObject": [ERROR], "s3:GetObject": [JOB], "s3:DeleteObject": [JOB]}),
        (
            "DeliverRole",
            scenarios.a_drop_is_delivered,
            {
                "s3:PutObject": ["OutputBucket/*"],
                "s3:GetObject": ["OutputBucket/*"],
                "dynamodb:GetItem": ["JobsTable"],
                "dynamodb:UpdateItem": ["JobsTable"],
            },
        ),
        ("DeliverRole", scenarios.a_broken_upload_is_ended, {"s3:AbortMultipartUpload": ["OutputBucket/*"]}),
        ("DeliverRole", scenarios.a_leftover_answer_is_replaced, {"s3:DeleteObject": [ERROR]}),
        ("DeliverRole", scenarios.a_job_that_ends_meanwhile, {"s3:DeleteObject": [JOB]}),
        (
            "SettleRole",
            scenarios.a_drop_is_delivered,
            {
                "dynamodb:GetItem": ["JobsTable"],
                "dynamodb:UpdateItem": ["JobsTable"],
                "s3:PutObject": [JOB],
                "s3:GetObject": [ERROR],
                "events:PutEvents": ["event-bus/default"],
            },
        ),
        (
            "SettleRole",
            scenarios.a_failed_render_is_told,
            {"s3:PutObject": [ERROR], "s3:GetObject": [JOB], "s3:DeleteObject": [JOB], "dynamodb:PutItem": ["JobsTable"]},
        ),
        ("SettleRole", scenarios.a_leftover_answer_is_replaced, {"s3:DeleteObject": [ERROR]}),
        (
            "SettleRole",
            scenarios.a_free_slot_wakes_the_next,
            {"dynamodb:Query": ["JobsTable/index/queue"], "sqs:SendMessage": ["DropQueue"]},
        ),
        (
            "SweepRole",
            scenarios.a_lost_answer_is_found,
            {
                "dynamodb:GetItem": ["JobsTable"],
                "dynamodb:PutItem": ["JobsTable"],
                "dynamodb:UpdateItem": ["JobsTable"],
                "dynamodb:Query": ["JobsTable/index/queue"],
                "s3:PutObject": [JOB],
                "s3:GetObject": [ERROR],
                "secretsmanager:GetSecretValue": ["SegmindKey"],
            },
        ),
        (
            "SweepRole",
            scenarios.a_stopped_run_is_taken_up_again,
            {"states:StartExecution": ["WaitLoop"], "states:DescribeExecution": ["execution:WaitLoop:*"]},
        ),
        (
            "SweepRole",
            scenarios.a_result_is_mailed,
            {"sqs:ReceiveMessage": ["NoticeQueue"], "sqs:DeleteMessage": ["NoticeQueue"], "sns:Publish": ["Notices"]},
        ),
        ("SweepRole", scenarios.a_held_job_goes_on, {"sqs:SendMessage": ["DropQueue"]}),
        (
            "SweepRole",
            scenarios.an_end_that_was_not_settled,
            {"s3:PutObject": [ERROR], "s3:GetObject": [JOB], "s3:DeleteObject": [JOB], "events:PutEvents": ["event-bus/default"]},
        ),
        ("SweepRole", scenarios.a_leftover_answer_is_replaced, {"s3:DeleteObject": [ERROR]}),
    )
    for action, resources in needed.items()
    for resource in resources
}

_FUNCTIONS = [name.removesuffix("Function") for name in of_type("AWS::Serverless::Function")]
_GUIDE = "https://docs.aws.amazon.com"
_MISSING = f"without it [what is not there is a 403, not a 404]({_GUIDE}/AmazonS3/latest/API/API_HeadObject.html): no answer is written"
_POLLER = f"[Lambda reads the queue in the role's name]({_GUIDE}/lambda/latest/dg/services-sqs-configure.html)"
_DEAD = f"[Lambda keeps in the role's name what settle did not take]({_GUIDE}/lambda/latest/dg/invocation-async-retain-records.html)"
_LOG = f"[Lambda writes the function's log in the role's name]({_GUIDE}/lambda/latest/dg/monitoring-cloudwatchlogs.html)"
_TRACE = f"[Lambda sends traces in the role's name]({_GUIDE}/lambda/latest/dg/services-xray.html): `Tracing: Active`"
_RUN_TRACE = f"[traces of the wait-loop]({_GUIDE}/step-functions/latest/dg/xray-iam.html): `Tracing`"
_RUN_LOG = f"[log delivery of the wait-loop]({_GUIDE}/step-functions/latest/dg/cw-logs.html): `Logging`"
_TRACES = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
_DELIVERIES = [f"logs:{verb}LogDelivery" for verb in ("Create", "Get", "Update", "Delete")]
_DELIVERIES += ["logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"]

# What the embedded cloud does not enforce, and why AWS wants it: `make policies` removes all of it at once, and nothing fails.
REASONED: dict[Name, str] = {
    **{(f"{verb}Role", "s3:ListBucket", "OutputBucket"): _MISSING for verb in _FUNCTIONS},
    **{("SubmitRole", f"sqs:{verb}", "DropQueue"): _POLLER for verb in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")},
    ("SettleRole", "sqs:SendMessage", "EventDeadLetterQueue"): _DEAD,
    **{(f"{verb}Role", f"logs:{action}", f"{verb}Log"): _LOG for verb in _FUNCTIONS for action in ("CreateLogStream", "PutLogEvents")},
    **{(f"{verb}Role", action, "*"): _TRACE for verb in _FUNCTIONS for action in _TRACES},
    **{("WaitLoopRole", "lambda:InvokeFunction", name): "a task of the definition" for name in re.findall(r"\{(\w+)Arn\}", DEFINITION)},
    **{("WaitLoopRole", action, "*"): _RUN_TRACE for action in (*_TRACES, "xray:GetSamplingRules", "xray:GetSamplingTargets")},
    **{("WaitLoopRole", action, "*"): _RUN_LOG for action in _DELIVERIES},
}


def page() -> str:
    """Write docs/policies.md."""
    order = list(RESOURCES)
    names = sorted((permission.name for permission in permissions()), key=lambda name: (order.index(name[0]), name[1], name[2]))
    shown = [_row(name, PROVEN[name].__name__.replace("_", " ")) for name in names if name in PROVEN]
    reasoned = [_row(name, REASONED[name]) for name in names if name in REASONED]
    return _PAGE.format(shown="\n".join(shown), reasoned="\n".join(reasoned))


def _row(name: Name, why: str) -> str:
    role, action, resource = name
    return f"| {role} | `{action}` | `{resource}` | {why} |"


_PAGE = """# What each permission is for

Written by `make policies`, which deploys the stack on the embedded cloud with its roles enforced, plays every scenario once, and then
removes one permission after the other (one action on one resource) from the running stack: each time a call must be denied and the scenario
must fail, and with the permission back everything must go on to its end. The scenarios are in
[`tests/policies/scenarios.py`](../tests/policies/scenarios.py). `make test` compares this page with `template.yaml`: a permission that
is in neither table, or in both, fails it.

## Removed, and seen to be missing

| role | action | resource | what fails without it |
|---|---|---|---|
{shown}

On AWS the trust policy of SignerRole, which names SubmitRole, would
[do without `sts:AssumeRole`](https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html); it is granted all the same, so that
the policies of SubmitRole tell everything it may do.

## Not enforced by the embedded cloud

All of these are removed at once, too, and nothing fails there; AWS wants them.

| role | action | resource | why AWS wants it |
|---|---|---|---|
{reasoned}
"""

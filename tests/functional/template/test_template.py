"""What the emulator does not enforce is checked in the template itself."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.cloud.deployment import adapt
from retake.domain.limits import RECORD_LIFETIME_SECONDS
from retake.segmind.client import REQUEST_SECONDS
from retake.segmind.download import DOWNLOAD_SECONDS
from retake.services.prepare import MAX_ATTEMPTS
from retake.services.search_history import MAX_SECONDS as SEARCH_SECONDS
from retake.services.waiting import PREPARE_SECONDS
from retake_media.sandbox import TIMEOUT_SECONDS
from tests.support.template import (
    DEFINITION,
    EVENTS,
    RESOURCES,
    ROOT,
    TEMPLATE,
    listed,
    of_type,
)

FUNCTION_SECONDS = TEMPLATE["Globals"]["Function"]["Timeout"]
UPLOAD_SECONDS = 30  # that fetch has besides the download
# No narrower resource exists for these:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
# https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
ONLY_WITH_WILDCARD = {
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
ROLE_ARN = "arn:aws:iam::123456789012:role/r"
FUNCTION_ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"
OUTCOMES = ("Delivered", "Failed", "Refused", "Lost")
BUCKETS = pytest.mark.parametrize("bucket", ["InputBucket", "OutputBucket"])


def tasks() -> dict[str, Any]:
    """Return the tasks of the state machine."""
    states = json.loads(DEFINITION)["States"]
    return {name: state for name, state in states.items() if state["Type"] == "Task"}


def test_the_definition_is_valid_step_functions(tmp_path: Path) -> None:
    definition = json.loads(
        re.sub(r"\$\{\w+\}", FUNCTION_ARN, DEFINITION.replace("${Partition}", "aws"))
    )
    machine = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": ROLE_ARN, "Definition": definition},
    }
    file = tmp_path / "plain.json"
    file.write_text(json.dumps({"Resources": {"Machine": machine}}))
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    lint = subprocess.run([cfn_lint, file], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout


def test_functions_outlive_the_slowest_server() -> None:
    # A submit may be sent twice, for a rotated key, and a poll asks for status and result.
    assert FUNCTION_SECONDS > 2 * REQUEST_SECONDS
    # A sweep may begin to read a page just before the time for a search is over.
    assert FUNCTION_SECONDS > SEARCH_SECONDS + REQUEST_SECONDS
    fetch_seconds = RESOURCES["FetchFunction"]["Properties"]["Timeout"]
    assert fetch_seconds > DOWNLOAD_SECONDS + UPLOAD_SECONDS


def test_the_wait_loop_ends_before_the_record_and_every_task_has_a_limit() -> None:
    assert json.loads(DEFINITION)["TimeoutSeconds"] < RECORD_LIFETIME_SECONDS
    assert set(tasks()) == {"Poll", "Fetch", "Finish", "Settle"}
    for name, task in tasks().items():
        function = RESOURCES[f"{name}Function"]["Properties"]
        assert task["TimeoutSeconds"] > function.get("Timeout", FUNCTION_SECONDS)
        assert task["Retry"][-1]["ErrorEquals"] == ["States.ALL"]
        assert all(retry["JitterStrategy"] == "FULL" for retry in task["Retry"])
        if name != "Settle":
            assert [catch["Next"] for catch in task["Catch"]] == ["Settle"]


def test_the_state_machine_may_do_exactly_what_its_definition_needs() -> None:
    machine = RESOURCES["WaitLoop"]["Properties"]
    substitutions = machine["DefinitionSubstitutions"]
    resources = {task["Resource"] for task in tasks().values()}
    assert resources == {"arn:${Partition}:states:::lambda:invoke"}
    assert substitutions["Partition"] == {"Ref": "AWS::Partition"}
    names = [task["Arguments"]["FunctionName"].strip("${}") for task in tasks().values()]
    functions = [substitutions[name] for name in names]
    assert len(functions) + 1 == len(substitutions)
    (policy,) = RESOURCES["WaitLoopRole"]["Properties"]["Policies"]
    invoke, *others = policy["PolicyDocument"]["Statement"]
    assert (invoke["Action"], invoke["Resource"]) == ("lambda:InvokeFunction", functions)
    assert machine["Tracing"]["Enabled"] is True
    assert machine["Logging"]["Level"] != "OFF"
    other_actions = [action for statement in others for action in statement["Action"]]
    assert sorted(other_actions) == sorted(ONLY_WITH_WILDCARD)


def test_the_key_goes_into_the_secret_and_nowhere_else() -> None:
    reference = json.dumps({"Ref": "SegmindApiKey"})
    users = [name for name, resource in RESOURCES.items() if reference in json.dumps(resource)]
    assert users == ["SegmindApiKeySecret"]
    assert TEMPLATE["Parameters"]["SegmindApiKey"]["NoEcho"] is True
    outputs = json.dumps(TEMPLATE["Outputs"]).replace("SegmindApiKeySecret", "")
    assert "SegmindApiKey" not in outputs


def test_no_role_has_a_wildcard_resource_or_action() -> None:
    for name, role in (of_type("AWS::IAM::Role") | of_type("AWS::IAM::Policy")).items():
        policies = role.get("Policies", []) or [role]
        for policy in policies:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = listed(statement["Action"])
                assert "*" not in "".join(actions), name
                assert statement["Resource"] != "*" or set(actions) <= ONLY_WITH_WILDCARD, name


def test_only_the_input_bucket_sends_events() -> None:
    for name, bucket in of_type("AWS::S3::Bucket").items():
        assert ("NotificationConfiguration" in bucket) == (name == "InputBucket")


def test_throttling_in_a_new_account_turns_no_message_into_a_dead_letter() -> None:
    """A new account has 10 concurrent calls; AWS recommends six times the function's time-out."""
    queue = RESOURCES["DropQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * FUNCTION_SECONDS
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 10
    drop = RESOURCES["SubmitFunction"]["Properties"]["Events"]["Drop"]["Properties"]
    clip = RESOURCES["PrepareFunction"]["Properties"]["Events"]["Clip"]["Properties"]
    at_once = [each["ScalingConfig"]["MaximumConcurrency"] for each in (drop, clip)]
    assert sum(at_once) <= 6


def test_a_clip_whose_function_was_killed_is_prepared_again_soon_after_its_time_is_over() -> None:
    queue = RESOURCES["MediaQueue"]["Properties"]
    seconds = RESOURCES["PrepareFunction"]["Properties"]["Timeout"]
    assert TIMEOUT_SECONDS < seconds < queue["VisibilityTimeout"] < PREPARE_SECONDS
    assert queue["RedrivePolicy"]["maxReceiveCount"] > 2 * MAX_ATTEMPTS  # some are throttled


def test_the_digest_is_about_this_stack_only() -> None:
    pattern = RESOURCES["OutcomeRule"]["Properties"]["EventPattern"]
    assert pattern["resources"] == [{"Ref": "AWS::StackId"}]
    environment = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert environment["STACK_ID"] == {"Ref": "AWS::StackId"}


def test_the_emulator_gets_its_exceptions_from_local_only() -> None:
    template = (ROOT / "template.yaml").read_text()
    assert "127.0.0" not in template
    adapted = adapt(template)
    assert "127.0.0.0/8" in adapted
    with pytest.raises(ValueError, match="no longer"):
        adapt(adapted)


@BUCKETS
def test_buckets_deny_plain_http(bucket: str) -> None:
    policies = of_type("AWS::S3::BucketPolicy").values()
    (policy,) = [each["PolicyDocument"] for each in policies if each["Bucket"] == {"Ref": bucket}]
    (deny,) = policy["Statement"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
    assert len(deny["Resource"]) == 2
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_every_asynchronous_step_has_retries_and_keeps_what_fails() -> None:
    settle = RESOURCES["SettleFunction"]["Properties"]
    rules = of_type("AWS::Events::Rule").values()
    targets = [target for rule in rules for target in rule["Targets"]]
    targets.append(settle["Events"]["ExecutionEnded"]["Properties"])
    assert all(target["DeadLetterConfig"] and target["RetryPolicy"] for target in targets)
    assert settle["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    queues = of_type("AWS::SQS::Queue").values()
    redrives = [queue["RedrivePolicy"] for queue in queues if "RedrivePolicy" in queue]
    assert len(redrives) == 3
    dead_letter_queues = [target["DeadLetterConfig"]["Arn"] for target in targets]
    dead_letter_queues += [redrive["deadLetterTargetArn"] for redrive in redrives]
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    watched = json.dumps([alarm["Dimensions"] for alarm in alarms])
    for queue in dead_letter_queues:
        name, _ = queue["Fn::GetAtt"]
        dimension = json.dumps({"Fn::GetAtt": [name, "QueueName"]})
        assert dimension in watched, f"nobody is notified of messages in {name}"


def test_outcomes_reach_people_only_through_the_notification_queue() -> None:
    (target,) = RESOURCES["OutcomeRule"]["Properties"]["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["NotificationQueue", "Arn"]}
    (sends,) = statements_of("NotificationQueuePolicy")
    assert (sends["Action"], sends["Resource"]) == ("sqs:SendMessage", target["Arn"])
    rule = {"Fn::GetAtt": ["OutcomeRule", "Arn"]}
    assert sends["Condition"] == {"ArnEquals": {"aws:SourceArn": rule}}
    (publishes,) = statements_of("NotificationTopicPolicy")
    assert publishes["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    queue = RESOURCES["NotificationQueue"]["Properties"]
    sweep = RESOURCES["SweepFunction"]["Properties"]
    assert queue["VisibilityTimeout"] > sweep["Timeout"]
    variables = {"NOTIFICATION_QUEUE_URL", "NOTIFICATION_TOPIC_ARN", "DIGEST_MINUTES"}
    assert variables <= set(sweep["Environment"]["Variables"])


def statements_of(policy: str) -> list[dict[str, Any]]:
    """Return the statements of a resource policy."""
    document: dict[str, Any] = RESOURCES[policy]["Properties"]["PolicyDocument"]
    return list(document["Statement"])


def test_every_alarm_has_a_published_metric_notifies_people_and_is_on_the_dashboard() -> None:
    code = "".join(file.read_text() for file in (ROOT / "layers/retake/retake").rglob("*.py"))
    (dashboard,) = of_type("AWS::CloudWatch::Dashboard").values()
    body = dashboard["DashboardBody"]["Fn::Sub"]
    json.loads(re.sub(r"\$\{[^}]+\}", "x", body))
    for name, alarm in of_type("AWS::CloudWatch::Alarm").items():
        if alarm.get("ActionsEnabled", True):
            assert alarm["AlarmActions"] == [{"Ref": "NotificationTopic"}] == alarm["OKActions"]
        else:  # the digest notifies of it
            assert name in ("CircuitOpenAlarm", "BudgetExhaustedAlarm")
        assert alarm["Namespace"] != "Retake" or f'"{alarm["MetricName"]}"' in code
        assert f"${{{name}.Arn}}" in body
    for metric in re.findall(r'"Retake", "(\w+)"', body):
        assert f'"{metric}"' in code or metric in OUTCOMES


@BUCKETS
def test_buckets_are_private_encrypted_versioned_and_retained(bucket: str) -> None:
    resource = RESOURCES[bucket]
    properties = resource["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["BucketEncryption"]
    # Otherwise a failed first deployment would leave it behind, and block the next one.
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource["UpdateReplacePolicy"] == "Retain"
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)


def test_whatever_holds_data_is_encrypted_with_the_key_that_is_given() -> None:
    key, without = {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}
    given = {"Fn::If": ["HasKey", key, without]}
    for kind, name in (
        ("AWS::SQS::Queue", "KmsMasterKeyId"),
        ("AWS::SNS::Topic", "KmsMasterKeyId"),
        ("AWS::SecretsManager::Secret", "KmsKeyId"),
    ):
        assert of_type(kind)
        assert [properties.get(name) for properties in of_type(kind).values()] == (
            [given] * len(of_type(kind))
        )
    for properties in of_type("AWS::S3::Bucket").values():
        [rule] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        _, encrypted, _ = rule["Fn::If"]
        assert encrypted["ServerSideEncryptionByDefault"] == {
            "SSEAlgorithm": "aws:kms",
            "KMSMasterKeyID": key,
        }
    table = of_type("AWS::DynamoDB::Table")["JobsTable"]
    _, encrypted, _ = table["SSESpecification"]["Fn::If"]
    assert encrypted == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}


def test_every_role_that_touches_data_may_use_the_key() -> None:
    policy = RESOURCES["KmsPolicy"]
    roles = {role["Ref"] for role in policy["Properties"]["Roles"]}
    assert roles == of_type("AWS::IAM::Role").keys() - {"WaitLoopRole"}
    assert policy["Condition"] == "HasKey"


def test_every_parameter_and_output_is_described() -> None:
    for name, item in (TEMPLATE["Parameters"] | TEMPLATE["Outputs"]).items():
        assert item["Description"], name
    parameters = TEMPLATE["Parameters"].items()
    required = [name for name, parameter in parameters if "Default" not in parameter]
    assert required == ["SegmindApiKey"]


def test_every_function_has_a_sample_event() -> None:
    functions = of_type("AWS::Serverless::Function").values()
    verbs = {Path(properties["CodeUri"]).name for properties in functions}
    assert verbs == {file.stem for file in EVENTS.glob("*.json")}
    assert verbs == {folder.name for folder in (ROOT / "functions").iterdir()}

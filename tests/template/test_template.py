"""What the emulator does not enforce is read off the template itself."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from retake.adapters import segmind
from retake.recovery import READ_SECONDS

ROOT = Path(__file__).parents[2]
DEFINITION = (ROOT / "statemachine/modify_video.asl.json").read_text()
RECORD_LIFE = 3600
# AWS knows no narrower resource for these: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html,
# https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
FORCED = {
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"),
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries"),
    *("logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"),
}


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms: `!Ref X` becomes {"Ref": "X"}."""


def _short(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".") if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _short)
TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def of_type(kind: str) -> dict[str, Any]:
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


def test_the_definition_is_valid_step_functions(tmp_path: Path) -> None:
    substituted = re.sub(r"\$\{\w+\}", "arn:aws:lambda:eu-central-1:123456789012:function:f", DEFINITION)
    role = "arn:aws:iam::123456789012:role/r"
    plain = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"RoleArn": role, "Definition": json.loads(substituted)}}
    file = tmp_path / "plain.json"
    file.write_text(json.dumps({"Resources": {"Machine": plain}}))
    lint = subprocess.run([Path(sys.executable).with_name("cfn-lint"), file], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout


def test_functions_outlive_the_slowest_server_that_they_may_meet() -> None:
    """A submit may be sent twice, for a rotated key, and a poll asks for status and result; a sweep reads one page late."""
    usual = TEMPLATE["Globals"]["Function"]["Timeout"]
    assert usual > 2 * segmind.ANSWER_SECONDS
    assert usual > READ_SECONDS + segmind.ANSWER_SECONDS
    assert RESOURCES["DeliverFunction"]["Properties"]["Timeout"] > segmind.DOWNLOAD_SECONDS + 30


def test_the_wait_loop_ends_before_the_record_does_and_every_task_has_a_limit() -> None:
    definition = json.loads(DEFINITION)
    assert definition["TimeoutSeconds"] < RECORD_LIFE
    tasks = {name: state for name, state in definition["States"].items() if state["Type"] == "Task"}
    timeouts = {"Poll": "PollFunction", "Deliver": "DeliverFunction", "Settle": "SettleFunction"}
    assert set(tasks) == set(timeouts)
    for name, task in tasks.items():
        function = RESOURCES[timeouts[name]]["Properties"]
        assert task["TimeoutSeconds"] > function.get("Timeout", TEMPLATE["Globals"]["Function"]["Timeout"])
        assert task["Retry"][-1]["ErrorEquals"] == ["States.ALL"]
        assert all(retry["JitterStrategy"] == "FULL" for retry in task["Retry"])
        if name != "Settle":
            assert [catch["Next"] for catch in task["Catch"]] == ["Settle"]


def test_the_state_machine_may_do_exactly_what_its_definition_asks_for() -> None:
    machine = RESOURCES["WaitLoop"]["Properties"]
    tasks = [state for state in json.loads(DEFINITION)["States"].values() if state["Type"] == "Task"]
    assert {task["Resource"] for task in tasks} == {"arn:aws:states:::lambda:invoke"}
    functions = [machine["DefinitionSubstitutions"][task["Arguments"]["FunctionName"].strip("${}")] for task in tasks]
    assert len(functions) == len(machine["DefinitionSubstitutions"])
    (policy,) = RESOURCES["WaitLoopRole"]["Properties"]["Policies"]
    invoke, *forced = policy["PolicyDocument"]["Statement"]
    assert (invoke["Action"], invoke["Resource"]) == ("lambda:InvokeFunction", functions)
    assert machine["Tracing"]["Enabled"] is True
    assert machine["Logging"]["Level"] != "OFF"
    assert sorted(action for statement in forced for action in statement["Action"]) == sorted(FORCED)


def test_the_key_goes_into_the_secret_and_nowhere_else() -> None:
    users = [name for name, resource in RESOURCES.items() if json.dumps({"Ref": "SegmindApiKey"}) in json.dumps(resource)]
    assert users == ["SegmindKey"]
    assert TEMPLATE["Parameters"]["SegmindApiKey"]["NoEcho"] is True
    assert "SegmindApiKey" not in json.dumps(TEMPLATE["Outputs"])


def test_no_role_has_a_wildcard_resource_or_action() -> None:
    for name, role in (of_type("AWS::IAM::Role") | of_type("AWS::IAM::Policy")).items():
        documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])] or [role["PolicyDocument"]]
        for statement in (statement for document in documents for statement in document["Statement"]):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert "*" not in "".join(actions), name
            assert statement["Resource"] != "*" or set(actions) <= FORCED, name


def test_our_own_copies_are_no_drops() -> None:
    pattern = of_type("AWS::Events::Rule")["DropRule"]["EventPattern"]
    assert pattern["detail"]["object"]["key"] == [{"anything-but": {"prefix": ".retake/"}}]
    assert RESOURCES["OutputBucket"]["Properties"].get("NotificationConfiguration") is None


def test_a_message_outlives_its_function() -> None:
    visibility = RESOURCES["DropQueue"]["Properties"]["VisibilityTimeout"]
    assert visibility > TEMPLATE["Globals"]["Function"]["Timeout"]


@pytest.mark.parametrize("bucket", ["InputBucket", "OutputBucket"])
def test_buckets_refuse_plain_http_but_from_this_very_machine(bucket: str) -> None:
    (policy,) = [each["PolicyDocument"] for each in of_type("AWS::S3::BucketPolicy").values() if each["Bucket"] == {"Ref": bucket}]
    (deny,) = policy["Statement"]
    assert (deny["Effect"], deny["Principal"], deny["Action"], len(deny["Resource"])) == ("Deny", "*", "s3:*", 2)
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}, "NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}


def test_every_asynchronous_hop_has_retries_and_keeps_what_fails() -> None:
    rules = of_type("AWS::Events::Rule")
    targets = [target for rule in rules.values() for target in rule["Targets"]]
    targets.append(RESOURCES["SettleFunction"]["Properties"]["Events"]["RunEnded"]["Properties"])
    assert all(target["DeadLetterConfig"] and target["RetryPolicy"] for target in targets)
    assert RESOURCES["SettleFunction"]["Properties"]["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    redrives = [queue["RedrivePolicy"] for queue in of_type("AWS::SQS::Queue").values() if "RedrivePolicy" in queue]
    assert len(redrives) == 2
    dead = {json.dumps(target["DeadLetterConfig"]["Arn"]) for target in targets}
    dead |= {json.dumps(redrive["deadLetterTargetArn"]) for redrive in redrives}
    watched = json.dumps([alarm["Dimensions"] for alarm in of_type("AWS::CloudWatch::Alarm").values()])
    for queue in dead:
        name = json.loads(queue)["Fn::GetAtt"][0]
        assert json.dumps({"Fn::GetAtt": [name, "QueueName"]}) in watched, f"nobody is told of what lies in {name}"


def test_outcomes_reach_people_through_the_queue_of_notices_only() -> None:
    (target,) = RESOURCES["OutcomeRule"]["Properties"]["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["NoticeQueue", "Arn"]}
    (sends,) = RESOURCES["NoticeQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (sends["Action"], sends["Resource"]) == ("sqs:SendMessage", target["Arn"])
    assert sends["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["OutcomeRule", "Arn"]}}}
    (publishes,) = RESOURCES["NoticesPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert publishes["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    queue, sweep = RESOURCES["NoticeQueue"]["Properties"], RESOURCES["SweepFunction"]["Properties"]
    assert queue["VisibilityTimeout"] > sweep["Timeout"]
    assert queue["SqsManagedSseEnabled"] is True
    assert {"NOTICE_QUEUE_URL", "NOTICES_TOPIC_ARN", "NOTICE_MINUTES"} <= set(sweep["Environment"]["Variables"])


def test_every_alarm_is_about_a_figure_that_exists_reaches_people_and_is_on_the_dashboard() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")
    told = "".join(file.read_text() for file in (ROOT / "layers/retake/python/retake").rglob("*.py"))
    (board,) = of_type("AWS::CloudWatch::Dashboard").values()
    body = board["DashboardBody"]["Fn::Sub"]
    json.loads(re.sub(r"\$\{[^}]+\}", "x", body))
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == [{"Ref": "Notices"}] == alarm["OKActions"]
        assert alarm["Namespace"] != "Retake" or f'"{alarm["MetricName"]}"' in told
        assert f"${{{name}.Arn}}" in body
    for metric in re.findall(r'"Retake", "(\w+)"', body):
        assert f'"{metric}"' in told or metric in ("Delivered", "Failed", "Refused", "Lost")


@pytest.mark.parametrize("bucket", ["InputBucket", "OutputBucket"])
def test_buckets_are_private_encrypted_versioned_and_kept(bucket: str) -> None:
    resource = RESOURCES[bucket]
    properties = resource["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["BucketEncryption"]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert any("AbortIncompleteMultipartUpload" in rule for rule in properties["LifecycleConfiguration"]["Rules"])


def test_every_parameter_and_output_is_described() -> None:
    for name, thing in (TEMPLATE["Parameters"] | TEMPLATE["Outputs"]).items():
        assert thing["Description"], name
    assert [name for name, parameter in TEMPLATE["Parameters"].items() if "Default" not in parameter] == ["SegmindApiKey"]


def test_every_function_has_an_event_to_try_it_with() -> None:
    functions = {Path(properties["CodeUri"]).name for properties in of_type("AWS::Serverless::Function").values()}
    assert (
        functions == {file.stem for file in (ROOT / "events").glob("*.json")} == {folder.name for folder in (ROOT / "functions").iterdir()}
    )

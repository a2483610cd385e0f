"""What the doctor finds in an account of AWS that the embedded cloud never shows."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from retake_cli.commands import doctor
from retake_cli.commands.doctor import FINE, PROBLEM, WARNING, Finding
from retake_cli.stack import Stack
from tests.support.server import Responder, Server, reply

EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
ONE_CLIP = (
    b"<ListBucketResult><IsTruncated>false</IsTruncated>"
    b"<Contents><Key>a/my clip.mp4</Key></Contents></ListBucketResult>"
)
FORBIDDEN = reply(403, b"<Error><Code>AccessDenied</Code></Error>")
MOVED = reply(307, Location="https://elsewhere.example/")
Check = Callable[[Stack], Iterator[Finding]]


def stack_at(endpoint: str | None = None) -> Stack:
    """Return a stack in an account in which nobody is."""
    return Stack(
        name="mine",
        where="here",
        status="CREATE_COMPLETE",
        outputs={"InputBucketName": "input"},
        parameters={},
        session=boto3.Session(
            aws_access_key_id="a",
            aws_secret_access_key="s",  # noqa: S106 - of nobody
            region_name="eu-central-1",
        ),
        endpoint=endpoint,
    )


def examined(check: Check, stack: Stack) -> tuple[str, str, str]:
    """Return the verdict, the finding, and the cure of a check that finds one thing."""
    (finding,) = check(stack)
    return finding.verdict, finding.what, finding.cure


def denied(operation: str) -> ClientError:
    message = f"not authorized to perform {operation}"
    return ClientError({"Error": {"Code": "AccessDenied", "Message": message}}, operation)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The services of the account, by the names of their clients."""
    services: dict[str, Any] = {}
    monkeypatch.setattr(Stack, "client", lambda _, name, config=None: services[name])
    return services


@pytest.mark.parametrize(("left", "verdict"), [(10, WARNING), (49, WARNING), (50, FINE)])
def test_an_account_that_runs_few_functions_at_once_is_told_what_to_raise(
    services: dict[str, Any], left: int, verdict: str
) -> None:
    limits = {"AccountLimit": {"UnreservedConcurrentExecutions": left}}
    services["lambda"] = SimpleNamespace(get_account_settings=lambda: limits)
    found, what, cure = examined(doctor.check_concurrency, stack_at())
    assert found == verdict
    assert what.startswith(f"{left} concurrent executions")
    assert ("L-B99A9384" in cure) == (verdict is WARNING)


@pytest.mark.parametrize(
    ("configuration", "verdict"), [({"EventBridgeConfiguration": {}}, FINE), ({}, PROBLEM)]
)
def test_a_bucket_without_events_is_a_problem(
    services: dict[str, Any], configuration: dict[str, Any], verdict: str
) -> None:
    services["s3"] = SimpleNamespace(
        get_bucket_notification_configuration=lambda Bucket: configuration  # noqa: N803
    )
    found, _, cure = examined(doctor.check_bucket_events, stack_at())
    assert found == verdict
    assert ("turn on Amazon EventBridge" in cure) == (verdict is PROBLEM)


@pytest.mark.parametrize(
    ("state", "verdict", "hint"),
    [
        ("ENABLED", FINE, ""),
        ("DISABLED", PROBLEM, "aws events enable-rule --name mine-DropRule-1"),
        (None, PROBLEM, "create it again"),
    ],
)
def test_a_rule_that_sends_no_drops_is_a_problem(
    services: dict[str, Any], state: str | None, verdict: str, hint: str
) -> None:
    def describe_stack_resource(**named: str) -> dict[str, Any]:
        assert named == {"StackName": "mine", "LogicalResourceId": "DropRule"}
        return {"StackResourceDetail": {"PhysicalResourceId": "mine-DropRule-1"}}

    def describe_rule(Name: str) -> dict[str, str | None]:  # noqa: N803
        assert Name == "mine-DropRule-1"
        if state is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeRule")
        return {"State": state}

    services["cloudformation"] = SimpleNamespace(describe_stack_resource=describe_stack_resource)
    services["events"] = SimpleNamespace(describe_rule=describe_rule)
    found, _, cure = examined(doctor.check_drop_rule, stack_at())
    assert found == verdict
    assert cure.startswith(hint)


@pytest.mark.parametrize(
    ("response", "verdict", "words"),
    [
        (reply(206, b"x"), FINE, "a signed link works"),
        (reply(416), FINE, "a signed link works"),
        (FORBIDDEN, WARNING, "S3 rejects a signed link (HTTP 403)"),
        (MOVED, WARNING, "S3 rejects a signed link (HTTP 307)"),
        (lambda request: None, WARNING, "cannot be fetched from this machine"),
    ],
)
def test_a_signed_link_is_tried(
    server: Server, response: Responder, verdict: str, words: str
) -> None:
    def respond(request: Any) -> None:
        response(request)
        request.close_connection = True

    server.responses = [reply(200, ONE_CLIP), reply(200, b"x"), respond]
    found, what, cure = examined(doctor.check_links, stack_at(server.url))
    assert found == verdict
    assert words in what
    assert bool(cure) == (verdict is WARNING)
    path, headers = server.requests[-1]
    assert path.startswith("/input/a/my%20clip.mp4?X-Amz-Algorithm=")
    assert "authorization" not in headers
    assert headers["range"] == "bytes=0-0"


def test_without_an_object_no_link_is_tried(server: Server) -> None:
    server.responses = [reply(200, EMPTY)]
    assert list(doctor.check_links(stack_at(server.url))) == []


def test_what_a_user_is_not_permitted_to_check_is_said_and_not_fatal(
    services: dict[str, Any],
) -> None:
    class Denied:
        def __getattr__(self, name: str) -> Any:
            def deny(**_: Any) -> None:
                raise denied(name)

            return deny

    services |= dict.fromkeys(("lambda", "s3", "cloudformation"), Denied())
    checks = {
        "lambda": doctor.check_concurrency,
        "events": doctor.check_drop_rule,
        "links": doctor.check_links,
    }
    findings = doctor.examine(stack_at(), list(checks.items()))
    assert [finding.about for finding in findings] == list(checks)
    assert {finding.verdict for finding in findings} == {WARNING}
    assert all("not authorized" in finding.what for finding in findings)

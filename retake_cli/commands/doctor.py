"""`retake doctor` checks the stack and explains how to fix what is blocking clips."""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import typer
from botocore.exceptions import ClientError
from rich.table import Table
from rich.text import Text

from retake.aws.dynamodb import error_code
from retake.aws.secrets import ApiKey
from retake.domain.job import FollowUpQueue, HoldReason, Listing
from retake.domain.limits import OVERDUE_SECONDS
from retake.domain.prices import FLAT_USD
from retake.domain.status_file import printable

from .. import jobs
from ..console import count, usd
from ..costs import todays_budget
from ..session import Session
from ..stack import Stack

RESPONSE_SECONDS = 15
MAX_RESPONSE_BYTES = 10_000
MAX_DRIFT = 0.25  # of costs from their estimates in a day; also in the alarm of the template
FEW_CLIPS = 10  # that the credits cover, before a warning
FEW_EXECUTIONS = 50  # that Lambda runs at once; a new account has 10
LINK_SECONDS = 60  # that the link is valid which is tried
NAMED_CLIPS = 3  # in one finding
FINE, WARNING, PROBLEM = "fine", "warning", "problem"
_MARKS = {FINE: ("ok", "green"), WARNING: ("!", "yellow"), PROBLEM: ("✗", "bold red")}
_CIRCUIT_CURES = {
    HoldReason.KEY: "put a valid API key into the secret",
    HoldReason.CREDITS: "add credits at Segmind",
}
# The stack's outputs, what is in the queues, and what to do when something is.
_DEAD_LETTER_QUEUES = (
    (
        "DropDeadLetterQueueUrl",
        "drop",
        "read the log of submit, fix the cause, and run `retake redrive`",
    ),
    (
        "EventDeadLetterQueueUrl",
        "event",
        "no job depends on them; read the logs of settle and sweep, then run `retake redrive`",
    ),
)
_PUT_KEY = "aws secretsmanager put-secret-value --secret-id … --secret-string …"
_DESCRIBE_EVENTS = "aws cloudformation describe-stack-events --stack-name …"
_RAISE_CONCURRENCY = (
    'raise the Lambda quota "Concurrent executions" to 1,000: aws service-quotas '
    "request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
    "--desired-value 1000"
)
_FOUND_BY_AUDIT = "drops start only when sweep finds them, within about an hour"


def doctor(context: typer.Context) -> None:
    """Check the stack and explain how to fix what is blocking clips."""
    session: Session = context.obj
    findings = examine(session.stack)
    session.screen.show([asdict(finding) for finding in findings], draw(findings))
    raise typer.Exit(int(any(finding.verdict == PROBLEM for finding in findings)))


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        about: what was checked.
        verdict: `fine`, `warning`, or `problem`.
        what: what was found.
        cure: what to do now; empty if nothing.
    """

    about: str
    verdict: str
    what: str
    cure: str = ""


# What is checked, and how.
Check = tuple[str, Callable[[Stack], Iterator[Finding]]]


@dataclass(frozen=True)
class _Trouble:
    """Something that jobs or waiting files can have in common.

    Attributes:
        listing: where those are listed that have it.
        verdict: how bad it is.
        what: what it is; follows the number of clips.
        cure: what to do now.
    """

    listing: Listing
    verdict: str
    what: str
    cure: str

    def findings(self, table: Any) -> Iterator[Finding]:
        """Yield one finding about all that have it; of many, only the newest are counted."""
        listed = islice(jobs.list_newest(table, [self.listing]), jobs.PAGE)
        keys = [str(item["key"]) for item in listed]
        if keys:
            named = ", ".join(keys[:NAMED_CLIPS]) + (", …" if len(keys) > NAMED_CLIPS else "")
            number = count(len(keys), "clip")
            if len(keys) == jobs.PAGE:
                number = f"{jobs.PAGE} or more clips"
            what = f"{number} {self.what}: {named}"
            yield Finding("jobs", self.verdict, what, self.cure)


_TROUBLES = (
    _Trouble(
        Listing.ATTENTION,
        PROBLEM,
        "on hold for a person",
        "check Segmind's history; to send a clip again, run `retake drop … --rerun N`",
    ),
    _Trouble(
        Listing.LOST,
        PROBLEM,
        "paid for and lost",
        "contact Segmind's support with the request IDs from `retake show KEY`",
    ),
    _Trouble(
        Listing.FAILED,
        WARNING,
        "failed, nothing was billed",
        "run `retake show KEY` for the cause, or `retake retry --failed` to retry all",
    ),
    _Trouble(
        Listing.WAITING,
        WARNING,
        "waiting for another file",
        "run `retake ls --state WAITING` to see which file",
    ),
)


def examine(stack: Stack, checks: Sequence[Check] = ()) -> list[Finding]:
    """Run some checks, or all; one that this user is not permitted to run is a warning."""
    findings: list[Finding] = []
    for about, check in checks or _checks():
        try:
            findings += check(stack)
        except ClientError as error:
            cure = "use a --profile with more permissions"
            findings.append(Finding(about, WARNING, f"could not be checked: {error}", cure))
    return findings


def _checks() -> list[Check]:
    return [
        ("stack", check_stack),
        ("lambda", check_concurrency),
        ("events", check_bucket_events),
        ("events", check_drop_rule),
        ("links", check_links),
        ("key", check_key),
        ("admission", check_admission),
        ("prices", check_prices),
        ("queues", check_queues),
        ("jobs", check_jobs),
    ]


def draw(findings: Sequence[Finding]) -> Table:
    """Draw the findings, each with what to do under it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        text = Text(printable(finding.what))
        if finding.cure:
            text += Text(f"\n→ {finding.cure}", "bold")
        table.add_row(Text(mark, style), finding.about, text)
    return table


def check_stack(stack: Stack) -> Iterator[Finding]:
    """Check whether the last deployment succeeded."""
    failed = stack.status.startswith(("DELETE", "ROLLBACK"))
    healthy = stack.status.endswith("_COMPLETE") and not failed
    cure = "" if healthy else f"see its events: {_DESCRIBE_EVENTS}"
    verdict = FINE if healthy else PROBLEM
    yield Finding("stack", verdict, f"{stack.where}: {stack.status}", cure)


def check_concurrency(stack: Stack) -> Iterator[Finding]:
    """Check how many functions the account can run at once."""
    limit = stack.client("lambda").get_account_settings()["AccountLimit"]
    left = int(limit["UnreservedConcurrentExecutions"])
    what = f"{left} concurrent executions for all functions of the account in this Region"
    if left >= FEW_EXECUTIONS:
        yield Finding("lambda", FINE, what)
    else:
        what += "; with many clips, Lambda throttles them, and they take longer"
        yield Finding("lambda", WARNING, what, _RAISE_CONCURRENCY)


def check_bucket_events(stack: Stack) -> Iterator[Finding]:
    """Check whether the input bucket sends events."""
    bucket = stack.input_bucket.name
    found = stack.s3.get_bucket_notification_configuration(Bucket=bucket)
    if "EventBridgeConfiguration" in found:
        yield Finding("events", FINE, "the input bucket sends events")
    else:
        what = f"the input bucket {bucket} sends no events: {_FOUND_BY_AUDIT}"
        yield Finding("events", PROBLEM, what, "turn on Amazon EventBridge in its properties")


def check_drop_rule(stack: Stack) -> Iterator[Finding]:
    """Check whether the rule that sends drops to `submit` is enabled."""
    resource = stack.client("cloudformation").describe_stack_resource(
        StackName=stack.name, LogicalResourceId="DropRule"
    )
    rule = resource["StackResourceDetail"]["PhysicalResourceId"]
    try:
        state = stack.client("events").describe_rule(Name=rule)["State"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        what = f"the rule {rule} was deleted: {_FOUND_BY_AUDIT}"
        cure = "create it again as DropRule in template.yaml, or deploy a new stack"
        yield Finding("events", PROBLEM, what, cure)
        return
    if state == "DISABLED":
        what = f"the rule {rule} is disabled: {_FOUND_BY_AUDIT}"
        yield Finding("events", PROBLEM, what, f"aws events enable-rule --name {rule}")
    else:
        yield Finding("events", FINE, "the rule for drops is enabled")


def check_links(stack: Stack) -> Iterator[Finding]:
    """Check whether a signed link works for an object that this user can read."""
    bucket = stack.input_bucket.name
    listed = stack.s3.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents", ())
    if not listed:
        return
    name = {"Bucket": bucket, "Key": listed[0]["Key"]}
    stack.s3.get_object(**name)["Body"].close()
    url = stack.s3.generate_presigned_url("get_object", Params=name, ExpiresIn=LINK_SECONDS)
    try:
        status = _request_first_byte(url)
    except (OSError, http.client.HTTPException) as error:
        what = f"a signed link cannot be fetched from this machine: {type(error).__name__}"
        yield Finding("links", WARNING, what, "check your network, and try again")
        return
    if status in (200, 206, 416):  # 416: the object is empty
        yield Finding("links", FINE, "a signed link works from this machine")
        return
    what = f"S3 rejects a signed link (HTTP {status}) for an object that this user can read"
    cure = (
        "a policy of your organization may block presigned URLs, so that Segmind cannot fetch "
        'clips; see "Organizations with a data perimeter" in docs/deploy.md'
    )
    yield Finding("links", WARNING, what, cure)


def check_key(stack: Stack) -> Iterator[Finding]:
    """Ask Segmind for the balance, which is free and shows whether the API key is accepted."""
    secrets = stack.client("secretsmanager")
    key = ApiKey(client=secrets, secret_arn=stack.outputs["SecretArn"]).get()
    try:
        status, body = _request_balance(stack.parameters["SegmindBaseUrl"], key)
    except (OSError, http.client.HTTPException) as error:
        what = f"Segmind cannot be reached from this machine: {type(error).__name__}"
        yield Finding("key", WARNING, what, "check your network, and try again")
        return
    if status in (401, 403):
        what = f"Segmind rejects the API key (HTTP {status})"
        yield Finding("key", PROBLEM, what, f"put a valid key into the secret: {_PUT_KEY}")
        return
    balance = body.get("credits") if status == 200 else None
    if not isinstance(balance, int | float):
        what = f"Segmind's response about the balance is not valid (HTTP {status})"
        yield Finding("key", WARNING, what, "try again later")
        return
    yield Finding("key", FINE, "Segmind accepts the API key")
    yield _rate_balance(balance)


def check_admission(stack: Stack) -> Iterator[Finding]:
    """Check whether all jobs are held, and what is left of today's budget."""
    opened = stack.admission.read().circuit.opened
    if opened:
        seconds = max(0, int(opened.probe_at - time.time()))
        what = f"all jobs are held ({opened.reason}): {opened.message}; next probe in {seconds} s"
        cure = _CIRCUIT_CURES.get(opened.reason, "wait: they continue automatically")
        yield Finding("hold", PROBLEM, what, cure)
    else:
        yield Finding("hold", FINE, "the circuit is closed: jobs can be submitted")
    today = todays_budget(stack)
    what = f"{usd(today.booked)} of {usd(today.limit)} USD spent or booked today"
    if today.left >= FLAT_USD:
        yield Finding("budget", FINE, what)
    else:
        cure = "wait for midnight UTC, or deploy with a higher DailyBudgetUsd"
        yield Finding("budget", WARNING, what, cure)


def check_prices(stack: Stack) -> Iterator[Finding]:
    """Check whether jobs cost what they were estimated to cost."""
    admission = stack.admission.read()
    rate = f"jobs are estimated with {admission.prices.describe()}"
    budget = admission.budget.at(time.time())
    drift = budget.drift()
    if abs(drift) <= MAX_DRIFT:
        yield Finding("prices", FINE, rate)
        return
    what = (
        f"{count(budget.compared, 'job')} of today cost {drift:+.0%} of what was estimated; {rate}"
    )
    cure = "estimates follow within some 20 jobs; compare with Segmind's prices"
    yield Finding("prices", WARNING, what, cure)


def check_queues(stack: Stack) -> Iterator[Finding]:
    """Check whether messages are in a dead-letter queue."""
    for queue_output, noun, cure in _DEAD_LETTER_QUEUES:
        dead = stack.count_messages(queue_output)
        if dead:
            what = f"{count(dead, noun)} could not be processed"
            yield Finding("queues", PROBLEM, what, cure)
        else:
            yield Finding("queues", FINE, f"all {noun}s were processed")


def check_jobs(stack: Stack) -> Iterator[Finding]:
    """Check whether jobs are overdue, or need a person."""
    overdue = stack.follow_ups.count(FollowUpQueue.DUE, time.time() - OVERDUE_SECONDS)
    if overdue:
        what = f"{count(overdue, 'job')} overdue by {OVERDUE_SECONDS // 60} minutes or more"
        yield Finding("jobs", PROBLEM, what, "read the log of sweep")
    else:
        yield Finding("jobs", FINE, "no job is overdue")
    for trouble in _TROUBLES:
        yield from trouble.findings(stack.table)


def _rate_balance(balance: float) -> Finding:
    if balance < FLAT_USD:
        what = f"{usd(balance)} USD left at Segmind, less than the price of a clip"
        cure = "add credits at Segmind; held jobs continue automatically"
        return Finding("credits", PROBLEM, what, cure)
    clips = count(int(balance / FLAT_USD), "clip")
    what = f"{usd(balance)} USD left at Segmind, enough for about {clips} at {usd(FLAT_USD)} USD"
    if balance < FEW_CLIPS * FLAT_USD:
        return Finding("credits", WARNING, what, "add credits at Segmind soon")
    return Finding("credits", FINE, what)


def _request_balance(base_url: str, key: str) -> tuple[int, dict[str, Any]]:
    """Request the balance; no redirect is followed, so the key reaches only this origin.

    Returns:
        The status, and the body if it is a JSON object.
    """
    path = f"{urlsplit(base_url).path.rstrip('/')}/v1/get-user-credits"
    with closing(_connect(base_url)) as connection:
        connection.request("GET", path, headers={"x-api-key": key})
        response = connection.getresponse()
        text = response.read(MAX_RESPONSE_BYTES)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    return response.status, body if isinstance(body, dict) else {}


def _request_first_byte(url: str) -> int:
    """Request the first byte of an object by its signed URL, and return the status."""
    parts = urlsplit(url)
    with closing(_connect(url)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"range": "bytes=0-0"})
        return connection.getresponse().status


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=RESPONSE_SECONDS)

"""Looks for what keeps clips from coming back; each finding comes with its cure."""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from rich.table import Table
from rich.text import Text

from retake.adapters.jobs import DUE, Row
from retake.rules.gate import PRICE
from retake.rules.states import Held, State

from . import costs, jobs
from .console import plain, usd
from .stack import Stack

OVERDUE = 900  # seconds; the alarm of the template counts from there, too
ANSWER_SECONDS = 15
FINE, MIND, MEND = "fine", "mind", "mend"
_MARKS = {FINE: ("ok", "green"), MIND: ("!", "yellow"), MEND: ("✗", "bold red")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `fine`, to be kept in mind, or to be mended; `cure` says what to do now."""

    about: str
    verdict: str
    what: str
    cure: str = ""


def examine(stack: Stack) -> list[Finding]:
    """Look at everything; what this user may not see is said, and no reason to stop."""
    found: list[Finding] = []
    looks: list[tuple[str, Callable[[Stack], Iterator[Finding]]]] = [
        ("stack", _stack),
        ("key", _key),
        ("gate", _gate),
        ("queues", _queues),
        ("jobs", _jobs),
    ]
    for about, look in looks:
        try:
            found += look(stack)
        except ClientError as error:
            found.append(Finding(about, MIND, f"could not be looked at: {error}", "use a profile that may, or ask who has one"))
    return found


def picture(findings: Sequence[Finding]) -> Table:
    """Draw the findings, each with its cure under it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        text = Text(plain(finding.what))
        table.add_row(Text(mark, style), finding.about, text + Text(f"\n→ {finding.cure}", "bold") if finding.cure else text)
    return table


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Give the findings to programs."""
    return [asdict(finding) for finding in findings]


def _stack(stack: Stack) -> Iterator[Finding]:
    healthy = stack.status.endswith("_COMPLETE") and not stack.status.startswith(("DELETE", "ROLLBACK"))
    cure = "" if healthy else "look at its events: aws cloudformation describe-stack-events --stack-name …"
    yield Finding("stack", FINE if healthy else MEND, f"{stack.where}: {stack.status}", cure)


def _key(stack: Stack) -> Iterator[Finding]:
    """Ask Segmind for the balance: free, and it tells whether the key is accepted. It goes to the configured origin only."""
    secret = stack.client("secretsmanager").get_secret_value(SecretId=stack.outputs["SecretArn"])["SecretString"]
    rotate = "put the right one into the secret: aws secretsmanager put-secret-value --secret-id … --secret-string …"
    try:
        status, body = _balance(stack.parameters["SegmindBaseUrl"], secret)
    except (OSError, http.client.HTTPException) as error:
        yield Finding("key", MIND, f"Segmind does not answer from here: {type(error).__name__}", "try again; jobs wait meanwhile")
        return
    if status in (401, 403):
        yield Finding("key", MEND, f"Segmind refuses the API key (HTTP {status})", rotate)
        return
    left = body.get("credits") if status == 200 else None
    if not isinstance(left, int | float):
        yield Finding("key", MIND, f"Segmind's answer on the balance is not understood (HTTP {status})", "try again later")
        return
    yield Finding("key", FINE, "Segmind accepts it")
    if left < PRICE:
        yield Finding("credits", MEND, f"{usd(left)} USD are left at Segmind, less than a clip", "top up; held jobs go on by themselves")
    else:
        few = "" if left >= 10 * PRICE else "top up soon"
        yield Finding("credits", MIND if few else FINE, f"{usd(left)} USD at Segmind, about {int(left / PRICE)} clips", few)


def _balance(base: str, key: str) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(base)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)  # follows no redirect with the key
    try:
        connection.request(
            "GET",
            f"{parts.path.rstrip('/')}/v1/get-user-credits",
            headers={"x-api-key": "".join(sign for sign in key if "!" <= sign <= "~")},
        )
        answer = connection.getresponse()
        text = answer.read(10_000)
    finally:
        connection.close()
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    return answer.status, body if isinstance(body, dict) else {}


def _gate(stack: Stack) -> Iterator[Finding]:
    gate, _ = stack.jobs.gate()
    if hold := gate.hold:
        cure = {Held.KEY: "put the right key into the secret", Held.CREDITS: "top up at Segmind"}.get(
            hold.held, "wait: it goes on by itself"
        )
        wait = f"; tried again in {max(0, int(hold.probe_at - time.time()))} s"
        yield Finding("hold", MEND, f"everything is held ({hold.held}): {hold.reason}{wait}", cure)
    else:
        yield Finding("hold", FINE, "the account is not held")
    today = costs.budget(stack)
    spent = f"{usd(today.spent)} of {usd(today.limit)} USD are spent or booked today"
    cure = "" if today.left >= PRICE else "wait for midnight UTC, or deploy with a higher DailyBudgetUsd"
    yield Finding("budget", MIND if cure else FINE, spent, cure)


def _queues(stack: Stack) -> Iterator[Finding]:
    cures = {
        "DropDeadLetterQueueUrl": ("drops", "read the log of submit, mend what it names, then: retake redrive"),
        "EventDeadLetterQueueUrl": ("events", "read the logs of settle and sweep; no job waits for them; to clear them: retake redrive"),
    }
    for output, (what, cure) in cures.items():
        dead = waiting(stack, output)
        said = f"{dead} {what} could not be taken" if dead else f"no {what} are dead"
        yield Finding("queues", MEND if dead else FINE, said, cure if dead else "")


def waiting(stack: Stack, output: str) -> int:
    """Count the messages of a queue, named by the stack's output with its address."""
    names = ["ApproximateNumberOfMessages"]
    answer = stack.client("sqs").get_queue_attributes(QueueUrl=stack.outputs[output], AttributeNames=names)
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def _jobs(stack: Stack) -> Iterator[Finding]:
    overdue = stack.jobs.count(DUE, time.time() - OVERDUE)
    said = f"{overdue} jobs are overdue for a quarter of an hour" if overdue else "every job is looked after"
    yield Finding("jobs", MEND if overdue else FINE, said, "look at the errors of the function sweep" if overdue else "")
    rows = jobs.everything(stack.table)
    attention = [row for row in rows if jobs.needs_a_person(row)]
    yield from _some(attention, MEND, "wait for a person", "look at Segmind's history; to send one again: retake drop … --rerun N")
    lost = [row for row in rows if row["state"] == State.LOST]
    yield from _some(lost, MEND, "are paid and lost", "ask Segmind's support, with their request ids (retake show KEY)")
    failed = [row for row in rows if row["state"] == State.FAILED]
    yield from _some(failed, MIND, "failed, nothing was billed", "retake show KEY says why; retake retry --failed tries them again")
    alone = [row for row in rows if row["state"] == State.WAITING]
    yield from _some(alone, MIND, "wait for their other half", "retake ls --state WAITING names it")


def _some(rows: Sequence[Row], verdict: str, what: str, cure: str) -> Iterator[Finding]:
    if rows:
        names = ", ".join(row["key"] for row in rows[:3]) + (", …" if len(rows) > 3 else "")
        yield Finding("jobs", verdict, f"{len(rows)} {what}: {names}", cure)

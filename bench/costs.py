"""What AWS costs per job and per month, from counted calls and list prices.

Segmind's own bill, about 0.60 USD per clip, comes on top.
"""

from collections.abc import Iterator
from dataclasses import dataclass

# List prices in USD: November 2026, us-east-1, on demand, without a free tier.
TRANSITION = 25e-6
INVOCATION = 0.20e-6
GB_SECOND = 13.3334e-6  # arm64
WRITE_UNIT = 0.625e-6
READ_UNIT = 0.125e-6
S3_WRITE = 5e-6  # PUT, COPY and LIST
S3_READ = 0.4e-6  # GET and HEAD
S3_GB_MONTH = 0.023
S3_OUT_GB = 0.09  # to the internet; the first 100 GB a month are free for an account
SQS_REQUEST = 0.40e-6
EVENT = 1e-6
EMAIL = 20e-6  # by SNS
SECRET_MONTH = 0.40
SECRET_CALL = 5e-6
LOG_GB = 0.50
TRACE = 5e-6
METRIC_MONTH = 0.30
ALARM_MONTH = 0.10
DASHBOARD_MONTH = 3.00
SEGMIND_JOB = 0.60

# The calls to AWS that one job makes, from its two drops to its end, with five polls.
# `tests/unit/test_costs.py` counts them.
CALLS = {
    "GetItem": 12,
    "BatchGetItem": 13,
    "PutItem": 11,
    "UpdateItem": 10,
    "TransactWriteItems": 1,
    "Query": 2,
    "HeadObject": 10,
    "GetObject": 11,
    "PutObject": 8,
    "CopyObject": 1,
    "ListObjectsV2": 4,
}
# Writes by the kind of record, and the units of each: one per KB, two in a transaction, as many
# again in the follow-up index, and twice as many there if the record moves. The entries of a job in
# the other two indexes are written when it is created, and one of them moves when it ends.
WRITES = {"job": 8, "costs": 1, "admission": 8, "input": 4, "request": 1, "renders": 1}
UNITS = {
    "job": (7 + 3 * 7 + 8 + 6) / 7,
    "costs": 2,
    "admission": 2,
    "input": 2,  # what was made of a clip is long
    "request": 1,
    "renders": 3,
}

# Iterations of the wait loop for the usual renders, see bench/waiting.py.
ITERATIONS = 4.9
TRANSITIONS = 3 * ITERATIONS + 5  # three each; Fetch, Choice, Finish, Choice, Settle
INVOCATIONS = 3 + 1 + ITERATIONS + 3
MEMORY_GB, MEDIA_MEMORY_GB = 0.5, 2.94
POLL_SECONDS = 0.4
# Billed seconds of the three submits, the polls, fetch and settle. A generous estimate for a
# result of 10 MB; not measured on AWS.
SECONDS = {"submit": 3 * 0.8, "poll": ITERATIONS * POLL_SECONDS, "fetch": 2.0, "settle": 0.6}
MEDIA_SECONDS = 3.0 + 5.0  # prepare copies a clip that fits; finish decodes the film once
LOG_BYTES = 12_000
TRACES = 3  # of the two drops, and of the wait loop
SQS_REQUESTS = 15
CLIP_GB = 0.01  # that Segmind downloads; the retake comes in, which is free
STORED_GB = 0.04  # a clip, what was prepared of it, its render and its film, for a month
AUDIT_READS = 4  # of the table, to find that a clip and its sidecar were ingested

MONTH_SECONDS = 30 * 86400
SWEEPS = MONTH_SECONDS // 60  # per month
SWEEP_SECONDS = 0.25
SWEEP_READS = 8
AUDITS = MONTH_SECONDS // 3600  # per month; each lists 1,000 objects at once
SWEEP_LOG_BYTES = 1000
LONG_POLLS = MONTH_SECONDS / 20 * 10  # per month: five pollers of each queue wait 20 s
EMAILS = MONTH_SECONDS // 60 // 5  # per month, at most: one per DigestMinutes
METRICS = 10  # that are always published
ALARMS = 7


@dataclass(frozen=True)
class Line:
    """One service's share of the bill.

    Attributes:
        service: the service.
        per_job: USD per job.
        per_month: USD per month, even without jobs.
    """

    service: str
    per_job: float
    per_month: float = 0.0


def lines() -> list[Line]:
    """Calculate what each service costs."""
    gb_second = MEMORY_GB * GB_SECOND
    monitoring = METRICS * METRIC_MONTH + ALARMS * ALARM_MONTH + DASHBOARD_MONTH
    return [
        Line("Step Functions", TRANSITIONS * TRANSITION),
        Line(
            "Lambda",
            INVOCATIONS * INVOCATION
            + sum(SECONDS.values()) * gb_second
            + MEDIA_SECONDS * MEDIA_MEMORY_GB * GB_SECOND,
            SWEEPS * (INVOCATION + SWEEP_SECONDS * gb_second),
        ),
        Line("DynamoDB", _dynamodb_per_job(), SWEEPS * SWEEP_READS * READ_UNIT),
        Line("S3 requests", _s3_per_job(), AUDITS * S3_WRITE),
        Line("S3 data transfer out, 10 MB per job", CLIP_GB * S3_OUT_GB),
        Line("S3 storage, 40 MB per job for a month", STORED_GB * S3_GB_MONTH),
        Line(
            "SQS, EventBridge",
            SQS_REQUESTS * SQS_REQUEST + EVENT,
            (LONG_POLLS + SWEEPS) * SQS_REQUEST,
        ),
        # The functions keep the key for five minutes, so few jobs cause a call.
        Line("Secrets Manager", 0.1 * SECRET_CALL, SECRET_MONTH),
        Line(
            "logs and traces",
            LOG_BYTES / 1e9 * LOG_GB + TRACES * TRACE,
            SWEEPS * (TRACE + SWEEP_LOG_BYTES / 1e9 * LOG_GB),
        ),
        Line("metrics, alarms, dashboard", 0.0, monitoring),
    ]


def _dynamodb_per_job() -> float:
    write_units = sum(count * UNITS[kind] for kind, count in WRITES.items())
    # A unit for each item: up to 4 KB, consistent. A batch here has two.
    reads = CALLS["GetItem"] + 2 * CALLS["BatchGetItem"] + CALLS["Query"] + AUDIT_READS
    return write_units * WRITE_UNIT + reads * READ_UNIT


def _s3_per_job() -> float:
    drops = 2
    writes = CALLS["PutObject"] + CALLS["CopyObject"] + CALLS["ListObjectsV2"] + drops
    reads = CALLS["GetObject"] + CALLS["HeadObject"]
    return writes * S3_WRITE + reads * S3_READ


def month(jobs: int) -> float:
    """Calculate the USD of a month with a number of jobs."""
    return sum(line.per_month + jobs * line.per_job for line in lines())


def markdown() -> str:
    """Write the tables of docs/costs.md."""
    emails = f"at most {EMAILS:,} per month, {EMAILS * EMAIL:.2f} USD"
    return "\n".join(
        [
            *_service_table(),
            "",
            *_month_table(),
            "",
            f"With `NotificationEmail`, emails cost extra: {emails}.",
        ]
    )


def _service_table() -> Iterator[str]:
    yield "| service | USD per 1,000 jobs | USD per month, idle |"
    yield "|---|---|---|"
    for line in lines():
        yield f"| {line.service} | {1000 * line.per_job:.3f} | {line.per_month:.2f} |"
    per_job = sum(line.per_job for line in lines())
    yield f"| **total** | **{1000 * per_job:.2f}** | **{month(0):.2f}** |"


def _month_table() -> Iterator[str]:
    yield "| jobs per month | USD per month | for the jobs | USD per job | ÷ Segmind's bill |"
    yield "|---|---|---|---|---|"
    for jobs in (1, 1000, 100_000):
        usd = month(jobs)
        share = usd / jobs / SEGMIND_JOB
        costs = f"{usd:,.2f} | {usd - month(0):,.4f} | {usd / jobs:.4f} | {share:.2%}"
        yield f"| {jobs:,} | {costs} |"


if __name__ == "__main__":
    print(markdown())

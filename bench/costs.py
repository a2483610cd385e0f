"""What AWS costs for jobs and a month, from counted calls and list prices; Segmind's own bill, about 0.60 USD a video, comes on top."""

from dataclasses import dataclass

PRICED = "November 2026, us-east-1, on demand, no free tier"
# USD each
TRANSITION = 25e-6
INVOCATION = 0.20e-6
GB_SECOND = 13.3334e-6  # arm64
WRITE_UNIT, READ_UNIT = 0.625e-6, 0.125e-6
S3_WRITE, S3_READ = 5e-6, 0.4e-6  # PUT, COPY and LIST; GET and HEAD
S3_GB_MONTH = 0.023
SQS_REQUEST = 0.40e-6
EVENT = 1e-6
MAIL = 20e-6  # by SNS
SECRET_MONTH, SECRET_CALL = 0.40, 5e-6
LOG_GB, TRACE, METRIC_MONTH, ALARM_MONTH, DASHBOARD_MONTH = 0.50, 5e-6, 0.30, 0.10, 3.00

# What one job asks of AWS from its two drops to its end, with five polls; `tests/unit/test_costs.py` counts it.
CALLS = {
    "GetItem": 58,
    "PutItem": 11,
    "UpdateItem": 6,
    "Query": 2,
    "HeadObject": 13,
    "GetObject": 3,
    "PutObject": 6,
    "ListObjectsV2": 2,
}
TURNS = 4.9  # of the wait-loop, for the usual renders (bench/waiting.py); three transitions each, and three for Deliver, Choice, Settle
MEMORY_GB = 0.5
POLL_SECONDS = 0.4
# Billed seconds of the two submits, the polls, deliver and settle: reckoned generously for a result of 10 MB; not measured on AWS.
SECONDS = {"submit": 2 * 0.8, "poll": TURNS * POLL_SECONDS, "deliver": 2.0, "settle": 0.6}
INVOCATIONS = 2 + TURNS + 2
# Writes of the table, and units each: a unit for each KB of the row, as much again in the index, and twice if it moves there.
WRITES = {"job": 6, "gate": 8, "place": 1, "request": 1, "renders": 1}
UNITS = {"job": (2 * 4 + 4 * 6) / 6, "gate": 2, "place": 1, "request": 1, "renders": 3}
LOG_BYTES = 12_000
TRACES = 3  # the two drops' and the wait-loop's
STORED_GB = 0.02  # a clip and its retake, for a month; what is kept longer costs as much again each month

SWEEPS = 43_200  # a month
SWEEP_SECONDS, SWEEP_READS = 0.25, 7
MAILS = 30 * 1440 // 5  # a month at most: NoticeMinutes
METRICS, ALARMS = 10, 7


@dataclass(frozen=True)
class Line:
    """One service's share: USD a job, and USD a month whatever happens."""

    what: str
    job: float
    month: float = 0.0


def lines() -> list[Line]:
    """Reckon what each service costs."""
    writes = sum(count * UNITS[row] for row, count in WRITES.items()) * WRITE_UNIT
    reads = (CALLS["GetItem"] + CALLS["Query"]) * READ_UNIT  # a unit each: up to 4 KB, consistent
    s3 = (CALLS["PutObject"] + CALLS["ListObjectsV2"] + 2) * S3_WRITE  # and the drops themselves
    s3 += (CALLS["GetObject"] + CALLS["HeadObject"]) * S3_READ
    seconds, second = sum(SECONDS.values()), MEMORY_GB * GB_SECOND
    return [
        Line("Step Functions", (3 * TURNS + 3) * TRANSITION),
        Line("Lambda", INVOCATIONS * INVOCATION + seconds * second, SWEEPS * (INVOCATION + SWEEP_SECONDS * second)),
        Line("DynamoDB", writes + reads, SWEEPS * SWEEP_READS * READ_UNIT),
        Line("S3, requests", s3),
        Line("S3, storage of 20 MB a job for a month", STORED_GB * S3_GB_MONTH),
        Line("SQS, EventBridge", 9 * SQS_REQUEST + EVENT, (30 * 86400 / 20 * 5 + SWEEPS) * SQS_REQUEST),  # five pollers wait 20 s each
        Line("Secrets Manager", 0.1 * SECRET_CALL, SECRET_MONTH),  # the key is kept for five minutes
        Line("logs and traces", LOG_BYTES / 1e9 * LOG_GB + TRACES * TRACE, SWEEPS * (TRACE + 1000 / 1e9 * LOG_GB)),
        Line("metrics, alarms, dashboard", 0.0, METRICS * METRIC_MONTH + ALARMS * ALARM_MONTH + DASHBOARD_MONTH),
    ]


def month(jobs: int) -> float:
    """Reckon the USD of a month with so many jobs."""
    return sum(line.month + jobs * line.job for line in lines())


def markdown() -> str:
    """Write the tables of the page."""
    rows = ["| service | USD per 1,000 jobs | USD a month, idle |", "|---|---|---|"]
    rows += [f"| {line.what} | {1000 * line.job:.3f} | {line.month:.2f} |" for line in lines()]
    rows += [f"| **together** | **{1000 * sum(line.job for line in lines()):.2f}** | **{month(0):.2f}** |", ""]
    rows += ["| jobs a month | USD a month | of it for the jobs | USD a job | ÷ Segmind's bill |", "|---|---|---|---|---|"]
    for jobs in (1, 1000, 100_000):
        usd = month(jobs)
        rows.append(f"| {jobs:,} | {usd:,.2f} | {usd - month(0):,.4f} | {usd / jobs:.4f} | {usd / jobs / 0.60:.2%} |")
    rows += ["", f"With `NotificationEmail`, mails come on top: at most {MAILS:,} a month, which are {MAILS * MAIL:.2f} USD."]
    return "\n".join(rows)


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown() + "\n")

"""Drops one clip, follows it next to the pipeline, and records how Segmind responds."""

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import boto3

from retake.aws.admission_store import AdmissionStore
from retake.aws.input_store import InputStore
from retake.aws.job_store import JobStore
from retake.aws.secrets import ApiKey
from retake.domain.admission import Quotas
from retake.domain.input_files import InputFile, sidecar_key, staged_render_key
from retake.domain.job import Job, State
from retake.domain.prices import FLAT_USD
from retake.domain.refusal import Refusal
from retake.domain.sidecar import Sidecar
from retake.segmind.client import SegmindClient
from retake.segmind.download import ResultFiles
from retake.segmind.history import is_ours, read_page
from retake.segmind.responses import Found, Response, read_history_row, read_result
from retake.services.admission_control import AdmissionControl
from tests.live.files import compare
from tests.live.polite import PoliteSegmind
from tests.live.report import Report, outline
from tests.support import media

# Seconds after the request was accepted; at each, two requests at most.
LOOK_AGES = (0, 5, 15, 30, 60, 120, 240, 480, 960, 1800)
ROW_SECONDS = 120  # after the job's end, how long its row is looked for in the history
SOURCE = "testsrc2=size=1280x720:rate=24:duration=3"
PROMPT = "a watercolor painting, soft morning light"
Variables = dict[str, str]


class Check:
    """One clip on its way through a deployed stack.

    The key is sent only to the two origins that the functions send it to. They are read from the
    environment of `submit`, like the limits.

    Parameters:
        outputs: the stack's outputs.
        session: how AWS is reached.
        endpoint: the endpoint of an embedded cloud; `None` for AWS.
        say: gets lines on the way.
    """

    def __init__(
        self,
        *,
        outputs: dict[str, str],
        session: boto3.Session,
        endpoint: str | None,
        say: Callable[[str], None],
    ) -> None:
        def client(service: str) -> Any:
            return session.client(service, endpoint_url=endpoint)

        name = outputs["SubmitFunctionName"]
        configuration = client("lambda").get_function_configuration(FunctionName=name)
        variables: Variables = configuration["Environment"]["Variables"]
        dynamodb = session.resource("dynamodb", endpoint_url=endpoint)
        table = dynamodb.Table(variables["JOBS_TABLE"])
        self._quotas = _quotas(variables)
        self._admission = AdmissionControl(
            store=AdmissionStore(table=table), quotas=self._quotas, clock=time.time
        )
        self._segmind = PoliteSegmind(
            client=_segmind(variables, client("secretsmanager")), admission=self._admission
        )
        self._files = ResultFiles(base_url=variables["SEGMIND_BASE_URL"])
        self._s3, self._bucket, self._say = client("s3"), outputs["InputBucketName"], say
        self._staging = outputs["StagingBucketName"]
        self._jobs = JobStore(table=table)
        self._records = InputStore(table=table, bucket=self._bucket)
        folder = f"live/{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        self.clip_key = f"{folder}/clip.mp4"
        self._accepted_at = 0.0
        self._statuses: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []

    def refusal(self, max_usd: float) -> str | None:
        """Say why the check must not start; return `None` if it may."""
        if not (isfinite(max_usd) and max_usd >= FLAT_USD):
            price = f"a clip costs about {FLAT_USD:.2f} USD"
            return f"{price}, which --max-usd {max_usd:g} does not cover"
        if not isfinite(self._quotas.daily_budget_usd):
            return "nothing limits what the stack may spend today; deploy it with a DailyBudgetUsd"
        verdict = self._admission.check(self._example())
        if isinstance(verdict, Refusal):
            return f"the stack would refuse the clip: {verdict.reason}"
        return f"the stack would hold the clip: {verdict.message}" if verdict else None

    def _example(self) -> Job:
        """Return a job that admission control can judge."""
        clip = InputFile(self.clip_key, "", 0, datetime.now(UTC))
        return Job(
            id="live check",
            state=State.CLAIMED,
            bucket=self._bucket,
            key=clip.key,
            drop_version="",
            clip=clip,
            sidecar=Sidecar(prompt=PROMPT),
        )

    def run(self, folder: Path, patience_seconds: float) -> Report:
        """Drop the clip, follow it, and report what was found.

        Parameters:
            folder: for the clip.
            patience_seconds: how long to follow it at most.
        """
        clip = media.ffmpeg(folder / "clip.mp4", "-f", "lavfi", "-i", SOURCE)
        self._put(self.clip_key, clip.read_bytes())
        self._put(sidecar_key(self.clip_key), json.dumps({"prompt": PROMPT}).encode())
        budget = self._quotas.daily_budget_usd
        limit = f"in any case, the stack spends at most {budget:g} USD today"
        where = f"s3://{self._bucket}/{self.clip_key}"
        self._say(f"dropped {where}, for about {FLAT_USD:.2f} USD; {limit}")
        job = self._follow(time.time() + patience_seconds)
        report: Report = {"job": _of_job(job)}
        if job and job.request_id:
            report |= self._examine(job, job.request_id)
        return report

    def _put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body)

    # ─── Following ────────────────────────────────────────────────────────────────────────────

    def _follow(self, deadline: float) -> Job | None:
        """Look at the job, and now and then at Segmind, until both have shown everything.

        Returns:
            The job as it was seen last; `None` when the clip has not become one in time.
        """
        ages, ended_at = list(LOOK_AGES), 0.0
        job: Job | None = None
        while True:
            now = time.time()
            job = self._newer(job)
            if job and job.has_ended:
                ended_at = ended_at or now
            if job and job.request_id:
                self._accepted_at = job.entered[State.RENDERING].timestamp()
                age = now - self._accepted_at
                if ages and age >= ages[0]:
                    ages = [each for each in ages if each > age]
                    self._look(job.request_id, at_status=not ended_at)
            if ended_at and self._is_complete(job, ages, ended_at):
                return job
            if now > deadline:
                return job
            time.sleep(0.5)

    def _newer(self, before: Job | None) -> Job | None:
        """Read the job, and say so when its state has changed."""
        newest = self._records.get(self.clip_key).newest_job
        job = (self._jobs.get(newest) if newest else None) or before
        if job and (before is None or job.state is not before.state):
            self._say(f"{job.state} {job.explanation or ''}")
        return job

    def _is_complete(self, job: Job | None, ages: list[int], ended_at: float) -> bool:
        """Tell whether nothing more can be learned about a job that has ended."""
        is_sent = job is not None and job.request_id is not None
        overdue = time.time() > ended_at + ROW_SECONDS
        return self._row_age() is not None or not is_sent or not ages or overdue

    def _look(self, request_id: str, at_status: bool = True) -> None:
        """Look at the request's status, and for its row in the history until it is there."""
        if at_status:
            response = self._segmind.status(request_id)
            seen = {"http": response.status, "status": response.body.get("status")}
            self._statuses.append({"age": self._age()} | seen)
        if self._row_age() is None:
            response = self._segmind.history(request_id)
            is_there = response.status == 200 and bool(response.body)
            self._rows.append({"age": self._age(), "there": is_there})

    def _row_age(self) -> float | None:
        """Return how many seconds after the request the history first had it, if it has."""
        return next((row["age"] for row in self._rows if row["there"]), None)

    def _age(self) -> float:
        return round(time.time() - self._accepted_at, 1)

    # ─── Examining ────────────────────────────────────────────────────────────────────────────

    def _examine(self, job: Job, request_id: str) -> Report:
        """Request everything once more, now that the job has ended."""
        self._look(request_id)
        result = self._segmind.result(request_id)
        sent = (job.attempt and job.attempt.body) or {}
        understood = read_result(result, sent) is not None
        history = self._examine_history(job, request_id)
        file: dict[str, Any] = {}
        if job.result_url:
            staged = f"s3://{self._staging}/{staged_render_key(job.id)}"
            file = compare(self._files, job.result_url, self._s3, staged)
        early_404 = any(seen["http"] == 404 for seen in self._statuses)
        return {
            "status": {"seen": self._statuses, "early_404": early_404},
            "result": {
                "http": result.status,
                "shape": outline(result.body),
                "understood": understood,
            },
            "metrics": {"reported": result.body.get("metrics")},
            "history": history,
            "file": file,
            "limits": {
                "requests_of_this_check": self._segmind.requests,
                "headers": self._segmind.limit_headers,
            },
        }

    def _examine_history(self, job: Job, request_id: str) -> dict[str, Any]:
        """Look at the request's row, and at the list in which a lost response would be found."""
        row = self._segmind.history(request_id)
        page = self._list_history()
        correlation_id = self._jobs.request_owner(request_id) or job.correlation_id
        listed = [each for each in read_page(page, 1) or [] if each.get("request_id") == request_id]
        sent = (job.attempt and job.attempt.body) or {}
        return {
            "there_after": self._row_age(),
            "absent_at": [seen["age"] for seen in self._rows if not seen["there"]],
            "row": outline(row.body),
            "row_understood": isinstance(read_history_row(row, request_id), Found),
            "list_key": [name for name, value in page.body.items() if isinstance(value, list)],
            "envelope": sorted(page.body),
            "listed_fields": sorted(listed[0]) if listed else None,
            "would_be_found": any(is_ours(each, sent, correlation_id) for each in listed),
            "correlation_id_kept": correlation_id in json.dumps(listed),
        }

    def _list_history(self) -> Response:
        today = datetime.now(UTC).date()
        yesterday = today - timedelta(days=1)
        return self._segmind.history_page(1, yesterday.isoformat(), today.isoformat())


def _quotas(variables: Variables) -> Quotas:
    budget = float(variables.get("DAILY_BUDGET_USD", "inf"))
    limit = float(variables.get("MAX_JOB_USD", "inf"))
    return Quotas(int(variables["REQUESTS_PER_MINUTE"]), budget, limit)


def _segmind(variables: Variables, secrets_manager: Any) -> SegmindClient:
    return SegmindClient(
        base_url=variables["SEGMIND_BASE_URL"],
        history_url=variables["SEGMIND_HISTORY_URL"],
        key=ApiKey(client=secrets_manager, secret_arn=variables["SEGMIND_SECRET_ARN"]),
    )


def _of_job(job: Job | None) -> dict[str, Any]:
    """Return what the report says about the job; an empty state when there is none."""
    if job is None:
        return {"state": ""}
    fields = {
        "id": job.id,
        "key": job.key,
        "request_id": job.request_id,
        "state": job.state,
        "held": job.hold_reason,
        "reason": job.explanation,
        "cost_usd": job.cost_usd,
        "times": {state: moment.isoformat() for state, moment in job.entered.items()},
        "result": job.result,
    }
    return {name: value for name, value in fields.items() if value is not None}

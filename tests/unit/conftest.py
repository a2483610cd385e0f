"""A pipeline in one process: the real rules and adapters over moto, stand-ins where money or another service would be."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config
from hypothesis import settings
from moto import mock_aws

from retake.adapters.jobs import JobsTable
from retake.adapters.storage import InputBucket, OutputBucket
from retake.answers import Answers
from retake.delivery import Delivery
from retake.gatekeeper import Gatekeeper
from retake.intake import Intake
from retake.polling import Polling
from retake.recovery import Recovery
from retake.rules.contract import Answer
from retake.rules.drop import Drop
from retake.rules.gate import Limits
from retake.rules.states import State
from retake.settlement import Settlement
from retake.submission import Submission
from retake.sweeping import Sweeping

from .server import Server, serving

REGION = "eu-central-1"
QUICK = Config(parameter_validation=False)
NOW = 1_800_000_000.0
TIMED_OUT = Answer(0, "ReadTimeout while waiting for segmind")
EMPTY_PAGE = Answer(200, '{"history": []}')

settings.register_profile("quick", deadline=None, max_examples=40, database=None)
settings.load_profile("quick")


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class SegmindStandIn:
    """Answers as scripted; `during` runs while a submit is under way."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.accepted = 0
        self.submit_answers: list[Answer] = []
        self.status_answer = self.result_answer = self.history_answer = Answer(200, '{"status": "PROCESSING"}')
        self.keys_read, self.key_is_another = 0, False
        self.pages: list[Answer] = []
        self.pages_asked: list[tuple[int, str, str]] = []
        self.during: Callable[[], object] = lambda: None

    def new_submit(self, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def send(self, request: dict[str, Any]) -> Answer:
        self.sent.append(request)
        _once(self)
        if self.submit_answers:
            return self.submit_answers.pop(0)
        self.accepted += 1
        return Answer(200, json.dumps({"request_id": f"r-{self.accepted}", "status": "QUEUED"}))

    def status(self, request_id: str) -> Answer:
        _once(self)
        return self.status_answer

    def result(self, request_id: str) -> Answer:
        return self.result_answer

    def history(self, request_id: str) -> Answer:
        return self.history_answer

    def refresh_key(self, request: object = None) -> bool:
        self.keys_read += 1
        return self.key_is_another

    def history_page(self, page: int, from_date: str, to_date: str) -> Answer:
        self.pages_asked.append((page, from_date, to_date))
        return self.pages[page - 1] if page <= len(self.pages) else EMPTY_PAGE


class SignerStandIn:
    """Signs for nobody; `during` runs while a session is asked for."""

    def __init__(self) -> None:
        self.during: Callable[[], object] = lambda: None

    def session(self, job: str) -> "SignerStandIn":
        _once(self)
        return self

    def link(self, bucket: str, key: str, mark: str) -> str:
        return signed(bucket, key, mark)


def signed(bucket: str, key: str, mark: str) -> str:
    """Give an address as S3 signs it."""
    disposition = quote(f'inline; filename="{mark}"')
    return f"https://{bucket}.s3.{REGION}.amazonaws.com/{quote(key)}?response-content-disposition={disposition}&X-Amz-Signature=ours"


def _once(stand_in: Any) -> None:
    during, stand_in.during = stand_in.during, lambda: None
    during()


@dataclass
class QueueStandIn:
    """Keeps what is sent to the drop queue."""

    keys: list[str] = field(default_factory=list)
    later: list[tuple[str, int]] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    def look_at(self, bucket: str, *keys: str, delay: int = 0, page: str | None = None) -> None:
        if delay:
            self.later += [(key, delay) for key in keys]
        elif page:
            self.pages += [(key, page) for key in keys]
        else:
            self.keys += keys

    def go_on(self, job_id: str) -> None:
        self.jobs.append(job_id)


@dataclass
class RunsStandIn:
    """Keeps what is started; a run is under way until it is taken out of `alive`."""

    alive: set[tuple[str, int]] = field(default_factory=set)
    plans: list[Any] = field(default_factory=list)

    def start(self, job_id: str, run: int, plan: object, wait_seconds: int) -> None:
        self.plans.append(plan)
        self.alive.add((job_id, run))

    def running(self, job_id: str, run: int) -> bool:
        return (job_id, run) in self.alive


@dataclass
class BusStandIn:
    """Keeps the events; while `broken`, takes none."""

    told: list[tuple[str, Any]] = field(default_factory=list)
    broken: bool = False

    def put(self, detail_type: str, detail: Any) -> None:
        if self.broken:
            raise RuntimeError("the event bus is away")
        self.told.append((detail_type, detail))


@dataclass
class NoticesStandIn:
    """Mails nobody; while `broken`, it raises."""

    told: int = 0
    broken: bool = False

    def tell(self) -> None:
        self.told += 1
        if self.broken:
            raise RuntimeError("SNS is away")


class OneAtATime:
    """A table whose single operations are atomic, as DynamoDB's are and moto's in threads are not."""

    def __init__(self, table: Any) -> None:
        self._table, self._lock = table, Lock()

    def __getattr__(self, name: str) -> Any:
        def locked(**arguments: Any) -> Any:
            with self._lock:
                return getattr(self._table, name)(**arguments)

        return locked


class CrowdedGate:
    """A table at whose gate somebody else is always faster."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def put_item(self, Item: dict[str, Any], **options: Any) -> Any:  # noqa: N803
        if Item["pk"] == "gate":
            options["ExpressionAttributeValues"] = {":v": -1}
        return self._table.put_item(Item=Item, **options)


@cache
def client(service: str) -> Any:
    """Make a client once: it takes longer than a test."""
    return boto3.client(service, region_name=REGION, config=QUICK)


@cache
def jobs_table() -> Any:
    return boto3.resource("dynamodb", region_name=REGION, config=QUICK).Table("jobs")


class World:
    """Everything a test of one function needs, wired as the functions wire it."""

    def __init__(self, table: Any, requests_per_minute: int = 50, daily_budget_usd: float = 25) -> None:
        self.table, self.s3 = table, client("s3")
        for name in ("input", "output"):
            self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
            self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        self.clock, self.limits = Clock(), Limits(requests_per_minute, daily_budget_usd)
        self.segmind, self.signer = SegmindStandIn(), SignerStandIn()
        self.queue, self.runs, self.bus, self.notices = QueueStandIn(), RunsStandIn(), BusStandIn(), NoticesStandIn()
        self.jobs = JobsTable(table, self.clock)
        self.gate = Gatekeeper(self.jobs, self.limits, self.clock)
        self.input, self.output = InputBucket(self.s3, "input"), OutputBucket(self.s3, "output")
        self.answers = Answers(self.jobs, self.output)
        self.settlement: Any = self.settlement_with(self.jobs)
        self.intake = Intake(self.input, self.jobs, self.answers, self.settlement, self.queue, 30, self.clock)  # type: ignore[arg-type]
        self.polling = Polling(self.jobs, self.answers, self.segmind, self.gate, self.clock)  # type: ignore[arg-type]

    def settlement_with(self, jobs: JobsTable) -> Settlement:
        gate = Gatekeeper(jobs, self.limits, self.clock)
        return Settlement(jobs, self.answers, self.bus, self.queue, gate, self.clock)  # type: ignore[arg-type]

    def submission(self, jobs: JobsTable | None = None) -> Submission:
        jobs = jobs or self.jobs
        parts: Any = (self.input, jobs, self.answers, self.settlement, self.segmind, self.signer, self.runs, self.gate)
        return Submission(*parts, self.clock, lambda: 0.5)

    def sweeping(self, jobs: JobsTable | None = None) -> Sweeping:
        jobs = jobs or self.jobs
        looking: Any = (jobs, self.answers, self.settlement, self.segmind, self.gate, self.queue)
        parts: Any = (jobs, self.answers, self.settlement, self.queue, self.runs, Recovery(*looking, self.clock), self.notices)
        return Sweeping(*parts, self.gate, self.clock)

    def delivery(self, files: Any) -> Delivery:
        return Delivery(self.jobs, self.answers, files, self.output, self.clock)

    def drop(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket="input", Key=key, Body=body)

    def read(self, key: str) -> bytes | None:
        keys = [item["Key"] for item in self.s3.list_objects_v2(Bucket="output").get("Contents", ())]
        return self.s3.get_object(Bucket="output", Key=key)["Body"].read() if key in keys else None

    def claimed(self, job_id: str = "j1", key: str = "clip.mp4", **fields: Any) -> str:
        """Write a job that is fit to go, with its clip in the bucket and its place taken."""
        self.drop(key, job_id.encode())
        clip = self.input.head(key)
        assert clip
        self.jobs.take_place(Drop("input", clip), job_id, True)
        job = {"id": job_id, "state": "CLAIMED", "bucket": "input", "key": key, "mode": "adhere_1", "versions": "v", "video": clip.as_row()}
        assert self.jobs.add(job | fields, None)
        return job_id

    def job(self, job_id: str = "j1") -> dict[str, Any]:
        job = self.jobs.job(job_id)
        assert job
        return job

    def state(self, job_id: str = "j1") -> str:
        return str(self.job(job_id)["state"])

    def move(self, job_id: str, to: str, **fields: Any) -> dict[str, Any] | None:
        """Move a job on, as a function does that has just read it."""
        return self.jobs.advance(self.job(job_id), State(to), **fields)

    def rendering(self, job_id: str = "j1") -> str:
        """Bring a claimed job to Segmind."""
        self.submission().submit(self.claimed(job_id))
        assert self.state(job_id) == "RENDERING"
        return job_id

    def minutes_pass(self, minutes: int = 1, every: int = 1) -> None:
        """Let the schedule sweep (`every` so many minutes, to be quick), and what it wakes be submitted."""
        for _ in range(0, minutes, every):
            self.clock.now += 60 * every
            self.sweeping().sweep()
            self.wake()

    def wake(self) -> None:
        """Submit the jobs that are in the queue."""
        woken, self.queue.jobs = self.queue.jobs, []
        for job_id in woken:
            self.submission().submit(job_id)

    @property
    def events(self) -> list[str]:
        return [kind for kind, _ in self.bus.told]

    @property
    def spent(self) -> float:
        return self.jobs.gate()[0].spent_usd

    def loop(self, job_id: str = "j1") -> dict[str, Any]:
        return {"job_id": job_id, "polls": 0, "age": 0, "wait_seconds": 0, "plan": {"ages": [120, 135, 151]}}


@pytest.fixture(scope="session")
def film(clip: Path) -> bytes:
    return clip.read_bytes()


@pytest.fixture(scope="session")
def look(look: Path) -> bytes:
    return look.read_bytes()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The jobs table as the template defines it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with mock_aws():
        names = (("pk", "S"), ("sk", "S"), ("queue", "S"), ("at", "N"))
        client("dynamodb").create_table(
            TableName="jobs",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in names],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "queue",
                    "KeySchema": [{"AttributeName": "queue", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        yield jobs_table()


@pytest.fixture
def world(table: Any) -> World:
    return World(table)

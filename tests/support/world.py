"""The pipeline in one process: the real application over stand-ins of AWS and Segmind."""

from datetime import UTC, datetime
from typing import Any

from retake.bootstrap import Application
from retake.domain.input_files import Drop, prepared_key
from retake.domain.job import Job, State
from retake.domain.poll_schedule import PollSchedule
from retake.domain.preparation import Preparation
from retake.domain.sidecar import Sidecar
from retake.domain.wait_loop import WaitLoop
from retake.settings import Settings

from .aws.dynamodb import Database, Table
from .aws.s3 import S3, Storage
from .stand_ins import (
    FOOTAGE,
    Clock,
    FakeDropQueue,
    FakeEmailDigest,
    FakeEventBus,
    FakeExecutions,
    FakeMedia,
    FakeMediaQueue,
    FakeSegmind,
    FakeSigner,
)
from .template import RESOURCES


class _Clients:
    """The boto3 clients that the application gets: stand-ins."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3


def jobs_table() -> Table:
    """Create the jobs table as the template defines it."""
    return Table(Database(RESOURCES["JobsTable"]["Properties"]))


class World:
    """Everything a test of one use case needs, wired as the functions wire it."""

    def __init__(
        self,
        table: Any,
        requests_per_minute: int = 50,
        daily_budget_usd: float = 25,
        s3: Any = None,
    ) -> None:
        self.table, self.storage, self.clock = table, Storage("input", "output", "staging"), Clock()
        self.s3 = s3 or S3(self.storage)
        self.segmind, self.signer = FakeSegmind(), FakeSigner()
        self.queue, self.executions = FakeDropQueue(), FakeExecutions()
        self.bus, self.digest = FakeEventBus(), FakeEmailDigest()
        self.media, self.media_queue = FakeMedia(), FakeMediaQueue()
        self.settings = Settings(
            jobs_table="jobs",
            input_bucket="input",
            output_bucket="output",
            staging_bucket="staging",
            requests_per_minute=requests_per_minute,
            daily_budget_usd=daily_budget_usd,
        )
        self.app: Any = self.application()

    def application(self, **parts: Any) -> Any:
        """Wire the application; a test may replace parts, such as the table by a broken one."""
        clients: Any = _Clients(self.s3)
        app: Any = Application(
            settings=self.settings, clients=clients, clock=self.clock, random=lambda: 0.5
        )
        app.table = self.table
        app.segmind, app.signer = self.segmind, self.signer
        app.queue, app.executions = self.queue, self.executions
        app.events, app.email_digest = self.bus, self.digest
        app.media, app.media_queue = self.media, self.media_queue
        for name, part in parts.items():
            setattr(app, name, part)
        return app

    @property
    def jobs(self) -> Any:
        return self.app.jobs

    @property
    def records(self) -> Any:
        return self.app.records

    def ingest(self, key: str, page: str | None = None) -> list[str]:
        """Ingest one object, and prepare the clips for which it asks."""
        jobs = [job.id for job in self.app.ingest.ingest(key, page)]
        return jobs + self.prepare()

    def prepare(self) -> list[str]:
        """Prepare the clips in the media queue, and ingest them again."""
        clips, self.media_queue.keys = self.media_queue.keys, []
        jobs: list[str] = []
        for key in clips:
            before = list(self.queue.keys)
            self.app.preparer.prepare(key)
            self.queue.keys = before
            jobs += self.ingest(key)
        return jobs

    def submit(self, job_id: str) -> None:
        """Submit one job."""
        self.app.submitter.submit(job_id)

    def sweep(self) -> int:
        """Sweep once, in a function that has just been started."""
        app = self.application()
        due = int(app.sweep.run())
        app.audit.run()
        return due

    def poll(self, job_id: str = "j1", **changes: Any) -> WaitLoop:
        """Poll once, from the beginning of a wait loop."""
        return self.app.poller.poll(self.loop(job_id, **changes))

    def drop(self, key: str, body: bytes) -> None:
        """Put an object into the input bucket."""
        self.s3.put_object(Bucket="input", Key=key, Body=body)

    def read(self, key: str, bucket: str = "output") -> bytes | None:
        """Read an object, if it exists."""
        listed = self.s3.list_objects_v2(Bucket=bucket).get("Contents", ())
        if key not in [item["Key"] for item in listed]:
            return None
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def claimed(self, job_id: str = "j1", key: str = "clip.mp4", **fields: Any) -> str:
        """Create a job that is ready, with its clip in the bucket and its key owned."""
        self.drop(key, job_id.encode())
        clip = self.app.input_bucket.head(key)
        assert clip
        assert self.records.own(Drop("input", clip), job_id, accepted=True)
        made = prepared_key(job_id, 1080, ".mp4")
        self.s3.put_object(Bucket="staging", Key=made, Body=job_id.encode())
        given: dict[str, Any] = {
            "state": State.CLAIMED,
            "drop_version": "v",
            "sidecar": Sidecar(),
            "prepared": Preparation(made_of="v", expires_at=0, footage=FOOTAGE, clip=made),
        }
        job = Job(id=job_id, bucket="input", key=key, clip=clip, **given | fields)
        assert self.jobs.create(job)
        return job_id

    def job(self, job_id: str = "j1") -> Job:
        """Read a job that must exist."""
        job: Job | None = self.jobs.get(job_id)
        assert job
        return job

    def state(self, job_id: str = "j1") -> State:
        return self.job(job_id).state

    def advance(self, job_id: str, state: State, **changes: Any) -> Job | None:
        """Advance a job, as a function does that has just read it."""
        advanced: Job | None = self.jobs.advance(self.job(job_id), state, **changes)
        return advanced

    def rendering(self, job_id: str = "j1") -> str:
        """Bring a claimed job to Segmind."""
        self.submit(self.claimed(job_id))
        assert self.state(job_id) is State.RENDERING
        return job_id

    def pass_minutes(self, minutes: int = 1, every: int = 1) -> None:
        """Let the schedule sweep, every so many minutes, and what it wakes be submitted."""
        for _ in range(0, minutes, every):
            self.clock.now += 60 * every
            self.sweep()
            self.submit_woken()

    def submit_woken(self) -> None:
        """Submit the jobs that are in the queue."""
        woken, self.queue.jobs = self.queue.jobs, []
        for job_id in woken:
            self.submit(job_id)

    @property
    def events(self) -> list[str]:
        """The names of the published events."""
        return [name for name, _ in self.bus.published]

    @property
    def admission(self) -> Any:
        """The state of admission control."""
        return self.app.admission._store.read()

    @property
    def booked_usd(self) -> float:
        return float(self.admission.budget.booked(self.clock.now))

    def at(self, second: float) -> datetime:
        return datetime.fromtimestamp(second, UTC)

    def loop(self, job_id: str = "j1", **changes: Any) -> WaitLoop:
        """Return the state of a wait loop that has just been started."""
        given: dict[str, Any] = {"schedule": PollSchedule((120, 135, 151))}
        if "run" not in changes:
            job = self.jobs.get(job_id)
            given["run"] = job.run if job else 0
        return WaitLoop(job_id=job_id, **given | changes)

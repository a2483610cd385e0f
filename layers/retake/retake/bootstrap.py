"""The composition root: wires every part once, for the functions and for the tests.

Each part is created when it is first asked for, so a function initializes only what it uses.
Modules that need the HTTP client are imported where they are wired, because functions that never
call Segmind must not pay for that import at a cold start.
"""

import random
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .aws.admission_store import AdmissionStore
from .aws.audit_store import AuditStore
from .aws.clients import Clients
from .aws.email_log import EmailLog
from .aws.follow_ups import FollowUps
from .aws.input_store import InputStore
from .aws.job_store import JobStore
from .aws.messaging import (
    DropQueue,
    EventBus,
    Executions,
    MediaQueue,
    NotificationQueue,
    NotificationTopic,
)
from .aws.past_jobs import PastJobs
from .aws.s3 import InputBucket, OutputBucket, StagingBucket, UrlSigner, signing_client
from .aws.secrets import ApiKey
from .domain.admission import Quotas
from .services.admission_control import AdmissionControl, Outbox, Waker
from .services.settle import Settlement
from .services.status_files import StatusFiles
from .services.wait_loops import WaitLoops
from .services.waiting import WaitingFiles
from .settings import Settings

if TYPE_CHECKING:
    from .segmind.client import SegmindClient
    from .segmind.download import ResultFiles
    from .services.audit import BucketAudit
    from .services.bookkeeping import Bookkeeping
    from .services.claim import Candidates, Claims
    from .services.deliver import Deliveries
    from .services.fetch import Fetcher
    from .services.finish import Finisher
    from .services.ingest import Ingest
    from .services.notify import EmailDigest
    from .services.poll import Poller
    from .services.prepare import Preparer
    from .services.reconcile import Reconciler
    from .services.recover import Recovery
    from .services.search_history import HistorySearcher
    from .services.submit import SubmitOutcomes, SubmitRequests, Submitter
    from .services.sweep import Sweep


class Application:
    """All parts of the pipeline. A test replaces one by assigning it before it is used.

    Parameters:
        settings: the function's environment.
        clients: the boto3 clients.
        clock: returns seconds since the epoch.
        random: returns a random number in [0, 1).
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clients: Clients,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.settings, self.clients = settings, clients
        self.clock, self.random = clock, random

    # ─── AWS ──────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def table(self) -> Any:
        return self.clients.table(self.settings.jobs_table)

    @cached_property
    def jobs(self) -> JobStore:
        return JobStore(table=self.table, clock=self.clock)

    @cached_property
    def records(self) -> InputStore:
        return InputStore(table=self.table, bucket=self.settings.input_bucket, clock=self.clock)

    @cached_property
    def follow_ups(self) -> FollowUps:
        return FollowUps(table=self.table)

    @cached_property
    def past_jobs(self) -> PastJobs:
        return PastJobs(table=self.table)

    @cached_property
    def input_bucket(self) -> InputBucket:
        return InputBucket(s3=self.clients.s3, name=self.settings.input_bucket)

    @cached_property
    def output_bucket(self) -> OutputBucket:
        return OutputBucket(s3=self.clients.s3, name=self.settings.output_bucket)

    @cached_property
    def staging_bucket(self) -> StagingBucket:
        return StagingBucket(s3=self.clients.s3, name=self.settings.staging_bucket)

    @cached_property
    def signer(self) -> UrlSigner:
        return UrlSigner(
            sts=self.clients.sts,
            role_arn=self.settings.signer_role_arn,
            new_s3=signing_client,
        )

    @cached_property
    def queue(self) -> DropQueue:
        return DropQueue(sqs=self.clients.sqs, url=self.settings.drop_queue_url)

    @cached_property
    def media_queue(self) -> MediaQueue:
        return MediaQueue(sqs=self.clients.sqs, url=self.settings.media_queue_url)

    @cached_property
    def events(self) -> EventBus:
        return EventBus(events=self.clients.events, stack_id=self.settings.stack_id)

    @cached_property
    def executions(self) -> Executions:
        return Executions(
            step_functions=self.clients.step_functions,
            state_machine_arn=self.settings.state_machine_arn,
        )

    # ─── Segmind ──────────────────────────────────────────────────────────────────────────────

    @cached_property
    def segmind(self) -> "SegmindClient":
        from .segmind.client import SegmindClient

        key = ApiKey(
            client=self.clients.secrets,
            secret_arn=self.settings.segmind_secret_arn,
            clock=self.clock,
        )
        return SegmindClient(
            base_url=self.settings.segmind_base_url,
            history_url=self.settings.segmind_history_url,
            key=key,
        )

    @cached_property
    def result_files(self) -> "ResultFiles":
        from .segmind.download import ResultFiles

        return ResultFiles(base_url=self.settings.segmind_base_url)

    # ─── Parts that several use cases share ───────────────────────────────────────────────────

    @cached_property
    def status_files(self) -> StatusFiles:
        return StatusFiles(jobs=self.jobs, records=self.records, output=self.output_bucket)

    @cached_property
    def admission(self) -> AdmissionControl:
        quotas = Quotas(
            self.settings.requests_per_minute,
            self.settings.daily_budget_usd,
            self.settings.max_job_usd,
        )
        store = AdmissionStore(table=self.table, clock=self.clock)
        return AdmissionControl(store=store, quotas=quotas, clock=self.clock)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(admission=self.admission, events=self.events)

    @cached_property
    def waker(self) -> Waker:
        return Waker(follow_ups=self.follow_ups, admission=self.admission, queue=self.queue)

    @cached_property
    def wait_loops(self) -> WaitLoops:
        return WaitLoops(executions=self.executions, past_jobs=self.past_jobs, random=self.random)

    @cached_property
    def waiting(self) -> WaitingFiles:
        return WaitingFiles(
            records=self.records,
            status_files=self.status_files,
            queue=self.queue,
            media_queue=self.media_queue,
            clock=self.clock,
        )

    @cached_property
    def settlement(self) -> Settlement:
        return Settlement(
            jobs=self.jobs,
            status_files=self.status_files,
            events=self.events,
            admission=self.admission,
            past_jobs=self.past_jobs,
        )

    # ─── submit ───────────────────────────────────────────────────────────────────────────────

    @cached_property
    def candidates(self) -> "Candidates":
        from .services.claim import Candidates

        return Candidates(
            bucket=self.input_bucket, records=self.records, jobs=self.jobs, clock=self.clock
        )

    @cached_property
    def claims(self) -> "Claims":
        from .services.claim import Claims

        return Claims(
            jobs=self.jobs,
            records=self.records,
            status_files=self.status_files,
            settlement=self.settlement,
        )

    @cached_property
    def ingest(self) -> "Ingest":
        from .services.ingest import Ingest

        return Ingest(
            bucket=self.input_bucket,
            records=self.records,
            candidates=self.candidates,
            claims=self.claims,
            waiting=self.waiting,
            queue=self.queue,
            clock=self.clock,
        )

    @cached_property
    def submit_requests(self) -> "SubmitRequests":
        from .services.submit import SubmitRequests

        return SubmitRequests(
            staging=self.staging_bucket,
            signer=self.signer,
            segmind=self.segmind,
            admission=self.admission,
        )

    @cached_property
    def submit_outcomes(self) -> "SubmitOutcomes":
        from .services.submit import SubmitOutcomes

        return SubmitOutcomes(
            jobs=self.jobs,
            status_files=self.status_files,
            admission=self.admission,
            settlement=self.settlement,
            wait_loops=self.wait_loops,
            waker=self.waker,
            clock=self.clock,
        )

    @cached_property
    def submitter(self) -> "Submitter":
        from .services.submit import Submitter

        return Submitter(
            jobs=self.jobs,
            admission=self.admission,
            requests=self.submit_requests,
            outcomes=self.submit_outcomes,
            waker=self.waker,
            outbox=self.outbox,
        )

    # ─── prepare ──────────────────────────────────────────────────────────────────────────────

    @cached_property
    def preparer(self) -> "Preparer":
        from .services.prepare import Preparer

        return Preparer(
            bucket=self.input_bucket,
            staging=self.staging_bucket,
            records=self.records,
            candidates=self.candidates,
            media=self.media,
            queue=self.queue,
            max_clip_seconds=self.settings.max_clip_seconds,
            max_input_gb=self.settings.max_input_gb,
            staging_retention_days=self.settings.staging_retention_days,
            clock=self.clock,
        )

    # ─── The wait loop ────────────────────────────────────────────────────────────────────────

    @cached_property
    def poller(self) -> "Poller":
        from .services.poll import Poller

        return Poller(
            jobs=self.jobs,
            status_files=self.status_files,
            segmind=self.segmind,
            admission=self.admission,
            clock=self.clock,
        )

    @cached_property
    def fetcher(self) -> "Fetcher":
        from .services.fetch import Fetcher

        return Fetcher(
            jobs=self.jobs,
            status_files=self.status_files,
            files=self.result_files,
            staging=self.staging_bucket,
            deliveries=self.deliveries,
            clock=self.clock,
        )

    @cached_property
    def finisher(self) -> "Finisher":
        from .services.finish import Finisher

        return Finisher(
            jobs=self.jobs,
            status_files=self.status_files,
            staging=self.staging_bucket,
            deliveries=self.deliveries,
            media=self.media,
        )

    @cached_property
    def deliveries(self) -> "Deliveries":
        from .services.deliver import Deliveries

        return Deliveries(jobs=self.jobs, records=self.records, output=self.output_bucket)

    @cached_property
    def media(self) -> "Any":
        from retake_media.tools import Tools

        return Tools()

    # ─── sweep ────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def history_searcher(self) -> "HistorySearcher":
        from .services.search_history import HistorySearcher

        return HistorySearcher(
            jobs=self.jobs, segmind=self.segmind, admission=self.admission, clock=self.clock
        )

    @cached_property
    def recovery(self) -> "Recovery":
        from .services.recover import Recovery

        return Recovery(
            jobs=self.jobs,
            searcher=self.history_searcher,
            status_files=self.status_files,
            events=self.events,
            waker=self.waker,
            admission=self.admission,
            clock=self.clock,
        )

    @cached_property
    def reconciler(self) -> "Reconciler":
        from .services.reconcile import Reconciler

        return Reconciler(
            jobs=self.jobs,
            waiting=self.waiting,
            wait_loops=self.wait_loops,
            recovery=self.recovery,
            settlement=self.settlement,
            waker=self.waker,
        )

    @cached_property
    def bookkeeping(self) -> "Bookkeeping":
        from .services.bookkeeping import Bookkeeping

        return Bookkeeping(
            jobs=self.jobs,
            segmind=self.segmind,
            admission=self.admission,
            settlement=self.settlement,
        )

    @cached_property
    def email_digest(self) -> "EmailDigest":
        from .services.notify import EmailDigest

        settings = self.settings
        return EmailDigest(
            log=EmailLog(table=self.table),
            queue=NotificationQueue(
                sqs=self.clients.notification_sqs, url=settings.notification_queue_url
            ),
            topic=NotificationTopic(
                sns=self.clients.notification_sns, arn=settings.notification_topic_arn
            ),
            interval_minutes=settings.digest_minutes,
            clock=self.clock,
        )

    @cached_property
    def audit(self) -> "BucketAudit":
        from .services.audit import BucketAudit

        return BucketAudit(
            bucket=self.input_bucket,
            records=self.records,
            store=AuditStore(table=self.table),
            queue=self.queue,
            clock=self.clock,
        )

    @cached_property
    def sweep(self) -> "Sweep":
        from .services.sweep import Sweep

        return Sweep(
            follow_ups=self.follow_ups,
            reconciler=self.reconciler,
            waker=self.waker,
            bookkeeping=self.bookkeeping,
            outbox=self.outbox,
            digest=self.email_digest,
            clock=self.clock,
        )


def from_environment() -> Application:
    """Create the application of a function from its environment."""
    return Application(settings=Settings.from_environment(), clients=Clients())

"""From a claimed job to at most one paid request: admit, build, send, and record the outcome."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..aws.job_store import JobStore
from ..aws.s3 import StagingBucket, UrlSigner
from ..domain.admission import Denial
from ..domain.input_files import sent_key, suffix_of
from ..domain.job import (
    PAID,
    FollowUp,
    FollowUpQueue,
    HistorySearch,
    HoldReason,
    Job,
    SearchResult,
    State,
    SubmitAttempt,
)
from ..domain.limits import DAY_SECONDS
from ..domain.refusal import Refusal
from ..observability import logger
from ..segmind.client import Request, SegmindClient
from ..segmind.responses import Accepted, Ambiguous, Deferred, Rejected, SubmitOutcome, read_submit
from .admission_control import AdmissionControl, Outbox, Waker
from .settle import Settlement
from .status_files import StatusFiles
from .wait_loops import WaitLoops

SUBMIT_SECONDS = 60  # a submit that takes longer counts as one whose response was lost
SEARCH_AFTER_SECONDS = 60  # until the history is searched for a lost response
OWN_TROUBLE_SECONDS = 900  # until a job that alone is rejected, or cannot be sent, is retried
FOLDER_BUDGET_SECONDS = 3600  # until a job is retried whose folder has used up its daily cap
EXECUTION_CHECK_SECONDS = 300  # until `sweep` makes sure that the wait loop runs


class Submitter:
    """Submits jobs; whatever happens, a job is sent once or its state says that nobody knows."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        admission: AdmissionControl,
        requests: "SubmitRequests",
        outcomes: "SubmitOutcomes",
        waker: Waker,
        outbox: Outbox,
    ) -> None:
        self._jobs, self._admission, self._requests = jobs, admission, requests
        self._outcomes, self._waker, self._outbox = outcomes, waker, outbox

    def submit(self, job_id: str) -> None:
        """Submit the job that a message names, or hold it with the reason."""
        job = self._jobs.get(job_id)
        if job:
            self.submit_job(job)

    def submit_job(self, job: Job) -> None:
        """Submit a job that has just been read or claimed, or hold it with the reason."""
        if not job.may_be_submitted:
            return
        verdict = self._admission.check(job)
        if isinstance(verdict, Denial):
            self._hold(job, verdict)
        elif job.state is State.CLAIMED and self._waker.any_held():
            self._hold(job, Denial(HoldReason.CAPACITY, "others were dropped before it"))
            self._waker.wake_next()
        else:
            self._send(job, verdict)

    def _send(self, job: Job, refusal: Refusal | None) -> None:
        # Building takes a while, so it comes first: a request counts from its admission on.
        try:
            submit = refusal or self._requests.build(job)
        except Exception:
            self._outcomes.set_aside(job)
            raise
        refused = isinstance(submit, Refusal)
        denial = None if refused else self._admission.admit(job)
        if denial:
            self._hold(job, denial)
            return
        body = None if isinstance(submit, Refusal) else submit.body
        submitting = self._jobs.advance(
            job,
            State.SUBMITTING,
            due_in=SUBMIT_SECONDS,
            hold_reason=None,
            reason=None,
            estimate=self._admission.estimate(job),
            attempt=SubmitAttempt(body, job.next_attempt),
            search=None,
        )
        if submitting is None:
            self._release_if_ended(job.id)
            return
        outcome = submit if isinstance(submit, Refusal) else self._requests.send(submit)
        self._outcomes.record(submitting, outcome)
        self._outbox.publish()

    def _hold(self, job: Job, denial: Denial) -> None:
        self._outcomes.hold(job, denial)
        if denial.reason is HoldReason.BUDGET:
            self._outbox.publish()

    def _release_if_ended(self, job_id: str) -> None:
        """Release the lease of a job that another function moved, if it has ended."""
        job = self._jobs.get(job_id)
        if job and job.has_ended:
            # A settled job released its own lease: this one is new, and has bought nothing.
            is_open = job.follow_up is not None or (job.state in PAID and job.cost_usd is None)
            self._admission.release(job_id, None if is_open else 0)


@dataclass(frozen=True)
class SubmitRequest:
    """A request that is ready to be sent.

    Attributes:
        request: the HTTP request.
        body: its body as it may be stored: without the signatures of its URLs.
        prompt: the prompt in it.
    """

    request: Request
    body: dict[str, str]
    prompt: str


class SubmitRequests:
    """Builds and sends submits; nothing is sent twice unless it was certainly rejected."""

    def __init__(
        self,
        *,
        staging: StagingBucket,
        signer: UrlSigner,
        segmind: SegmindClient,
        admission: AdmissionControl,
    ) -> None:
        self._staging, self._signer, self._segmind = staging, signer, segmind
        self._admission = admission

    def build(self, job: Job) -> SubmitRequest | Refusal:
        """Build a job's request; refuse the job when one of its files is gone."""
        assert job.sidecar  # noqa: S101 - only jobs with instructions are claimed
        assert job.prepared  # noqa: S101 - and that are prepared
        session = self._signer.session(job.id)
        body = {"mode": job.sidecar.mode}
        if job.sidecar.prompt:
            body["prompt"] = job.sidecar.prompt
        if job.sidecar.first_frame_url:
            body["first_frame_url"] = job.sidecar.first_frame_url
        for field, prepared in (
            ("video_url", job.prepared.clip),
            ("first_frame_url", job.prepared.frame),
        ):
            if not prepared:
                continue
            sent = sent_key(job.id, job.run, suffix_of(prepared))
            if not self._staging.copy(prepared, sent):
                reason = f"what was prepared of {job.key} has expired"
                return Refusal(reason, "drop it again")
            body[field] = session.url(self._staging.name, sent, job.correlation_id)
        stored = {name: _without_signature(name, value) for name, value in body.items()}
        request = self._segmind.new_submit(body)
        return SubmitRequest(request, stored, job.sidecar.prompt or "")

    def send(self, submit: SubmitRequest) -> SubmitOutcome:
        """Send a request, once more if its key was rejected and has been rotated meanwhile.

        The second time needs an admitted request of its own.
        """
        outcome = read_submit(self._segmind.send(submit.request), submit.prompt)
        rejected_key = isinstance(outcome, Deferred) and outcome.hold_reason is HoldReason.KEY
        has_new_key = rejected_key and self._segmind.refresh_key(submit.request)
        if has_new_key and self._admission.request() is None:
            return read_submit(self._segmind.send(submit.request), submit.prompt)
        return outcome


def _without_signature(name: str, value: str) -> str:
    return value.partition("?")[0] if name.endswith("_url") else value


class SubmitOutcomes:
    """Records what became of a submit, and holds jobs that cannot be submitted now."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        status_files: StatusFiles,
        admission: AdmissionControl,
        settlement: Settlement,
        wait_loops: WaitLoops,
        waker: Waker,
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._status_files, self._admission = jobs, status_files, admission
        self._settlement, self._wait_loops, self._waker = settlement, wait_loops, waker
        self._clock = clock

    def record(self, job: Job, outcome: SubmitOutcome | Refusal) -> None:
        """Record what became of a job that is in SUBMITTING."""
        logger.info("submitted", job_id=job.id, key=job.key, outcome=repr(outcome))
        match outcome:
            case Accepted(request_id):
                self._follow(job, request_id)
            case Rejected(reason):
                self._jobs.advance(job, State.REFUSED, reason=reason)
                self._settlement.settle(job.id)
            case Refusal():
                self._jobs.advance(job, State.REFUSED, refusal=outcome)
                self._settlement.settle(job.id)
            case Deferred():
                self._defer(job, outcome)
            case Ambiguous(reason):
                self._search_for(job, reason)
                self._admission.lose_response(reason)

    def hold(self, job: Job, denial: Denial, **changes: Any) -> None:
        """Hold a job; one whose response was lost stays as it is.

        Parameters:
            job: the job.
            denial: why.
            changes: fields that differ from those of a job that keeps its place in line.
        """
        if job.state is State.SUBMIT_UNKNOWN:
            return
        since = job.held_since or int(self._clock())
        held: dict[str, Any] = {
            "hold_reason": denial.reason,
            "reason": denial.message,
            "held_since": since,
            "follow_up": self._follow_up(denial.reason, since),
            "estimate": job.estimate or self._admission.estimate(job),
        } | changes
        after: Job | None = job
        if job.state is not State.HELD:
            after = self._jobs.advance(job, State.HELD, **held)
        elif replace(job, **held) != job:
            after = self._jobs.update(job, **held)
        self._status_files.publish(job.id, after)
        if denial.reason is HoldReason.BUDGET:
            self._admission.exhaust_budget(denial.message)

    def _follow_up(self, reason: HoldReason, since: int) -> FollowUp:
        """Return when a held job is tried again; one that its folder's cap holds waits alone."""
        if reason is not HoldReason.FOLDER_BUDGET:
            return FollowUp(FollowUpQueue.HELD, since)
        now = int(self._clock())
        midnight = now - now % DAY_SECONDS + DAY_SECONDS
        return FollowUp(FollowUpQueue.DUE, min(midnight, now + FOLDER_BUDGET_SECONDS))

    def set_aside(self, job: Job) -> None:
        """Postpone a held job that cannot be sent, so that it is not always tried first."""
        if job.state is State.HELD:
            self._jobs.update(job, due_in=OWN_TROUBLE_SECONDS)
        else:
            self._status_files.publish(job.id)  # SQS delivers its message again

    def _follow(self, job: Job, request_id: str) -> None:
        submitted_at = int(self._clock())
        if not self._jobs.claim_request(request_id, job.correlation_id):
            reason = f"Segmind returned request {request_id}, which belongs to another job"
            self._search_for(job, reason)
            return
        rendering = self._jobs.advance(
            job,
            State.RENDERING,
            due_in=EXECUTION_CHECK_SECONDS,
            insist=True,
            request_id=request_id,
            submitted_at=submitted_at,
        )
        if rendering is None:
            logger.error("paid request, but its job moved", job_id=job.id, request_id=request_id)
            return
        self._status_files.publish(job.id, rendering)
        self._wait_loops.start(job)
        self._admission.close_circuit()
        if self._admission.closed_since(submitted_at):
            self._waker.wake_next()

    def _defer(self, job: Job, outcome: Deferred) -> None:
        """Hold a job that Segmind certainly did not accept.

        All other jobs are held with it, unless the trouble is its own: others were accepted
        since it was rejected last.
        """
        self._admission.release(job.id, cost_usd=0)
        alone = job.rejected_at is not None and self._admission.closed_since(job.rejected_at)
        if outcome.hold_reason is HoldReason.RATE:
            self._admission.pause(outcome.retry_seconds)
        elif not alone:
            self._admission.open_circuit(outcome.hold_reason, outcome.reason)
        now = int(self._clock())
        denial = Denial(outcome.hold_reason, outcome.reason)
        # It lines up behind the others, so the next one to probe is another.
        last_in_line = {"held_since": now, "rejected_at": now}
        if job.attempt and job.attempt.number > 1:
            self._search_for(
                job,
                outcome.reason,
                search=HistorySearch(SearchResult.ABSENT),
                attempt=replace(job.attempt, number=1),
            )
        elif outcome.hold_reason is HoldReason.RATE:
            self.hold(job, denial)
        elif alone:
            retry = FollowUp(FollowUpQueue.DUE, now + OWN_TROUBLE_SECONDS)
            self.hold(job, denial, follow_up=retry, **last_in_line)
        else:
            follow_up = FollowUp(FollowUpQueue.HELD, now)
            self.hold(job, denial, follow_up=follow_up, **last_in_line)

    def _search_for(self, job: Job, reason: str, **changes: Any) -> None:
        """Leave it to `sweep` to search Segmind's history for the request."""
        unknown = self._jobs.advance(
            job, State.SUBMIT_UNKNOWN, due_in=SEARCH_AFTER_SECONDS, reason=reason, **changes
        )
        self._status_files.publish(job.id, unknown)

"""From a claimed job to at most one paid request: gate, sign, POST, record, start."""

from collections.abc import Callable
from typing import Any

from .adapters.jobs import HELD, JobsTable, Row
from .adapters.messages import Runs
from .adapters.segmind import Request, Segmind
from .adapters.storage import InputBucket, LinkSigner
from .answers import Answers
from .gatekeeper import Gatekeeper
from .observability import logger
from .rules.contract import Accepted, Rejected, Submitted, Unknown, Withheld, read_submit
from .rules.drop import File
from .rules.gate import Shut
from .rules.planner import Plan
from .rules.refusal import Refusal
from .rules.states import ENDED, PAID, READY, Held, State
from .settlement import Settlement

LOOK_SECONDS = 60  # until the history is asked for a lost answer
POST_SECONDS = 60  # the longest that a submit may be under way before its answer counts as lost
RUN_SECONDS = 300  # after which `sweep` makes sure that the wait-loop runs


class Submission:
    """Submits jobs that are fit to go; whatever happens, a job is POSTed once or its state says that nobody knows."""

    def __init__(
        self,
        bucket: InputBucket,
        jobs: JobsTable,
        answers: Answers,
        settlement: Settlement,
        segmind: Segmind,
        signer: LinkSigner,
        runs: Runs,
        gate: Gatekeeper,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._bucket, self._jobs, self._answers, self._settlement = bucket, jobs, answers, settlement
        self._segmind, self._signer, self._runs, self._gate = segmind, signer, runs, gate
        self._clock, self._random = clock, random

    def submit(self, job_id: str) -> None:
        """Submit one job, or hold it with the reason."""
        job = self._jobs.job(job_id)
        if job is None or not _is_ready(job):
            return
        if shut := self._gate.would_admit(job_id):
            self._hold(job, shut)
            return
        if job["state"] == State.CLAIMED and self._jobs.held(1):
            self._hold(job, Shut(Held.CAPACITY, "others were dropped before it"))
            self._settlement.let_next_go()
            return
        body = self._body(job)  # takes a while, so it comes before the gate: a request counts from the moment it was let through
        if shut := self._gate.admit(job_id):
            self._hold(job, shut)
            return
        request = body if isinstance(body, Refusal) else self._segmind.new_submit(body)
        once_more = job.get("resubmitted") or (job.get("absent") and "sent" in job) or None
        changes: Row = {"held": None, "reason": None, "sent": _unsigned(body), "absent": None, "looks": None, "resubmitted": once_more}
        submitting = self._jobs.advance(job, State.SUBMITTING, within=POST_SECONDS, **changes)
        if submitting is None:
            self._too_late(job_id)
            return
        outcome = Rejected(request.reason) if isinstance(request, Refusal) else self._send(request)
        logger.info("submitted", job_id=job_id, key=job["key"], outcome=repr(outcome))
        match outcome:
            case Accepted(request_id):
                self._follow(submitting, request_id)
            case Rejected(reason):
                self._jobs.advance(submitting, State.REFUSED, reason=reason)
                self._settlement.settle(job_id)
            case Withheld(held, reason, wait):
                self._gate.release(job_id, cost_usd=0)
                if held is Held.RATE:
                    self._gate.pause(wait)
                news = held is not Held.RATE and self._gate.keep_back(held, reason)
                self._hold(submitting, Shut(held, reason))
                if news:
                    self._settlement.announce("Held", {"held": held, "message": reason})
            case Unknown(reason):
                self._jobs.advance(submitting, State.SUBMIT_UNKNOWN, within=LOOK_SECONDS, reason=reason)
                self._answers.tell(job_id)

    def _send(self, request: Request) -> Submitted:
        outcome = read_submit(self._segmind.send(request))
        if isinstance(outcome, Withheld) and outcome.held is Held.KEY and self._segmind.refresh_key(request):
            return read_submit(self._segmind.send(request))  # it was certainly refused, for a key that has been rotated meanwhile
        return outcome

    def _body(self, job: Row) -> dict[str, Any] | Refusal:
        session = self._signer.session(job["id"])
        body = {"mode": job["mode"]} | {name: job[name] for name in ("prompt", "first_frame_url") if name in job}
        for field, part in (("video_url", "video"), ("first_frame_url", "frame")):
            if part in job:
                key = self._bucket.stage(File.from_row(job[part]), job["id"])
                if key is None:
                    return Refusal(f"{job[part]['key']} was removed before it could be sent to Segmind", "drop it again")
                body[field] = session.link(self._bucket.name, key)
        return body

    def _follow(self, job: Row, request_id: str) -> None:
        paid: Row = {"request_id": request_id, "submitted_at": int(self._clock())}
        if self._jobs.advance(job, State.RENDERING, within=RUN_SECONDS, insist=True, **paid) is None:
            logger.error("a paid request has found its job elsewhere", job_id=job["id"], request_id=request_id)
            return
        self._jobs.remember_request(job, request_id)
        self._answers.tell(job["id"])
        plan = Plan.learn().jittered(self._random())
        self._runs.start(job["id"], job["run"], plan.as_input(), plan.wait(0))
        if self._gate.lift():
            self._settlement.announce("Resumed", {"message": "Segmind takes requests again; held jobs go on."})
            self._settlement.let_next_go()

    def _hold(self, job: Row, shut: Shut) -> None:
        if job["state"] == State.SUBMIT_UNKNOWN:
            return
        since = job.get("held_since", int(self._clock()))
        why = {"held": shut.held, "reason": shut.reason, "held_since": since}
        if job["state"] != State.HELD:
            changed = self._jobs.advance(job, State.HELD, queue=HELD, at=since, **why)
        else:
            changed = self._jobs.note(job, **why) if job["reason"] != shut.reason else None
        if changed:
            self._answers.tell(job["id"])
        if shut.held is Held.BUDGET and self._gate.park():
            self._settlement.announce("Held", {"held": shut.held, "message": shut.reason})

    def _too_late(self, job_id: str) -> None:
        """Another function has the job; the lease is its own, unless the job has ended."""
        job = self._jobs.job(job_id)
        if job and State(job["state"]) in ENDED:
            self._gate.release(job_id, None if State(job["state"]) in PAID else 0)


def _is_ready(job: Row) -> bool:
    """Tell whether a job may be sent: it never was, or its request is known to be absent, and no person is asked."""
    if job.get("held") == Held.ATTENTION:
        return False
    return State(job["state"]) in READY or (job["state"] == State.SUBMIT_UNKNOWN and bool(job.get("absent")))


def _unsigned(body: dict[str, Any] | Refusal) -> dict[str, Any] | None:
    """Give a request's body as it may be kept: without the signatures of its addresses."""
    if isinstance(body, Refusal):
        return None
    return {name: value.partition("?")[0] if name.endswith("_url") else value for name, value in body.items()}

"""From a claimed job to at most one paid request: gate, sign, POST, record, start."""

from collections.abc import Callable
from typing import Any

from .adapters.jobs import DUE, HELD, JobsTable, Row
from .adapters.messages import Runs
from .adapters.segmind import Request, Segmind
from .adapters.storage import InputBucket, LinkSigner
from .answers import Answers
from .gatekeeper import Gatekeeper
from .observability import logger
from .rules.contract import Accepted, Rejected, Submitted, Unknown, Withheld, read_submit
from .rules.drop import File, mark
from .rules.gate import Shut
from .rules.planner import Plan
from .rules.refusal import Refusal
from .rules.states import ENDED, PAID, READY, Held, State
from .settlement import Settlement

LOOK_SECONDS = 60  # until the history is asked for a lost answer
POST_SECONDS = 60  # the longest that a submit may be under way before its answer counts as lost
OWN_TROUBLE_SECONDS = 900  # until a job is tried again that alone is refused, or cannot be sent at all
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
        try:  # takes a while, so it comes before the gate: a request counts from the moment it was let through
            body = self._body(job)
            request = body if isinstance(body, Refusal) else self._segmind.new_submit(body)
        except Exception:
            self._set_aside(job)
            raise
        if not isinstance(request, Refusal) and (shut := self._gate.admit(job_id)):
            self._hold(job, shut)
            return
        once_more = job.get("resubmitted") or (job.get("absent") and "sent" in job) or None
        changes: Row = {"held": None, "reason": None, "sent": _unsigned(body), "absent": None, "looks": None, "resubmitted": once_more}
        submitting = self._jobs.advance(job, State.SUBMITTING, within=POST_SECONDS, **changes)
        if submitting is None:
            self._too_late(job_id)
            return
        outcome = Rejected(request.reason) if isinstance(request, Refusal) else self._send(request, job.get("prompt", ""))
        logger.info("submitted", job_id=job_id, key=job["key"], outcome=repr(outcome))
        match outcome:
            case Accepted(request_id):
                self._follow(submitting, request_id)
            case Rejected(reason):
                self._jobs.advance(submitting, State.REFUSED, reason=reason)
                self._settlement.settle(job_id)
            case Withheld():
                self._withheld(submitting, outcome)
            case Unknown(reason):
                self._jobs.advance(submitting, State.SUBMIT_UNKNOWN, within=LOOK_SECONDS, reason=reason)
                self._answers.tell(job_id)
                self._gate.lose(reason)
        self._settlement.tell_news()

    def _send(self, request: Request, prompt: str) -> Submitted:
        outcome = read_submit(self._segmind.send(request), prompt)
        if isinstance(outcome, Withheld) and outcome.held is Held.KEY and self._segmind.refresh_key(request):
            return read_submit(self._segmind.send(request), prompt)  # it was certainly refused, for a key that has been rotated meanwhile
        return outcome

    def _withheld(self, job: Row, answer: Withheld) -> None:
        """Hold a job that Segmind certainly did not take, and all others with it, unless the trouble is its own."""
        self._gate.release(job["id"], cost_usd=0)
        alone = "withheld_at" in job and self._gate.lifted_since(job["withheld_at"])  # others were taken meanwhile
        if answer.held is Held.RATE:
            self._gate.pause(answer.wait)
        elif not alone:
            self._gate.keep_back(answer.held, answer.reason)
        now = int(self._clock())
        shut, behind = Shut(answer.held, answer.reason), {"held_since": now, "withheld_at": now}
        if job.get("resubmitted"):  # it goes on looking for the request that was lost
            again: Row = {"absent": True, "resubmitted": None, "reason": answer.reason}
            self._jobs.advance(job, State.SUBMIT_UNKNOWN, within=LOOK_SECONDS, **again)
            self._answers.tell(job["id"])
        elif answer.held is Held.RATE:
            self._hold(job, shut)
        elif alone:
            self._hold(job, shut, queue=DUE, at=now + OWN_TROUBLE_SECONDS, **behind)
        else:  # the next one to try is another
            self._hold(job, shut, at=now, **behind)

    def _set_aside(self, job: Row) -> None:
        """See to it that a held job that cannot be sent is not always the first of those that are tried."""
        if job["state"] == State.HELD:
            self._jobs.note(job, queue=DUE, at=int(self._clock()) + OWN_TROUBLE_SECONDS)

    def _body(self, job: Row) -> dict[str, Any] | Refusal:
        session = self._signer.session(job["id"])
        body = {"mode": job["mode"]} | {name: job[name] for name in ("prompt", "first_frame_url") if name in job}
        for field, part in (("video_url", "video"), ("first_frame_url", "frame")):
            if part in job:
                key = self._bucket.stage(File.from_row(job[part]), job["id"])
                if key is None:
                    return Refusal(f"{job[part]['key']} was removed before it could be sent to Segmind", "drop it again")
                body[field] = session.link(self._bucket.name, key, mark(job))
        return body

    def _follow(self, job: Row, request_id: str) -> None:
        submitted_at = int(self._clock())
        paid: Row = {"request_id": request_id, "submitted_at": submitted_at}
        if not self._jobs.own_request(request_id, mark(job)):
            reason = f"Segmind answered with request {request_id}, which is another job's"
            self._jobs.advance(job, State.SUBMIT_UNKNOWN, within=LOOK_SECONDS, reason=reason)
            return
        if self._jobs.advance(job, State.RENDERING, within=RUN_SECONDS, insist=True, **paid) is None:
            logger.error("a paid request has found its job elsewhere", job_id=job["id"], request_id=request_id)
            return
        self._answers.tell(job["id"])
        plan = Plan.learn(self._jobs.renders()).jittered(self._random())
        self._runs.start(job["id"], job["run"], plan.as_input(), plan.wait(0))
        self._gate.lift()
        if self._gate.lifted_since(submitted_at):
            self._settlement.let_next_go()

    def _hold(self, job: Row, shut: Shut, **changes: Any) -> None:
        if job["state"] == State.SUBMIT_UNKNOWN:
            return
        since = job.get("held_since", int(self._clock()))
        why = {"held": shut.held, "reason": shut.reason, "held_since": since, "queue": HELD, "at": since} | changes
        if job["state"] != State.HELD:
            self._jobs.advance(job, State.HELD, **why)
        elif any(job.get(name) != value for name, value in why.items()):
            self._jobs.note(job, **why)
        self._answers.tell(job["id"])
        if shut.held is Held.BUDGET:
            self._gate.park(shut.reason)
            self._settlement.tell_news()

    def _too_late(self, job_id: str) -> None:
        """Another function has the job; the lease is its own, unless the job has ended."""
        job = self._jobs.job(job_id)
        if job and State(job["state"]) in ENDED:
            settled = "queue" not in job  # its own lease was given back: this one is new, and has bought nothing
            self._gate.release(job_id, None if State(job["state"]) in PAID and not settled else 0)


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

"""`retake retry` drops the files of failed and refused jobs again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.text import Text

from retake.domain import sidecar
from retake.domain.input_files import (
    Drop,
    FileKind,
    InputFile,
    deciding_sidecar,
    kind_of,
    preset_key,
    sidecar_key,
)
from retake.domain.intake import (
    Candidate,
    Decision,
    InputRecord,
    Known,
    Prepare,
    Refuse,
    Start,
    Wait,
    decide,
    resolve,
)
from retake.domain.job import RETRYABLE, Job, State
from retake.domain.limits import MAX_JSON_BYTES
from retake.domain.preset import Preset
from retake.domain.sidecar import Sidecar
from retake.domain.status_file import printable

from .. import jobs
from ..console import CommandError, now, usd
from ..etags import etag_of
from ..jobs import Entry
from ..plan import to_body
from ..session import Prefix, Session
from ..stack import Stack

_EMPTY_SIDECAR = b"{}"
_REPLACED = "its files have been replaced; drop the old files again to get this take"
_WHY_NOT = {
    State.DELIVERED: "it is delivered; for another take, run `retake drop … --rerun N`",
    State.LOST: "it was paid for; for another take, run `retake drop … --rerun N`",
    State.HELD: "it is held and continues automatically; `retake show` says why",
}


def retry(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB|KEY]…", help="Jobs to retry, named as for `show`."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Retry all jobs that failed or were refused.")
    ] = False,
    prefix: Prefix = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the jobs; drop nothing.")
    ] = False,
) -> None:
    """Drop the files of failed or refused jobs again.

    The files are used as they are in the input bucket.
    """
    session: Session = context.obj
    if bool(names) == failed:
        hint = "run `retake ls --state FAILED` to list the failed jobs"
        raise CommandError("specify the jobs to retry, or --failed", hint, 2)
    table = session.stack.table
    if failed:
        picked = [job for job in jobs.read_newest(table, RETRYABLE, prefix) if _is_clip(job)]
    else:
        picked = [jobs.find(table, name)[0] for name in names or []]
    if dry_run:
        outcomes = [Outcome(entry.key, price_usd=_price_usd(entry)) for entry in picked]
    else:
        outcomes = [retry_entry(session.stack, entry) for entry in picked]
    lines = [_line(outcome, dry_run=dry_run) for outcome in outcomes]
    total = sum(outcome.price_usd for outcome in outcomes)
    sums = f"about {usd(total)} USD if they succeed" if total else "nothing to retry"
    values = [vars(outcome) for outcome in outcomes]
    session.screen.show(values, *lines, Text(sums, "dim"))
    raise typer.Exit(int(not failed and any(outcome.refused for outcome in outcomes)))


@dataclass(frozen=True)
class Outcome:
    """What became of a job that is to be retried.

    Attributes:
        key: the clip's key.
        refused: why it is not retried; empty when its files were dropped again.
        price_usd: what it is expected to cost.
    """

    key: str
    refused: str = ""
    price_usd: float = 0.0


def retry_entry(stack: Stack, entry: Entry) -> Outcome:
    """Drop a job's sidecar again, if the functions would start the job again for it.

    The sidecar is uploaded as it is in the bucket. If that would make another job, because the
    preset has changed, the job's own instructions are uploaded instead.
    """
    if not isinstance(entry, Job) or entry.state not in RETRYABLE:
        return Outcome(entry.key, _explain_state(entry.state))
    if not _is_clip(entry):
        return Outcome(entry.key, "it is not a clip; drop the right file instead")
    files = _read_files(stack, entry)
    if isinstance(files, str):
        return Outcome(entry.key, files)
    refused = ""
    for body in files.bodies(entry):
        candidate = files.candidate(stack, body)
        decision = decide(candidate)
        # What was prepared has expired: the functions prepare it again, and find the job.
        is_expired = isinstance(decision, Prepare) and files.clip.etag == entry.clip.etag
        restarts = isinstance(decision, Start) and decision.replaces
        if is_expired or (restarts and restarts.id == entry.id):
            stack.put_json(files.sidecar_key, body)
            return Outcome(entry.key, price_usd=_price_usd(entry))
        refused = _explain(entry, candidate, decision)
    return Outcome(entry.key, refused)


def _price_usd(entry: Entry) -> float:
    """Return what a job is expected to cost."""
    return entry.estimated_usd if isinstance(entry, Job) else 0.0


@dataclass(frozen=True, kw_only=True)
class _Files:
    """The files of a job as they are in the bucket now.

    Attributes:
        clip: its clip.
        sidecar_key: where its sidecar is, or belongs.
        sidecar_body: the content of its sidecar, or of an empty one.
        preset: the preset of its folder, if there is one.
        record: what is known about the clip's key.
    """

    clip: InputFile
    sidecar_key: str
    sidecar_body: bytes
    preset: Preset | None
    record: InputRecord

    def bodies(self, job: Job) -> Iterator[bytes]:
        """Yield the sidecars that may start a job again."""
        yield self.sidecar_body
        if job.sidecar:
            fields = {"prompt": ""} | json.loads(job.sidecar.canonical())
            yield to_body(fields)

    def candidate(self, stack: Stack, body: bytes) -> Candidate:
        """Return what the functions decide about once a sidecar is uploaded."""
        moment = now()
        uploaded = InputFile(self.sidecar_key, etag_of(body), len(body), moment)
        drop = Drop(stack.input_bucket.name, self.clip, uploaded)
        own = sidecar.FORM.read(body)
        instructions = resolve(drop, own, self.preset, self.record, moment.timestamp())
        candidate = Candidate(drop, self.record, instructions)
        if candidate.frame_key and not candidate.frame_key_is_too_long:
            first_frame = stack.input_bucket.head(candidate.frame_key)
            candidate = replace(candidate, drop=replace(drop, first_frame=first_frame))
        candidate = candidate.prepared(moment.timestamp())
        job_id = candidate.known_job_id
        return replace(candidate, job=stack.jobs.get(job_id)) if job_id else candidate


def _read_files(stack: Stack, job: Job) -> _Files | str:
    """Read the files of a job, or say why it cannot be retried."""
    record = stack.records.get(job.key)
    if record.newest_job not in (None, job.id):
        return _REPLACED
    bucket = stack.input_bucket
    stored_key = deciding_sidecar(bucket.siblings(job.key))
    stored = bucket.head(stored_key) if stored_key else None
    key = stored.key if stored else sidecar_key(job.key)
    if kind_of(key) is not FileKind.SIDECAR:
        return "it cannot have its own sidecar; drop the clip again"
    preset = stack.candidates.preset_for(job.key)
    clip = bucket.head(job.key)
    if not clip:
        return "its clip is no longer in the bucket; drop it again"
    if not (stored or preset or job.sidecar):
        return "its sidecar is no longer in the bucket; drop it again"
    body = bucket.read(stored, 0, MAX_JSON_BYTES + 1) if stored else _EMPTY_SIDECAR
    return _Files(clip=clip, sidecar_key=key, sidecar_body=body, preset=preset, record=record)


def _explain(job: Job, candidate: Candidate, decision: Decision) -> str:
    """Say why a job is not started again."""
    other = isinstance(candidate.sidecar, Sidecar) and candidate.sidecar != job.sidecar
    if job.sidecar and other:  # a preset can add nothing else to complete instructions
        preset = preset_key(job.key)
        return f"{preset} now names a first frame; drop the clip again for a take with it"
    match decision:
        case Wait(message):
            return f"it {message}"
        case Refuse(refusal):
            return f"it would be refused: {refusal.reason}; {refusal.cure}"
        case Known(known):
            return _explain_state(known.state)
        case Start() | Prepare():
            return _REPLACED


def _explain_state(state: State) -> str:
    return _WHY_NOT.get(state, f"it is in progress ({state})")


def _is_clip(entry: Entry) -> bool:
    return kind_of(entry.key) is FileKind.CLIP


def _line(outcome: Outcome, *, dry_run: bool) -> Text:
    done = "would be dropped again" if dry_run else "dropped again"
    return Text(f"{printable(outcome.key)}  {printable(outcome.refused) or done}")

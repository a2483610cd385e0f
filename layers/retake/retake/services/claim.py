"""Gathers what decides about a clip, and applies the decision: claim, refuse, or answer."""

from collections.abc import Callable
from dataclasses import replace

from ..aws.input_store import InputStore
from ..aws.job_store import JobStore
from ..aws.s3 import InputBucket
from ..domain import preset, sidecar
from ..domain.input_files import (
    Drop,
    InputFile,
    deciding_sidecar,
    job_id,
    overtaken_key,
    preset_key,
)
from ..domain.intake import Candidate, InputRecord, Known, Refuse, Start, Wait, refuse, resolve
from ..domain.job import RETRYABLE, UNSENT, Job, State
from ..domain.json_form import Fields
from ..domain.limits import MAX_JSON_BYTES
from ..domain.preset import Preset
from ..domain.refusal import Refusal
from ..domain.sidecar import Sidecar
from ..observability import logger
from .settle import Settlement
from .status_files import StatusFiles


class Candidates:
    """Reads the bucket and the table as they are now."""

    def __init__(
        self,
        *,
        bucket: InputBucket,
        records: InputStore,
        jobs: JobStore,
        clock: Callable[[], float],
    ) -> None:
        self._bucket, self._records, self._jobs = bucket, records, jobs
        self._clock = clock

    def read(self, clip: InputFile, own: InputFile | None = None) -> Candidate:
        """Gather everything about a clip.

        Parameters:
            clip: the clip.
            own: its sidecar, if that has just been looked up.
        """
        candidate = self.with_instructions(clip, own=own)
        if isinstance(candidate.sidecar, Wait):
            return candidate
        if candidate.frame_key and not candidate.frame_key_is_too_long:
            # Linked before it is looked for: of a clip and a first frame that arrive together,
            # at least one sees the other.
            self._records.link_first_frame(candidate.frame_key, clip.key)
            first_frame = self._bucket.head(candidate.frame_key)
            drop = replace(candidate.drop, first_frame=first_frame)
            candidate = replace(candidate, drop=drop)
            if first_frame:
                record = self._records.get(first_frame.key)
                candidate = replace(candidate, beside=(*candidate.beside, record))
        candidate = candidate.prepared(self._clock())
        job_id = candidate.known_job_id
        return replace(candidate, job=self._jobs.get(job_id) if job_id else None)

    def with_instructions(
        self, clip: InputFile, record: InputRecord | None = None, own: InputFile | None = None
    ) -> Candidate:
        """Gather a clip, its sidecar and its instructions.

        Parameters:
            clip: the clip.
            record: what is known about its key, if that has just been read.
            own: its sidecar, if that has just been looked up.
        """
        content: bytes | None = None
        if own is None and (found := self._open_sidecar(clip)):
            own, content = found
        drop = Drop(self._bucket.name, clip, own)
        beside: list[InputRecord] = []
        if record is None:
            keys = [file.key for file in (clip, own) if file]
            record, *beside = self._records.get_many(keys).values()
        fields: Fields | Refusal | None = None
        defaults: Preset | None = None
        if not (record.sidecar and drop.is_pair(record.pair_version)):
            if own and content is None:
                content = self._bucket.read(own, 0, MAX_JSON_BYTES + 1)
            fields = None if content is None else sidecar.FORM.read(content)
            defaults = None if isinstance(fields, Refusal) else self.preset_for(clip.key)
        instructions = resolve(drop, fields, defaults, record, self._clock())
        cap = defaults.cap if defaults else None
        return Candidate(drop, record, instructions, beside=tuple(beside), cap=cap)

    def refused(self, file: InputFile, refusal: Refusal) -> Candidate:
        """Gather a file that is refused by itself, without any instructions."""
        drop = Drop(self._bucket.name, file)
        candidate = Candidate(drop, self._records.get(file.key), refusal)
        job_id = candidate.known_job_id
        return replace(candidate, job=self._jobs.get(job_id) if job_id else None)

    def preset_for(self, key: str) -> Preset | None:
        """Read the preset in the folder of a key."""
        found = self._bucket.open(preset_key(key), MAX_JSON_BYTES + 1)
        return Preset(found[0], preset.parse(found[1])) if found else None

    def _open_sidecar(self, clip: InputFile) -> tuple[InputFile, bytes] | None:
        key = deciding_sidecar(self._bucket.siblings(clip.key))
        return self._bucket.open(key, MAX_JSON_BYTES + 1) if key else None


class Claims:
    """Makes jobs of drops, each at most once."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        records: InputStore,
        status_files: StatusFiles,
        settlement: Settlement,
    ) -> None:
        self._jobs, self._records = jobs, records
        self._status_files, self._settlement = status_files, settlement

    def start(self, candidate: Candidate, start: Start) -> list[Job] | None:
        """Claim the job of a clip that is prepared.

        Its status file is written with what becomes of its submit, which follows at once. Only if
        its name shows another job, or an earlier run, it is written now.

        Returns:
            The jobs that are ready to be submitted; `None` when another function accepted these
            files with other instructions, so they must be looked at again.
        """
        drop = candidate.drop
        job = _job_of(drop, State.CLAIMED, start.sidecar)
        cap = candidate.cap or (start.replaces.cap if start.replaces else None)
        job = replace(job, prepared=candidate.preparation, cap=cap)
        created = self._create(drop, job, start.replaces)
        if created:
            if candidate.record.newest_job:
                self._status_files.publish(created.id, created)
            return [created]
        record = self._records.get(drop.clip.key)
        if record.pair_version == drop.pair_version and record.sidecar != start.sidecar:
            return None
        return []

    def refuse(self, candidate: Candidate, refusal: Refusal) -> None:
        """Refuse a drop, unless this very drop was answered before."""
        match refuse(candidate, refusal):
            case Known(job):
                self.answer_known(candidate, job)
            case Refuse() as refused:
                self._refuse(candidate.drop, refused)

    def answer_known(self, candidate: Candidate, job: Job) -> list[Job]:
        """Answer for content that has its job: nothing is paid.

        A name that a refusal took in between returns to the job.

        Returns:
            The jobs that are ready to be submitted.
        """
        drop, record = candidate.drop, candidate.record
        sidecar = candidate.sidecar if isinstance(candidate.sidecar, Sidecar) else None
        if (record.pair_version, record.newest_job) != (drop.pair_version, job.id):
            record = self._records.get(drop.clip.key)
        owner = job
        if record.accepted_job not in (None, job.id):
            owner = self._jobs.get(record.accepted_job) or job
        owns = owner.id == job.id or owner.state in RETRYABLE
        accepted = owns and job.state not in RETRYABLE
        newest = job.id if accepted else record.newest_job or job.id
        other_pair = sidecar is not None and not drop.is_pair(record.pair_version)
        changes = newest != record.newest_job or record.waiting or other_pair
        if changes:
            self._records.own(drop, newest, accepted=accepted, sidecar=sidecar)
        if job.state is State.CLAIMED and not changes:
            return [job]  # its submit writes the status file
        # The status file is written last: if it is current, nothing before it is missing.
        if newest != job.id or not self._status_files.is_current(job):
            # It may have been published there while a refusal had its name.
            self._status_files.remove(overtaken_key(drop.clip.key, newest))
            self._status_files.publish(newest, job if newest == job.id else None)
        return [job] if job.state in UNSENT else []

    def _refuse(self, drop: Drop, refused: Refuse) -> None:
        job = replace(_job_of(drop, State.REFUSED, refused.sidecar), refusal=refused.refusal)
        if self._create(drop, job, refused.replaces):
            logger.info("refused", job_id=job.id, key=job.key, reason=refused.refusal.reason)
            self._settlement.settle(job.id)

    def _create(self, drop: Drop, job: Job, replaces: Job | None) -> Job | None:
        accepted = job.state is State.CLAIMED
        before = self._records.own(drop, job.id, accepted=accepted, sidecar=job.sidecar)
        if before is None:
            overtaken = "overtaken by a newer drop, or accepted with other instructions"
            logger.info(overtaken, job_id=job.id, key=job.key)
            return None
        created = self._jobs.create(job, replaces=replaces)
        if before.newest_job and before.newest_job != job.id:
            former = self._jobs.get(before.newest_job)
            if former and not former.has_ended:
                self._status_files.publish(former.id)  # under its overtaken key from now on
        return created


def _job_of(drop: Drop, state: State, sidecar: Sidecar | None) -> Job:
    return Job(
        id=job_id(drop, sidecar),
        state=state,
        bucket=drop.bucket,
        key=drop.clip.key,
        drop_version=drop.version,
        clip=drop.clip,
        first_frame=drop.first_frame,
        sidecar=sidecar,
    )

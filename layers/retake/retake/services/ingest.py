"""From a dropped object to jobs that are ready, refusals, and files that visibly wait."""

from collections.abc import Callable

from ..aws.input_store import InputStore
from ..aws.messaging import DropQueue
from ..aws.s3 import InputBucket, UnreadableError
from ..domain import sidecar
from ..domain.input_files import (
    PRESET_NAME,
    FileKind,
    InputFile,
    deciding_sidecar,
    describe_missing,
    kind_of,
    preset_key,
    refuse_by_name,
)
from ..domain.intake import Candidate, Known, Prepare, Refuse, Start, Wait, decide
from ..domain.job import Job
from ..domain.limits import MAX_JSON_BYTES
from ..domain.refusal import Refusal
from ..observability import logger
from .claim import Candidates, Claims
from .waiting import WaitingFiles

MAX_LOOKS = 10  # at a clip whose files change while they are looked at
MAX_LINKED_CLIPS = 100  # that are asked whether they still name a first frame
PAGE_CLIPS = 500  # that one request lists
# That one message wakes clips; another one continues. Lambda stops a chain of messages that a
# function sends to its own queue after about 16, so a page per message would end at 8,000 objects.
WAKE_SECONDS = 30


class Ingest:
    """Looks at the bucket as it is now, so neither the order of events nor their number matters."""

    def __init__(
        self,
        *,
        bucket: InputBucket,
        records: InputStore,
        candidates: Candidates,
        claims: Claims,
        waiting: WaitingFiles,
        queue: DropQueue,
        clock: Callable[[], float],
    ) -> None:
        self._bucket, self._records, self._candidates = bucket, records, candidates
        self._claims, self._waiting, self._queue = claims, waiting, queue
        self._clock = clock

    def ingest(self, key: str, page: str | None = None) -> list[Job]:
        """Ingest the object that was dropped under a key.

        Parameters:
            key: the key in an event, as it is or URL-encoded.
            page: where to continue with the clips that a preset or a first frame wakes.

        Returns:
            The jobs that are ready to be submitted.
        """
        try:
            return self._ingest(key, page)
        except UnreadableError as error:
            self._refuse(error.file, error.refusal)
            return []

    def _ingest(self, key: str, page: str | None) -> list[Job]:
        file = self._bucket.find(key)
        if file is None:
            logger.info("the object is gone", key=key)
            self._waiting.gone(key)
            return []
        match kind_of(file.key):
            case FileKind.CLIP:
                return self._ingest_clip(file)
            case FileKind.SIDECAR:
                return self._ingest_sidecar(file)
            case FileKind.PRESET:
                self._ingest_preset(file, page)
            case FileKind.IMAGE:
                self._ingest_image(file, page)
            case FileKind.OTHER:
                self._refuse(file, refuse_by_name(file.key))
        return []

    def _ingest_clip(self, clip: InputFile, own: InputFile | None = None) -> list[Job]:
        """Ingest a clip; `own` is its sidecar, if that has just been looked up."""
        for _ in range(MAX_LOOKS):
            try:
                ready = self._apply(self._candidates.read(clip, own))
            except UnreadableError as error:  # of the clip, or of a file beside it
                self._refuse(clip, error.refusal)
                return []
            if ready is not None:
                return ready
            own = None  # it may have changed, too
        raise RuntimeError(f"the files of {clip.key} change too often; SQS delivers it again")

    def _apply(self, candidate: Candidate) -> list[Job] | None:
        """Do what is decided about a clip; return `None` when it must be looked at again."""
        for record in candidate.beside:
            self._waiting.joined(record)
        match decide(candidate):
            case Start() as start:
                return self._claims.start(candidate, start)
            case Known(job):
                return self._claims.answer_known(candidate, job)
            case Refuse(refusal):
                self._claims.refuse(candidate, refusal)
                return []
            case Wait() as wait:
                return self._wait(candidate, wait)
            case Prepare(made_of):
                self._waiting.prepare(candidate.record, made_of)
                return []

    def _wait(self, candidate: Candidate, wait: Wait) -> list[Job] | None:
        record = self._waiting.record(candidate.drop.clip.key, wait.message, wait.until)
        if not candidate.frame_key:
            # Recorded before this second look: of two files that arrive together, at least one
            # sees the other. A first frame is linked for the same reason.
            again = self._candidates.with_instructions(candidate.drop.clip, record)
            same_pair = again.drop.pair_version == candidate.drop.pair_version
            if not same_pair or again.sidecar != candidate.sidecar:
                return None
        if wait.until is None:
            self._waiting.show(record, at_once=True)
        else:
            before = candidate.record.follow_up
            scheduled = before is not None and before.at == wait.until
            self._waiting.show_until(record, wait.until, scheduled=scheduled)
        return []

    def _ingest_sidecar(self, file: InputFile) -> list[Job]:
        keys = self._bucket.siblings(file.key)
        clips = self._clips(keys)
        if clips:
            deciding = deciding_sidecar(keys)
            if deciding and deciding != file.key:
                reason = f"{deciding} exists as well, and is used instead"
                self._refuse(file, Refusal(reason, "keep one of the two"))
                return []
            return [job for clip in clips for job in self._ingest_clip(clip, file)]
        parsed = sidecar.parse(self._bucket.read(file, 0, MAX_JSON_BYTES + 1))
        if isinstance(parsed, Refusal):
            self._refuse(file, parsed)
            return []
        self._wait_alone(file, FileKind.SIDECAR)
        late = self._clips(self._bucket.siblings(file.key))  # one may have arrived meanwhile
        return [job for clip in late for job in self._ingest_clip(clip)]

    def _clips(self, keys: list[str]) -> list[InputFile]:
        found = (self._bucket.head(key) for key in keys if kind_of(key) is FileKind.CLIP)
        return [clip for clip in found if clip]

    def _ingest_preset(self, file: InputFile, page: str | None) -> None:
        """Wake the clips of the folder that wait.

        Those that have a job are left alone, so a preset alone pays for nothing.
        """
        if file.key != preset_key(file.key):
            reason = f"a preset must be named {PRESET_NAME}, in lower case"
            self._refuse(file, Refusal(reason, f"rename it to {PRESET_NAME} and drop it again"))
            return
        preset = self._candidates.preset_for(file.key)
        if preset is None:
            return
        if isinstance(preset.fields, Refusal):
            self._refuse(preset.file, preset.fields)
            return
        self._waiting.joined(self._records.get(file.key))
        stop_at = self._clock() + WAKE_SECONDS
        while True:
            clips, page = self._bucket.clips_beside(file.key, page, PAGE_CLIPS)
            for clip in clips:
                if self._records.get(clip).waiting:
                    self._queue.send_drop(self._bucket.name, clip)
            if page is None:
                return
            if self._clock() >= stop_at:
                self._queue.send_drop(self._bucket.name, file.key, page=page)
                return

    def _ingest_image(self, file: InputFile, page: str | None) -> None:
        """Wake the clips that name an image as their first frame."""
        linked = self._records.clips_of_first_frame(file.key)
        clips = [key for key in linked if key > (page or "")]
        named = page or any(self._names(key, file.key) for key in clips[:MAX_LINKED_CLIPS])
        if not named:
            self._wait_alone(file, FileKind.IMAGE)
        stop_at = self._clock() + WAKE_SECONDS
        for number, clip in enumerate(clips, 1):
            self._queue.send_drop(self._bucket.name, clip)
            if number < len(clips) and self._clock() >= stop_at:
                self._queue.send_drop(self._bucket.name, file.key, page=clip)
                return

    def _names(self, clip_key: str, frame_key: str) -> bool:
        """Tell whether a clip still names a first frame, as it once did."""
        clip = self._bucket.head(clip_key)
        return bool(clip and self._candidates.with_instructions(clip).frame_key == frame_key)

    def _wait_alone(self, file: InputFile, kind: FileKind) -> None:
        record = self._waiting.record(file.key, describe_missing(kind, file.key))
        self._waiting.show(record, at_once=False)

    def _refuse(self, file: InputFile, refusal: Refusal) -> None:
        self._claims.refuse(self._candidates.refused(file, refusal), refusal)

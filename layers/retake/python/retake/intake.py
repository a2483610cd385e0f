"""From a dropped object to a claimed job: pair, check, claim; or a plain refusal, or a file that visibly waits."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from .adapters.jobs import JobsTable, Row
from .adapters.messages import DropQueue
from .adapters.storage import BlockReader, InputBucket
from .answers import Answers
from .observability import logger
from .rules import clip, drop, frame, preset, sidecar
from .rules.clip import Clip
from .rules.drop import Drop, File, Kind, side_key
from .rules.form import MAX_BYTES
from .rules.preset import Preset, Waits
from .rules.refusal import Refusal
from .rules.sidecar import Sidecar
from .rules.states import ENDED, READY, RETRIED_BY_A_NEWER_DROP, State
from .settlement import Settlement

GRACE = 180  # seconds that a lone sidecar or image may stay unanswered; a lone clip is answered at once
NAMING = 100  # clips that once named an image, and are asked whether they still do
PAGE = 500  # clips, at most, that one message wakes when a preset or a first frame is dropped; another message goes on


class Intake:
    """Looks at the bucket as it is now, so neither the order of events nor their number matters."""

    def __init__(
        self,
        bucket: InputBucket,
        jobs: JobsTable,
        answers: Answers,
        settlement: Settlement,
        queue: DropQueue,
        max_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._bucket, self._jobs, self._answers, self._settlement = bucket, jobs, answers, settlement
        self._queue, self._max_seconds, self._clock = queue, max_seconds, clock

    def take(self, key: str, page: str | None = None) -> list[str]:
        """Take what was dropped under `key`; gives the ids of the jobs that are fit to go. `page` says where waking goes on."""
        file = self._bucket.find(key)
        if file is None:
            self._gone(key)
            return []
        match drop.kind(file.key):
            case Kind.VIDEO:
                return self._video(file)
            case Kind.SIDECAR:
                return self._sidecar(file)
            case Kind.PRESET:
                self._preset(file, page)
            case Kind.IMAGE:
                self._image(file, page)
            case Kind.OTHER:
                self._refuse(Drop(self._bucket.name, file), None, drop.refuse_by_name(file.key))
        return []

    def _gone(self, key: str) -> None:
        """What was dropped is not there any more: if it waited, it waits no longer."""
        logger.info("nothing there any more", key=key)
        place = self._jobs.place(self._bucket.name, key)
        if "newest" in place:
            self._jobs.told(place)
        elif place:
            self._answers.forget(key)
            self._jobs.paired(self._bucket.name, key)

    def _sidecar(self, file: File) -> list[str]:
        keys = self._bucket.siblings(file.key)
        if videos := self._videos(keys):
            if (deciding := _sidecar_among(keys) or file.key) != file.key:
                spelled = Refusal(f"{deciding} is there as well, and decides", "keep one of the two")
                self._refuse(Drop(self._bucket.name, file), None, spelled)
                return []
            return [job for video in videos for job in self._video(video, file)]
        note = sidecar.parse(self._bucket.read(file, 0, MAX_BYTES + 1))
        if isinstance(note, Refusal):
            self._refuse(Drop(self._bucket.name, file), None, note)
            return []
        self._wait(file, drop.missing(Kind.SIDECAR, file.key), at_once=False)
        return [job for video in self._videos(self._bucket.siblings(file.key)) for job in self._video(video)]

    def _videos(self, keys: list[str]) -> list[File]:
        return [video for key in keys if drop.kind(key) is Kind.VIDEO and (video := self._bucket.head(key))]

    def _preset(self, file: File, page: str | None) -> None:
        """Wake the clips of the folder that wait; those that have a job are left alone, so a preset alone pays for nothing."""
        if file.key != preset.key_for(file.key):
            spelled = Refusal(f"a preset is named {preset.NAME}, in lower case", f"name it {preset.NAME} and drop it again")
            self._refuse(Drop(self._bucket.name, file), None, spelled)
            return
        found = self._preset_for(file.key)
        if found is None:
            return
        if isinstance(found.states, Refusal):
            self._refuse(Drop(self._bucket.name, found.file), None, found.states)
            return
        self._join(file)
        clips, following = self._bucket.clips_beside(file.key, page, PAGE)
        self._queue.look_at(self._bucket.name, *(key for key in clips if "waits" in self._jobs.place(self._bucket.name, key)))
        if following:
            self._queue.look_at(self._bucket.name, file.key, page=following)

    def _image(self, file: File, page: str | None) -> None:
        clips = [key for key in self._jobs.clips_of_frame(self._bucket.name, file.key) if key > (page or "")]
        if not page and not any(self._names(video_key, file.key) for video_key in clips[:NAMING]):
            self._wait(file, drop.missing(Kind.IMAGE, file.key), at_once=False)
        self._queue.look_at(self._bucket.name, *clips[:PAGE])
        if clips[PAGE:]:
            self._queue.look_at(self._bucket.name, file.key, page=clips[PAGE - 1])

    def _names(self, video_key: str, frame_key: str) -> bool:
        """Tell whether a clip's note still names a first frame, as it once did."""
        video = self._bucket.head(video_key)
        note = video and self._note(Drop(self._bucket.name, video, self._sidecar_of(video_key)), self._place(video))
        return isinstance(note, Sidecar) and drop.beside(video_key, note.first_frame or "") == frame_key

    def _video(self, file: File, note_file: File | None = None) -> list[str]:
        place = self._place(file)
        dropped = Drop(self._bucket.name, file, note_file or self._sidecar_of(file.key))
        if dropped.sidecar:
            self._join(dropped.sidecar)
        note = self._note(dropped, place)
        if isinstance(note, Waits):
            return self._hold_back(dropped, note, place)
        if isinstance(note, Refusal):
            self._refuse(dropped, None, note)
            return []
        if note.first_frame:
            frame_key = drop.beside(file.key, note.first_frame)
            if len(frame_key.encode()) > drop.KEY_BYTES:
                too_long = Refusal("the key of the first frame is longer than S3 allows", "give it a shorter name", "first_frame")
                self._refuse(dropped, note, too_long)
                return []
            self._jobs.names_frame(self._bucket.name, frame_key, file.key)
            frame_file = self._bucket.head(frame_key)
            if frame_file is None:
                taken = self._jobs.job(place["newest"]) if dropped.was(place.get("own", "")) else None
                if taken:  # with the image that is gone by now
                    return self._seen_before(dropped, note, taken, place)
                self._wait(file, drop.missing(Kind.VIDEO, file.key, frame_key), at_once=True)
                return []
            self._join(frame_file)
            dropped = replace(dropped, frame=frame_file)
        return self._claim(dropped, note, place)

    def _note(self, dropped: Drop, place: Row) -> Sidecar | Refusal | Waits:
        """Find what a clip starts with; files that were taken with a note keep it, whatever the preset says now."""
        if dropped.was(place.get("own", "")):
            return _taken_with(place)
        own = sidecar.FORM.read(self._bucket.read(dropped.sidecar, 0, MAX_BYTES + 1)) if dropped.sidecar else None
        if isinstance(own, Refusal):
            return own
        since = datetime.fromisoformat(place["since"]).timestamp() if "since" in place else self._clock()
        return preset.decide(dropped.video, own, self._preset_for(dropped.video.key), since, self._clock())

    def _hold_back(self, dropped: Drop, waits: Waits, place: Row) -> list[str]:
        """Let a clip wait for its sidecar, or for its folder's preset to be corrected."""
        video, starts = dropped.video, waits.until
        due = starts or self._clock() + GRACE
        waiting = self._jobs.waiting(self._bucket.name, video.key, waits.why, due, firm=starts is not None)
        # Written down before the second look: of two files that arrive together, or two looks at one, at least one sees the other.
        again = Drop(self._bucket.name, video, self._sidecar_of(video.key))
        if again.own != dropped.own or self._note(again, waiting) != waits:
            return self._video(video)
        if not starts:
            self._tell_waiting(waiting)
            return []
        self._answers.tell_waiting(waiting)
        if starts != place.get("at"):  # else a message is on its way; `sweep` looks, too, if that is lost
            self._queue.look_at(self._bucket.name, video.key, delay=max(1, starts - int(self._clock())))
        return []

    def _preset_for(self, key: str) -> Preset | None:
        found = self._bucket.open(preset.key_for(key), MAX_BYTES + 1)
        return Preset(found[0], preset.parse(found[1])) if found else None

    def _place(self, file: File) -> Row:
        return self._jobs.place(self._bucket.name, file.key)

    def _sidecar_of(self, video_key: str) -> File | None:
        key = _sidecar_among(self._bucket.siblings(video_key))
        return self._bucket.head(key) if key else None

    def _claim(self, dropped: Drop, note: Sidecar, place: Row) -> list[str]:
        job_id = drop.job_id(dropped, note)
        existing = self._jobs.job(job_id)
        if existing and not _starts_again(existing, dropped):
            return self._seen_before(dropped, note, existing, place)
        checked = self._check(dropped)
        if isinstance(checked, Refusal):
            self._refuse(dropped, note, checked)
            return []
        fields = {name: value for name, value in vars(note).items() if value is not None}
        if self._add(dropped, note, existing, {"id": job_id, "state": State.CLAIMED, "seconds": round(checked.seconds, 3)} | fields):
            return [job_id]
        taken = self._place(dropped.video)
        if taken.get("own") == dropped.own and _taken_with(taken) != note:  # somebody was faster, and saw another preset
            return self._video(dropped.video)
        return []

    def _check(self, dropped: Drop) -> Clip | Refusal:
        if dropped.frame:
            head = self._bucket.read(dropped.frame, 0, frame.HEAD_BYTES)
            if refusal := frame.check(head, dropped.frame.size):
                return refusal
        return clip.check(BlockReader(self._bucket, dropped.video).read_at, dropped.video.size, self._max_seconds)

    def _refuse(self, dropped: Drop, note: Sidecar | None, refusal: Refusal) -> None:
        job_id = drop.job_id(dropped, note)
        existing = self._jobs.job(job_id)
        if existing and not _starts_again(existing, dropped):
            self._seen_before(dropped, note, existing, {})
            return
        if self._add(dropped, note, existing, {"id": job_id, "state": State.REFUSED} | vars(refusal)):
            logger.info("refused", job_id=job_id, key=dropped.video.key, reason=refusal.reason)
            self._settlement.settle(job_id)

    def _add(self, dropped: Drop, note: Sidecar | None, existing: Row | None, fields: dict[str, object]) -> Row | None:
        video, job_id = dropped.video, str(fields["id"])
        accepted = fields["state"] == State.CLAIMED
        before = self._jobs.take_place(dropped, job_id, accepted, note)
        if before is None:
            logger.info("overtaken by a newer drop, or taken with another note", job_id=job_id, key=video.key)
            return None
        overtakes = before.get("newest", job_id)
        files = {name: file.as_row() for name, file in (("video", video), ("frame", dropped.frame)) if file}
        about = {"bucket": dropped.bucket, "key": video.key, "versions": dropped.versions}
        row = self._jobs.add(fields | about | files, existing)
        if row and accepted:
            self._answers.tell(job_id)
        if overtakes != job_id and (former := self._jobs.job(overtakes)) and State(former["state"]) not in ENDED:
            self._answers.tell(overtakes)  # under its side key from now on
        return row

    def _seen_before(self, dropped: Drop, note: Sidecar | None, job: Row, place: Row) -> list[str]:
        """Answer content that has its job already: nothing is paid, but a name that a refusal took comes back to it.

        `place` was read before the job; it will do if it was this job's already, taken with these very files.
        """
        if (place.get("own"), place.get("newest")) != (dropped.own, job["id"]):
            place = self._place(dropped.video)
        owner = self._jobs.job(str(place.get("accepted", job["id"])))
        own = owner is None or owner["id"] == job["id"] or State(owner["state"]) in RETRIED_BY_A_NEWER_DROP
        accepted = own and State(job["state"]) not in RETRIED_BY_A_NEWER_DROP
        newest = str(job["id"] if accepted else place.get("newest", job["id"]))
        if newest != place.get("newest") or "waits" in place or (note and not dropped.was(place.get("own", ""))):
            self._jobs.take_place(dropped, newest, accepted, note)
        self._answers.forget(side_key(dropped.video.key, newest))  # it may have been told there while a refusal had its name
        self._answers.tell(newest)
        return [job["id"]] if State(job["state"]) in READY else []

    def _join(self, file: File) -> None:
        """A sidecar or first frame has found its clip: it waits no longer."""
        if self._jobs.place(self._bucket.name, file.key):
            self._answers.forget(file.key)
            self._jobs.paired(self._bucket.name, file.key)

    def _wait(self, file: File, waits: str, at_once: bool) -> None:
        self._tell_waiting(self._jobs.waiting(self._bucket.name, file.key, waits, due=self._clock() + GRACE), at_once)

    def _tell_waiting(self, place: Row, at_once: bool = True) -> None:
        overdue = datetime.fromisoformat(place["since"]).timestamp() + GRACE <= self._clock()
        if at_once or overdue:
            self._answers.tell_waiting(place)
        if overdue:
            self._jobs.told(place)


def _starts_again(job: Row, dropped: Drop) -> bool:
    newer = set(dropped.versions.split()) - set(job["versions"].split())  # a file that is gone by now makes no drop newer
    return State(job["state"]) in RETRIED_BY_A_NEWER_DROP and bool(newer)


def _taken_with(place: Row) -> Sidecar:
    return sidecar.note(json.loads(place["note"]))


def _sidecar_among(keys: list[str]) -> str | None:
    """Of several spellings (`.json`, `.JSON`) one decides."""
    return max((key for key in keys if drop.kind(key) is Kind.SIDECAR), default=None)

"""Makes the deliverable of a render: the clip's sound, length and shape, and the mark of AI."""

from pathlib import Path
from typing import Any, Protocol

from ..aws.job_store import JobStore
from ..aws.s3 import StagingBucket, UploadBrokenError
from ..domain.footage import Footage
from ..domain.input_files import staged_render_key
from ..domain.job import Job, State
from ..domain.refusal import Refusal
from ..domain.wait_loop import FIRST_RETRY_SECONDS, LOST_RACE_SECONDS, NextStep, WaitLoop
from ..observability import logger
from .deliver import Deliveries
from .status_files import StatusFiles
from .workspace import workspace


class FilmMedia(Protocol):
    """Works on video files; `retake_media.tools` does, with FFmpeg's libraries."""

    def finish(
        self, render: Path, sound: Path | None, target: Path, *, footage: Footage, prompt: str
    ) -> tuple[str, ...] | Refusal:
        """Make the deliverable.

        Parameters:
            render: the file as rendered.
            sound: the sound of the clip; `None` for a silent film.
            target: the file to write.
            footage: what the clip is.
            prompt: the instruction that the model got.

        Returns:
            What a person should know about the film; or why it cannot be finished, and then
            nothing is written.
        """


class Finisher:
    """Finishes films on disk; finishing twice is harmless."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        status_files: StatusFiles,
        staging: StagingBucket,
        deliveries: Deliveries,
        media: FilmMedia,
    ) -> None:
        self._jobs, self._status_files, self._staging = jobs, status_files, staging
        self._deliveries, self._media = deliveries, media

    def finish(self, loop: WaitLoop) -> WaitLoop:
        """Finish the film of a wait loop's job and deliver it.

        Returns:
            The loop's next state: SETTLE when the film is delivered, WAIT when it could not be
            uploaded this time.
        """
        job = self._jobs.get(loop.job_id)
        if job is None or job.state is not State.FINISHING:
            return loop.going_to(NextStep.SETTLE)
        # Counted before it begins: an attempt that dies must not be repeated forever. Not counted
        # by fetch, because this function may be throttled.
        job = self._jobs.update(job, finish_attempts=job.finish_attempts + 1, reason=None)
        if job is None:
            return loop.waiting(LOST_RACE_SECONDS)
        self._status_files.publish(job.id, job)
        try:
            delivered = self._make(job)
        except UploadBrokenError as error:
            # The film is not to blame, so this attempt does not count.
            reason = f"the film could not be uploaded yet: {error}"
            attempts = job.finish_attempts - 1
            self._jobs.update(job, finish_attempts=attempts, reason=reason)
            return loop.waiting(FIRST_RETRY_SECONDS)
        return loop.going_to(NextStep.SETTLE) if delivered else loop.waiting(LOST_RACE_SECONDS)

    def refinish(self, job_id: str) -> dict[str, Any]:
        """Make the film of a delivered job again, without Segmind.

        Returns:
            `result` and `warnings` of the film, or `error` in plain words.
        """
        job = self._jobs.get(job_id)
        if job is None or job.state is not State.DELIVERED:
            return {"error": f"job {job_id} is not delivered, so there is no film to make again"}
        if not self._staging.etag(staged_render_key(job_id)):
            return {"error": f"the render of job {job_id} is no longer in the staging bucket"}
        made = self._make(job)
        if made is None:
            return {"error": f"job {job_id} was changed meanwhile; try again"}
        self._status_files.publish(job_id, made)
        return {"result": made.result, "warnings": list(made.warnings)}

    def _make(self, job: Job) -> Job | None:
        assert job.sidecar and job.prepared and job.prepared.footage  # noqa: S101, PT018 - it was sent
        with workspace() as folder:
            render, film = folder / "render.mp4", folder / "film.mp4"
            self._staging.download(staged_render_key(job.id), render)
            outcome = self._media.finish(
                render,
                self._sound(job.prepared.sound, folder) if job.sidecar.sound == "keep" else None,
                film,
                footage=job.prepared.footage,
                prompt=job.sidecar.prompt or "",
            )
            if isinstance(outcome, Refusal):
                logger.error("not finished", job_id=job.id, reason=outcome.reason)
                outcome = (f"delivered as rendered, because {outcome.reason}",)
                film = render
            return self._deliveries.deliver(
                job, lambda: film.open("rb"), film.stat().st_size, outcome
            )

    def _sound(self, key: str, folder: Path) -> Path | None:
        if not key:
            return None
        sound = folder / "sound.m4a"
        self._staging.download(key, sound)
        return sound

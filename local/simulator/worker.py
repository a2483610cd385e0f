"""Take accepted requests from QUEUED to their end."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from .jobs import Job
from .render import RenderError, check, render
from .state import State


class Worker:
    """Renders requests in the background, one per CPU at a time.

    Parameters:
        state: the simulator's state.
        folder: an existing folder for the rendered files.
    """

    def __init__(self, state: State, folder: Path) -> None:
        self._state = state
        self._folder = folder
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, job: Job) -> None:
        """Start to work on a request."""
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel all work, wait until no ffmpeg runs, and remove the files."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for path in self._folder.glob("*.mp4"):
            path.unlink(missing_ok=True)

    def file_of(self, job: Job) -> Path:
        """Return the path of a request's file."""
        return self._folder / job.file_name

    async def _run(self, job: Job) -> None:
        """Take a request to its end, no faster than its settings allow."""
        settings = self._state.settings_of(job)
        await asyncio.sleep(settings.queue_seconds)
        job.start()
        try:
            check(job.body)
            if not settings.fail:
                async with self._slots:
                    target = self.file_of(job)
                    picture = await render(job.body, target, settings.drift_frames)
                usd = settings.price * picture.units(settings.billing)
                self._state.charge(job, round(usd, 4))
            await asyncio.sleep(job.started + settings.render_seconds - time.time())
            if settings.fail:
                raise RenderError(settings.fail)
            job.complete()
        except RenderError as error:
            job.fail(str(error))
            self._state.refund(job)

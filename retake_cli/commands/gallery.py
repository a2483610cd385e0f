"""`retake gallery` makes a page that shows clips before and after."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from retake.aws.dynamodb import error_code
from retake.domain import status_file
from retake.domain.job import Job, State

from .. import jobs
from ..console import count, now
from ..page.links import Beside, Link, ObjectVersion, Signed
from ..page.render import render, write
from ..page.takes import Take, Video
from ..session import Session

__all__ = ["Beside", "Signed", "Take", "Video", "collect", "gallery", "render", "write"]

PARALLEL_DOWNLOADS = 4
# 405: the version is a delete marker.
_NOT_FOUND = frozenset({"404", "NoSuchKey", "NoSuchVersion", "405", "MethodNotAllowed"})

# Passes the takes on as they are fetched, such as a progress bar; it gets their number, too.
Track = Callable[[Iterable[Take], int], Iterable[Take]]


def gallery(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the page and its videos.")
    ] = Path("gallery"),
    signed: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=168,
            metavar="HOURS",
            help="Link to the videos in the buckets, for so many hours, instead of copying them.",
        ),
    ] = None,
) -> None:
    """Make a page that shows clips before and after, to open from disk."""
    session: Session = context.obj
    stack, screen, made_at = session.stack, session.screen, now()
    lifetime = timedelta(hours=signed) if signed else None
    link = Signed(stack.s3, lifetime) if lifetime else Beside(stack.s3, out)
    links_end = made_at + lifetime if lifetime else None
    progress = Progress(
        TextColumn("fetching"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen.err,
        transient=True,
        disable=screen.as_json,
    )
    found = jobs.jobs_of(jobs.read_all(stack.table, screen.counting))
    with progress:
        takes = collect(found, stack.s3, link, progress.track)
    page = write(render(takes, "Retake", made_at, links_end), out)
    text = f"{count(len(takes), 'take')}; open {page} in a browser"
    screen.show({"page": str(page), "takes": len(takes)}, Text(text))


def collect(
    found: Sequence[Job], s3: Any, link: Link, track: Track = lambda takes, _: takes
) -> list[Take]:
    """Make the videos of jobs reachable, and return their takes, newest first.

    Parameters:
        found: the jobs.
        s3: an S3 client that may read both buckets.
        link: `Beside` or `Signed`.
        track: sees the takes pass as they are fetched.
    """
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        takes = list(track(pool.map(lambda job: _take(job, s3, link), found), len(found)))
    return sorted(takes, key=lambda take: (str(take.at), take.clip), reverse=True)


def _take(job: Job, s3: Any, link: Link) -> Take:
    status = status_file.of_job(job)
    take = Take(
        job=job.id,
        clip=job.key,
        state=job.state,
        message=_message(status),
        do_now=status.get("do_now"),
        mode=status.get("mode"),
        prompt=status.get("prompt"),
        rerun=status.get("rerun"),
        at=job.began,
        took=jobs.took_seconds(job) if job.has_ended else None,
        length=job.footage.seconds if job.footage else None,
        cost_usd=job.cost_usd,
    )
    clip, result = _find_clip(s3, job), _find_result(s3, job)
    if job.state is State.DELIVERED and not result:
        take = replace(take, message="The result is no longer in the output bucket.")
    return replace(
        take,
        before=link(f"{job.id}.before", clip, take.moment) if clip else None,
        after=link(f"{job.id}.after", result, take.moment) if result else None,
    )


def _message(status: Mapping[str, Any]) -> str:
    sentences = [status.get("message"), status.get("reason") or status.get("held")]
    return " ".join(text[:1].upper() + text[1:] for text in sentences if text)


def _find_clip(s3: Any, job: Job) -> ObjectVersion | None:
    """Find the version of the clip that a job is about.

    A clip that was not checked, and has no duration, may be anything: it is left out.
    """
    if job.footage is None:
        return None
    found = {"Bucket": job.bucket, "Key": job.key} | _version(job.clip.version)
    return found if _head(s3, found) else None


def _find_result(s3: Any, job: Job) -> ObjectVersion | None:
    """Find the version of the result that a job wrote; a newer take may have the name by now."""
    bucket, _, key = (job.result or "").removeprefix("s3://").partition("/")
    name = {"Bucket": bucket, "Key": key}
    for version in _versions(s3, name) if key else ():
        head = _head(s3, name | version)
        if head and head["Metadata"].get("job-id") == job.id:
            return name | _version(head.get("VersionId"))
    return None


def _versions(s3: Any, name: ObjectVersion) -> Iterator[ObjectVersion]:
    yield {}  # the newest one, which it almost always is
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=name["Bucket"], Prefix=name["Key"]
    )
    for page in pages:
        for found in page.get("Versions", ()):
            if found["Key"] == name["Key"]:
                yield _version(found["VersionId"])


def _version(version: str | None) -> ObjectVersion:
    return {"VersionId": version} if version else {}


def _head(s3: Any, found: ObjectVersion) -> dict[str, Any] | None:
    try:
        return dict(s3.head_object(**found))
    except ClientError as error:
        if error_code(error) in _NOT_FOUND:
            return None
        raise

"""The gallery: one page of before and after, from the jobs table and the two buckets; no server, and nothing asked of anyone else."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from botocore.exceptions import ClientError
from markupsafe import Markup

from retake.adapters.storage import error_code
from retake.rules import answer
from retake.rules.states import ENDED, PAID, State

from . import jobs

PAGE = Path(__file__).with_name("page")
AT_ONCE = 4
_LINK = re.compile(r"(https?://[\w.:-]+/|[\w.~%-]+(/|$))[!#$%&()*+,./:;=?@\w~-]*", re.ASCII)  # an address, or a path from the page


@dataclass(frozen=True)
class Film:
    """A video and the picture that stands for it: addresses, or paths from the page; without `poster` the browser takes one from it."""

    src: str
    poster: str | None = None


@dataclass(frozen=True)
class Take:
    """All that the page shows about one job; `at` is when it was taken in, `took` and `length` are in seconds."""

    job: str
    clip: str
    state: State
    message: str
    do_now: str | None = None
    mode: str | None = None
    prompt: str | None = None
    rerun: float | None = None
    at: datetime | None = None
    took: float | None = None
    length: float | None = None
    cost_usd: float | None = None
    before: Film | None = None
    after: Film | None = None

    @property
    def tone(self) -> str:
        """How its state is to look."""
        if self.state in ENDED:
            return "good" if self.state is State.DELIVERED else "bad"
        return "held" if self.state in (State.HELD, State.SUBMIT_UNKNOWN) else "busy"

    @property
    def unpaid(self) -> bool:
        return self.state in ENDED - PAID

    @property
    def moment(self) -> float:
        """The second that stands for the whole clip: not its first, which is often black."""
        return round((self.length or 0) / 3, 2)


Object = dict[str, str]  # one version of an object, as S3's operations name it
Link = Callable[[str, Object, float], Film]  # makes a video reachable: a name for it, where it is, the moment of its picture
Follow = Callable[[Iterable[Take], int], Iterable[Take]]  # sees the takes pass as they are fetched, and their number


class Beside:
    """Downloads the videos beside the page, once, and draws a picture of each if there is an ffmpeg."""

    def __init__(self, s3: Any, folder: Path) -> None:
        self._s3, self._media = s3, folder / "media"
        self._media.mkdir(parents=True, exist_ok=True)
        try:
            import imageio_ffmpeg  # for development only
        except ImportError:
            self._ffmpeg = shutil.which("ffmpeg")
        else:
            self._ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()

    def __call__(self, name: str, found: Object, moment: float) -> Film:
        film, poster, part = (self._media / f"{name}.{end}" for end in ("mp4", "jpg", "part"))
        if not film.exists():  # the name holds the job, and a job is its content
            version = {name: value for name, value in found.items() if name == "VersionId"}
            self._s3.download_file(found["Bucket"], found["Key"], str(part), ExtraArgs=version)
            part.replace(film)
        if self._ffmpeg and not poster.exists():
            command = [self._ffmpeg, "-v", "error", "-protocol_whitelist", "file", "-f", "mov", "-ss", str(moment), "-i", str(film)]
            command += ["-frames:v", "1", "-vf", "scale='min(960,iw)':-2", "-q:v", "4", str(poster)]
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
        return Film(f"media/{film.name}", f"media/{poster.name}" if poster.exists() else None)


class Signed:
    """Links to the videos where they are, as long as the signatures live (`s3` shall sign with s3v4); the page then stands alone."""

    def __init__(self, s3: Any, life: timedelta) -> None:
        self._s3, self._seconds = s3, int(life.total_seconds())

    def __call__(self, name: str, found: Object, moment: float) -> Film:
        asked = found | {"ResponseContentType": "video/mp4"}
        return Film(self._s3.generate_presigned_url("get_object", Params=asked, ExpiresIn=self._seconds))


def collect(table: Any, s3: Any, link: Link, follow: Follow = lambda takes, _: takes) -> list[Take]:
    """Read all jobs, newest first.

    Parameters: `table`, a boto3 Table; `s3`, a client that may read both buckets; `link`, `Beside` or `Signed`; `follow`, a progress bar.
    """
    rows = [row for row in jobs.everything(table) if row["sk"] == "job"]
    with ThreadPoolExecutor(AT_ONCE) as workers:
        takes = list(follow(workers.map(lambda row: _take(row, s3, link), rows), len(rows)))
    return sorted(takes, key=lambda take: (str(take.at), take.clip), reverse=True)


def _take(row: Mapping[str, Any], s3: Any, link: Link) -> Take:
    told, state = answer.of_job(dict(row)), State(row["state"])
    times = {name: datetime.fromisoformat(at) for name, at in row["times"].items()}
    began, ended = min(times.values()), times[state] if state in ENDED else None
    about: dict[str, Any] = {name: told[name] for name in ("do_now", "mode", "prompt") if name in told}
    about |= {to: float(row[name]) for name, to in (("seconds", "length"), ("cost_usd", "cost_usd"), ("rerun", "rerun")) if name in row}
    about |= {"at": began, "took": (ended - began).total_seconds() if ended else None}
    words = [told.get("message"), told.get("reason") or told.get("held")]
    message = " ".join(text[:1].upper() + text[1:] for text in words if text)
    take = Take(row["id"], row["key"], state, message, **about)
    clip, result = _clip(s3, row), _result(s3, row)
    if state is State.DELIVERED and not result:
        take = replace(take, message="The result is no longer in the output bucket.")
    before = link(f"{take.job}.before", clip, take.moment) if clip else None
    return replace(take, before=before, after=link(f"{take.job}.after", result, take.moment) if result else None)


def _clip(s3: Any, row: Mapping[str, Any]) -> Object | None:
    """Find the version of the clip that this job is about; what was not checked (it has no length) may be anything."""
    found = {"Bucket": row["bucket"], "Key": row["key"]} | _version(row["video"].get("version"))
    return found if "seconds" in row and _head(s3, found) else None


def _result(s3: Any, row: Mapping[str, Any]) -> Object | None:
    """Find the version of the result that this very job wrote: a newer take may have the name by now."""
    bucket, _, key = row.get("result", "").removeprefix("s3://").partition("/")
    name = {"Bucket": bucket, "Key": key}
    for version in _versions(s3, name) if key else ():
        if (found := _head(s3, name | version)) and found["Metadata"].get("job-id") == row["id"]:
            return name | _version(found.get("VersionId"))
    return None


def _versions(s3: Any, name: Object) -> Iterator[Object]:
    yield {}
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name["Bucket"], Prefix=name["Key"]):
        yield from (_version(found["VersionId"]) for found in page.get("Versions", ()) if found["Key"] == name["Key"])


def _version(version: str | None) -> Object:
    return {"VersionId": version} if version else {}


def _head(s3: Any, found: Object) -> dict[str, Any] | None:
    try:
        return dict(s3.head_object(**found))
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchKey", "NoSuchVersion", "405", "MethodNotAllowed"):  # 405: a delete marker
            return None
        raise


def render(takes: Sequence[Take], title: str, made_at: datetime, links_end: datetime | None = None) -> str:
    """Make the page: every text stays text, and it may load nothing but its own videos. `links_end`: when signed links stop working."""
    style, script = ((PAGE / name).read_text("utf-8") for name in ("gallery.css", "gallery.js"))
    takes = [replace(take, before=_safe(take.before), after=_safe(take.after)) for take in takes]
    links = [urlsplit(link) for take in takes for film in (take.before, take.after) if film for link in (film.src, film.poster) if link]
    sources = {f"{link.scheme}://{link.netloc}" if link.scheme else "'self' file:" for link in links} or {"'none'"}
    policy = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    policy |= dict.fromkeys(("img-src", "media-src"), " ".join(sorted(sources)))
    policy |= {"style-src": _hash(style), "script-src": _hash(script)}
    loader = jinja2.FileSystemLoader(PAGE)
    jinja = jinja2.Environment(loader=loader, autoescape=True, finalize=_visible, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return jinja.get_template("gallery.html").render(
        {"takes": takes, "title": title, "made_at": made_at, "links_end": links_end},
        style=Markup(style),  # noqa: S704 # our own
        script=Markup(script),  # noqa: S704
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        states=Counter(take.state for take in takes),
        modes=Counter(take.mode for take in takes if take.mode),
        spent=sum(take.cost_usd or 0 for take in takes if not take.unpaid),
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _safe(film: Film | None) -> Film | None:
    """Take no address that could be a program, or mean something else in the page's policy."""
    if film is None or not _LINK.fullmatch(film.src):
        return None
    return film if film.poster is None or _LINK.fullmatch(film.poster) else Film(film.src)


def _visible(value: Any) -> Any:
    """Escape what could turn the direction of writing, or is no character at all; joiners belong to emoji and to scripts."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    kept = (sign if sign.isprintable() or sign in "\n\u200c\u200d" else " " if sign.isspace() else json.dumps(sign)[1:-1] for sign in value)
    return "".join(kept)


def write(page: str, folder: Path) -> Path:
    """Put the page into a folder, at once or not at all; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "index.html.part"
    part.write_text(page, "utf-8")
    return part.replace(folder / "index.html")

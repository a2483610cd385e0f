"""Renders the gallery's page. All text stays text, and the page loads only its own videos."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup

from retake.domain.status_file import printable

from .takes import Take, Video

FOLDER = Path(__file__).parent
# An HTTP(S) URL, or a path from the page.
_LINK = re.compile(r"(https?://[\w.:-]+/|[\w.~%-]+(/|$))[!#$%&()*+,./:;=?@\w~-]*", flags=re.ASCII)
_UNUSUAL_SPACE = re.compile(r"[^\S\n ]")
# Line breaks, and the joiners that emoji and some scripts need.
_NOT_KEPT = re.compile(r"[^\n\u200c\u200d]+")


def render(
    takes: Sequence[Take], title: str, made_at: datetime, links_end: datetime | None = None
) -> str:
    """Return the page.

    Parameters:
        takes: in the order of the page.
        title: the page's title.
        made_at: when the page is made.
        links_end: when signed links expire, if its videos are linked.
    """
    style, script = ((FOLDER / name).read_text("utf-8") for name in ("gallery.css", "gallery.js"))
    safe = [replace(take, before=_safe(take.before), after=_safe(take.after)) for take in takes]
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return jinja.get_template("gallery.html").render(
        {"takes": safe, "title": title, "made_at": made_at, "links_end": links_end},
        style=Markup(style),  # noqa: S704 - our own
        script=Markup(script),  # noqa: S704
        policy=_policy(safe, style, script),
        states=Counter(take.state for take in safe),
        modes=Counter(take.mode for take in safe if take.mode),
        spent=sum(take.cost_usd or 0 for take in safe if not take.unpaid),
    )


def write(page: str, folder: Path) -> Path:
    """Write the page into a folder, completely or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "index.html.part"
    part.write_text(page, "utf-8")
    return part.replace(folder / "index.html")


def _policy(takes: Iterable[Take], style: str, script: str) -> str:
    """Return the Content Security Policy."""
    videos = [video for take in takes for video in (take.before, take.after) if video]
    links = [urlsplit(link) for video in videos for link in (video.src, video.poster) if link]
    sources = {
        f"{link.scheme}://{link.netloc}" if link.scheme else "'self' file:" for link in links
    }
    media = " ".join(sorted(sources)) or "'none'"
    directives = {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "img-src": media,
        "media-src": media,
        "style-src": _hash(style),
        "script-src": _hash(script),
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _safe(video: Video | None) -> Video | None:
    """Drop a link that could be a program, or mean something else in the page's policy."""
    if video is None or not _LINK.fullmatch(video.src):
        return None
    if video.poster is None or _LINK.fullmatch(video.poster):
        return video
    return Video(video.src)


def _visible(value: Any) -> Any:
    """Escape what could turn the direction of writing, or is not a character."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    spaced = _UNUSUAL_SPACE.sub(" ", value)
    return _NOT_KEPT.sub(lambda found: printable(found[0]), spaced)

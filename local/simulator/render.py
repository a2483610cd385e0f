"""The rendering: fetch the clip, check it, and let ffmpeg turn it into something that shows its mode."""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg

MAX_BYTES = 100 * 1000 * 1000
MAX_SECONDS = 30.0
FFMPEG_SECONDS = 300.0  # then ffmpeg is killed and the request FAILED

# adhere keeps the scene and warms it, flex flattens it to posters, reimagine leaves nothing as it was.
EFFECTS = {
    "adhere_1": "colortemperature=temperature=4800,eq=saturation=1.2",
    "adhere_2": "colortemperature=temperature=3800,eq=saturation=1.3:contrast=1.1",
    "adhere_3": "colortemperature=temperature=2600,eq=saturation=1.4:contrast=1.2,vignette",
    "flex_1": "format=gbrp,lutrgb=r='trunc(val/64)*80':g='trunc(val/64)*80':b='trunc(val/64)*80',hue=h=40",
    "flex_2": "format=gbrp,lutrgb=r='trunc(val/86)*127':g='trunc(val/86)*127':b='trunc(val/86)*127',hue=h=80",
    "flex_3": "format=gbrp,lutrgb=r='trunc(val/128)*255':g='trunc(val/128)*255':b='trunc(val/128)*255',hue=h=140",
    "reimagine_1": "negate,hue=h=90",
    "reimagine_2": "format=gbrp,edgedetect=low=.05:high=.1,format=gbrp,negate,hue=h=60*t",
    "reimagine_3": "hflip,vflip,pixelize=w=12:h=12,negate,hue=h=200+120*t:s=3",
}
DEFAULT_MODE = "adhere_1"


class RenderError(Exception):
    """The request cannot be rendered; the text is what its FAILED answer says."""


def check(body: Mapping[str, Any]) -> None:
    """Raise RenderError when a request's fields cannot be used."""
    if not body.get("video_url"):
        raise RenderError("video_url: field required")
    for name in ("video_url", "first_frame_url"):
        url = body.get(name)
        if url and not (isinstance(url, str) and url.lower().startswith(("http://", "https://"))):
            raise RenderError(f"{name}: an http or https URL expected")
    if body.get("mode", DEFAULT_MODE) not in EFFECTS:
        raise RenderError(f"mode: must be one of {', '.join(EFFECTS)}")
    if not isinstance(body.get("prompt", ""), str):
        raise RenderError("prompt: text expected")


async def render(body: Mapping[str, Any], target: Path) -> None:
    """Render a checked request into the MP4 file `target`; RenderError says why that cannot be done."""
    clip, image = target.with_suffix(".input"), target.with_suffix(".image")
    try:
        await fetch("video_url", body["video_url"], clip)
        if body.get("first_frame_url"):
            await fetch("first_frame_url", body["first_frame_url"], image)
        width, seconds = await probe(clip)
        if seconds > MAX_SECONDS:
            raise RenderError(f"video_url: the video is {seconds:.1f} s long, at most {MAX_SECONDS:.0f} s are allowed")
        graph = f"[0:v:0]{EFFECTS[body.get('mode', DEFAULT_MODE)]},scale=trunc(iw/2)*2:trunc(ih/2)*2"
        inputs = ["-f", "mov", "-i", str(clip)]
        if image.exists():
            inputs += ["-i", str(image)]
            side = max(width // 3, 16) // 2 * 2
            graph += f"[styled];[1:v:0]scale={side}:-2,setsar=1[frame];[styled][frame]overlay=0:0"
        code, complaint = await ffmpeg(
            *("-loglevel", "error", "-threads", "2", *inputs, "-filter_complex", f"{graph},format=yuv420p[video]"),
            *("-map", "[video]", "-map", "0:a?", "-c:v", "libx264", "-preset", "veryfast", "-threads", "2"),
            *("-c:a", "aac", "-movflags", "+faststart", "-f", "mp4", "-y", str(target)),
        )
        if code:
            raise RenderError(f"the video could not be rendered: {complaint.strip()[-200:]}")
    finally:
        clip.unlink(missing_ok=True)
        image.unlink(missing_ok=True)


async def fetch(name: str, url: str, target: Path) -> None:
    """Download a request's input: its first bytes by a ranged GET to see what it is, then the whole, unredirected."""
    try:
        async with httpx.AsyncClient(timeout=30.0, trust_env=False, verify=tls()) as client:
            async with client.stream("GET", url, headers={"Range": "bytes=0-31"}) as response:
                _found(name, response)
                _recognised(name, await anext(response.aiter_bytes(32), b""))
            async with client.stream("GET", url) as response:
                _found(name, response)
                with target.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)
                        if file.tell() > MAX_BYTES:
                            raise RenderError(f"{name}: larger than {MAX_BYTES // 1000000} MB")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RenderError(f"{name}: could not be fetched ({type(error).__name__})") from error


def _found(name: str, response: httpx.Response) -> None:
    if response.status_code not in (200, 206):
        raise RenderError(f"{name}: could not be fetched (HTTP {response.status_code})")


def _recognised(name: str, start: bytes) -> None:
    if name == "video_url" and start[4:8] != b"ftyp":
        raise RenderError("video_url: not an MP4 file")
    is_image = start.startswith((b"\x89PNG", b"\xff\xd8\xff")) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
    if name == "first_frame_url" and not is_image:
        raise RenderError("first_frame_url: not a PNG, JPEG or WebP image")


async def probe(clip: Path) -> tuple[int, float]:
    """Return a clip's width in pixels and its length in seconds."""
    _, told = await ffmpeg("-f", "mov", "-i", str(clip))
    size = re.search(r"Stream #.*Video:.*, (\d+)x\d+[ ,]", told)
    length = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", told)
    if not size or not length:
        raise RenderError("video_url: no video stream can be read")
    hours, minutes, seconds = length.groups()
    return int(size[1]), int(hours) * 3600 + int(minutes) * 60 + float(seconds)


async def ffmpeg(*arguments: str) -> tuple[int, str]:
    """Run ffmpeg and return its exit code and what it told; it is killed when this is cancelled or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *(ffmpeg_path(), "-hide_banner", "-nostdin", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(FFMPEG_SECONDS):
            _, told = await process.communicate()
        return process.returncode or 0, told.decode(errors="replace")
    except TimeoutError as error:
        raise RenderError("rendering took too long") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@functools.cache
def tls() -> ssl.SSLContext:
    """Return the one TLS context of all downloads: making one takes longer than a local download."""
    return httpx.create_ssl_context()


@functools.cache
def ffmpeg_path() -> str:
    """Return the path of the ffmpeg binary that comes with imageio-ffmpeg."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())

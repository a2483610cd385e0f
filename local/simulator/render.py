"""Render a request: fetch the clip, check it, and restyle it with ffmpeg so that its mode shows.

As the model is documented, a result is silent and has 24 frames a second. What it does with input
that nothing promises to work is not documented: here, such input fails.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import httpx
import imageio_ffmpeg

MAX_BYTES = 100 * 1000 * 1000
MAX_SECONDS = 30.0
FRAME_RATE = 24
FETCH_TIMEOUT_SECONDS = 30.0
FFMPEG_TIMEOUT_SECONDS = 300.0
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff")
SIGNATURE_BYTES = 32

# adhere keeps the scene and warms it, flex flattens it into posters, reimagine changes everything.
EFFECTS = {
    "adhere_1": "colortemperature=temperature=4800,eq=saturation=1.2",
    "adhere_2": "colortemperature=temperature=3800,eq=saturation=1.3:contrast=1.1",
    "adhere_3": "colortemperature=temperature=2600,eq=saturation=1.4:contrast=1.2,vignette",
    "flex_1": "format=gbrp,lutrgb=r='trunc(val/64)*80':g='trunc(val/64)*80':b='trunc(val/64)*80'"
    ",hue=h=40",
    "flex_2": "format=gbrp,lutrgb=r='trunc(val/86)*127':g='trunc(val/86)*127'"
    ":b='trunc(val/86)*127',hue=h=80",
    "flex_3": "format=gbrp,lutrgb=r='trunc(val/128)*255':g='trunc(val/128)*255'"
    ":b='trunc(val/128)*255',hue=h=140",
    "reimagine_1": "negate,hue=h=90",
    "reimagine_2": "format=gbrp,edgedetect=low=.05:high=.1,format=gbrp,negate,hue=h=60*t",
    "reimagine_3": "hflip,vflip,pixelize=w=12:h=12,negate,hue=h=200+120*t:s=3",
}
DEFAULT_MODE = "adhere_1"


class RenderError(Exception):
    """The request cannot be rendered; the text is the error of its FAILED response."""


@dataclass(frozen=True)
class Picture:
    """What a clip's picture is.

    Attributes:
        width: pixels.
        height: pixels.
        seconds: how long it is shown.
    """

    width: int
    height: int
    seconds: float

    def units(self, billing: str) -> float:
        """Return for how many requests, seconds, or megapixels of the result it is billed."""
        megapixels = self.width * self.height * self.seconds * FRAME_RATE / 1e6
        return {"request": 1.0, "second": self.seconds, "megapixel": megapixels}[billing]


def check(body: Mapping[str, Any]) -> None:
    """Raise RenderError if a field of a request is not valid."""
    if not body.get("video_url"):
        raise RenderError("video_url: field required")
    for name in ("video_url", "first_frame_url"):
        url = body.get(name)
        if url and not _is_http_url(url):
            raise RenderError(f"{name}: an http or https URL expected")
    if body.get("mode", DEFAULT_MODE) not in EFFECTS:
        raise RenderError(f"mode: must be one of {', '.join(EFFECTS)}")
    if not isinstance(body.get("prompt", ""), str):
        raise RenderError("prompt: text expected")


def _is_http_url(url: object) -> bool:
    return isinstance(url, str) and url.lower().startswith(("http://", "https://"))


async def render(body: Mapping[str, Any], target: Path, drift_frames: int = 0) -> Picture:
    """Render a request.

    Parameters:
        body: its fields, which `check` has accepted.
        target: the MP4 file to write.
        drift_frames: by how many frames the result is too long; below 0, too short.

    Returns:
        The picture of the clip, which is what is billed.

    Raises:
        RenderError: the request cannot be rendered.
    """
    clip, image = target.with_suffix(".input"), target.with_suffix(".image")
    try:
        await fetch("video_url", body["video_url"], clip)
        if body.get("first_frame_url"):
            await fetch("first_frame_url", body["first_frame_url"], image)
        picture = await asyncio.to_thread(probe, clip)
        frames = max(1, round(picture.seconds * FRAME_RATE) + drift_frames)
        await _restyle(clip, image, picture.width, body.get("mode", DEFAULT_MODE), frames, target)
        return picture
    finally:
        clip.unlink(missing_ok=True)
        image.unlink(missing_ok=True)


async def _restyle(
    clip: Path, image: Path, width: int, mode: str, frames: int, target: Path
) -> None:
    """Apply a mode's effect to a clip, and show the first frame, if there is one, in a corner."""
    inputs = ["-f", "mov", "-i", str(clip)]
    even = f"fps={FRAME_RATE},tpad=stop=-1:stop_mode=clone"
    graph = f"[0:v:0]{EFFECTS[mode]},{even}"
    if image.exists():
        inputs += ["-i", str(image)]
        side = max(width // 3, 16) // 2 * 2
        graph += f"[styled];[1:v:0]scale={side}:-2,setsar=1[frame];[styled][frame]overlay=0:0"
    exit_code, output = await ffmpeg(
        *("-loglevel", "error", "-threads", "2"),
        *inputs,
        *("-filter_complex", f"{graph},format=yuv420p[video]"),
        *("-map", "[video]", "-frames:v", str(frames)),
        *("-c:v", "libx264", "-preset", "veryfast", "-threads", "2"),
        *("-f", "mp4", "-y", str(target)),
    )
    if exit_code:
        raise RenderError(f"the video could not be rendered: {output.strip()[-200:]}")


async def fetch(name: str, url: str, target: Path) -> None:
    """Download an input of a request, without following redirects.

    Parameters:
        name: the field with the URL.
        url: where the input is. Its first bytes are fetched by range, to see what it is.
        target: the file to write.

    Raises:
        RenderError: the input cannot be fetched or is not of the right kind.
    """
    first_bytes = {"Range": f"bytes=0-{SIGNATURE_BYTES - 1}"}
    try:
        async with httpx.AsyncClient(
            timeout=FETCH_TIMEOUT_SECONDS, trust_env=False, verify=tls_context()
        ) as client:
            async with client.stream("GET", url, headers=first_bytes) as response:
                _check_status(name, response)
                _check_signature(name, await anext(response.aiter_bytes(SIGNATURE_BYTES), b""))
            async with client.stream("GET", url) as response:
                _check_status(name, response)
                await _save(name, response, target)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RenderError(f"{name}: could not be fetched ({type(error).__name__})") from error


async def _save(name: str, response: httpx.Response, target: Path) -> None:
    with target.open("wb") as file:
        async for chunk in response.aiter_bytes():
            file.write(chunk)
            if file.tell() > MAX_BYTES:
                raise RenderError(f"{name}: larger than {MAX_BYTES // 1000000} MB")


def _check_status(name: str, response: httpx.Response) -> None:
    if response.status_code not in (200, 206):
        raise RenderError(f"{name}: could not be fetched (HTTP {response.status_code})")


def _check_signature(name: str, start: bytes) -> None:
    """Raise RenderError unless a file starts as its kind does."""
    if name == "video_url" and start[4:8] != b"ftyp":
        raise RenderError("video_url: not an MP4 file")
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    if name == "first_frame_url" and not is_webp and not start.startswith(IMAGE_STARTS):
        raise RenderError("first_frame_url: not a PNG, JPEG or WebP image")


def probe(clip: Path) -> Picture:
    """Return what a clip's picture is.

    Raises:
        RenderError: it is not what the model certainly takes.
    """
    kinds, brand = _boxes(clip)
    try:
        with av.open(str(clip), format="mov") as file:
            pictures = file.streams.video
            if not pictures:
                raise RenderError("video_url: no video stream can be read")
            context, base = pictures[0].codec_context, pictures[0].time_base
            packets = file.demux(pictures[0])
            shown = sorted(each.pts for each in packets if each.pts is not None)
            file.seek(0)
            frame = next(file.decode(pictures[0]))
    except (av.FFmpegError, StopIteration) as error:
        raise RenderError("video_url: no video stream can be read") from error
    gaps = {after - before for before, after in pairwise(shown)} or {1}
    seconds = float(len(shown) * max(gaps) * base)
    aspect = pictures[0].sample_aspect_ratio or context.sample_aspect_ratio or 1
    for is_wrong, what in (
        (brand == b"qt  ", "a QuickTime file"),
        (len(pictures) > 1, "made of several pictures"),
        (context.name != "h264", "not H.264"),
        (frame.format.name not in ("yuv420p", "yuvj420p"), "not 8 bit 4:2:0"),
        (frame.interlaced_frame, "interlaced"),
        (frame.rotation, "rotated by a flag"),
        (aspect != 1, "not made of square pixels"),
        (frame.width % 2 or frame.height % 2, "of an odd size"),
        (len(gaps) > 1, "without a constant frame rate"),
        (b"moof" in kinds, "fragmented"),
        (kinds.index(b"mdat") < kinds.index(b"moov"), "without its index at the start"),
        (seconds >= MAX_SECONDS, f"{seconds:.1f} s long; it must be under {MAX_SECONDS:.0f} s"),
    ):
        if is_wrong:
            raise RenderError(f"video_url: the video is {what}")
    return Picture(frame.width, frame.height, seconds)


def _boxes(clip: Path) -> tuple[list[bytes], bytes]:
    """Return the kinds of an MP4's boxes, and its brand (ISO/IEC 14496-12, 4.2 and 4.3)."""
    kinds: list[bytes] = []
    size = clip.stat().st_size
    with clip.open("rb") as file:
        brand = file.read(12)[8:]
        at = 0
        while at + 8 <= size:
            file.seek(at)
            header = file.read(16)
            length = int.from_bytes(header[:4])
            kinds.append(header[4:8])
            at += int.from_bytes(header[8:16]) if length == 1 else length or size
    return [*kinds, b"mdat", b"moov"], brand


async def ffmpeg(*arguments: str) -> tuple[int, str]:
    """Run ffmpeg and return its exit code and output; kill it when canceled or out of time.

    Raises:
        RenderError: it took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *(ffmpeg_path(), "-hide_banner", "-nostdin", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(FFMPEG_TIMEOUT_SECONDS):
            _, output = await process.communicate()
        return process.returncode or 0, output.decode(errors="replace")
    except TimeoutError as error:
        raise RenderError("rendering took too long") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context of all downloads; creating one takes longer than a local download."""
    return httpx.create_ssl_context()


@functools.cache
def ffmpeg_path() -> str:
    """Return the path of the ffmpeg binary that comes with imageio-ffmpeg."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())

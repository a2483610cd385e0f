"""Measure the work on media against what it cannot do without, and against plain ffmpeg.

The files are made by ffmpeg. Each row is a ratio of two durations of one round; the work runs in
its sandbox, as in the functions. Memory is the peak of the process that does it.
"""

import hashlib
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import imageio_ffmpeg

from retake.domain.footage import Footage
from retake.services.prepare import Prepared
from retake_media.tools import Tools

QUICK_SECONDS, SECONDS = 1, 20
NOISE = "noise=c0s=20:c1s=20:c2s=20:allf=t"  # what hardly compresses makes large files
PREPARE, CONVERT, FINISH = "prepare a clip that fits", "convert a clip", "finish by copying"
PEERS = {
    PREPARE: "copying the file and SHA-256",
    CONVERT: "ffmpeg with the same settings",
    FINISH: "copying the file twice",
}


def rows(rounds: int, *, is_quick: bool) -> list[dict[str, Any]]:
    """Measure each kind of work against its peer, in turns."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in PEERS}
    with TemporaryDirectory() as name:
        folder = Path(name)
        seconds = QUICK_SECONDS if is_quick else SECONDS
        plain, large = _draw(folder, seconds, "1920x1080"), _draw_hevc(folder, seconds)
        sizes = {PREPARE: plain, CONVERT: large, FINISH: plain}
        for _ in range(rounds):
            measured[PREPARE].append((_prepare(plain), _copy_and_hash(plain)))
            measured[CONVERT].append((_prepare(large), _ffmpeg_convert(large)))
            measured[FINISH].append((_finish(plain), _copy_twice(plain)))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return [
            {
                "work": work,
                "peer": PEERS[work],
                "mb": round(sizes[work].stat().st_size / 1e6, 1),
                "ratios": [ours / theirs for ours, theirs in pairs],
                "peak_mb": round(peak),
            }
            for work, pairs in measured.items()
        ]


def markdown(measured: list[dict[str, Any]]) -> str:
    """Write the table."""
    lines = ["| work | against | file, MB | ratio |", "|---|---|---|---|"]
    for row in measured:
        ratios = row["ratios"]
        figure = f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        lines.append(f"| {row['work']} | {row['peer']} | {row['mb']} | {figure} |")
    return "\n".join([*lines, "", f"Peak memory of any of it: {measured[0]['peak_mb']} MB."])


def _ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _draw(folder: Path, seconds: int, size: str) -> Path:
    """Make a clip that needs nothing, of about 90 MB at 20 s."""
    target = folder / "plain.mp4"
    source = f"testsrc2=size={size}:rate=30:duration={seconds},{NOISE}"
    encoding = ("-c:v", "libx264", "-preset", "ultrafast", "-b:v", "34M", "-pix_fmt", "yuv420p")
    _ffmpeg("-f", "lavfi", "-i", source, *encoding, "-movflags", "+faststart", target)
    return target


def _draw_hevc(folder: Path, seconds: int) -> Path:
    target = folder / "large.mov"
    source = f"testsrc2=size=2560x1440:rate=30:duration={seconds}"
    quiet = ("-preset", "ultrafast", "-x265-params", "log-level=error", "-tag:v", "hvc1")
    _ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx265", *quiet, target)
    return target


@contextmanager
def _copied(file: Path) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(shutil.copy(file, Path(folder) / "clip"))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _prepare(clip: Path) -> float:
    def work() -> None:
        with _copied(clip) as copy:
            hashlib.file_digest(copy.open("rb"), "sha256")
            made = Tools().prepare(copy, None, short_side=1080, max_seconds=60)
            assert isinstance(made, Prepared), made  # noqa: S101 - it is a bench

    return _timed(work)


def _copy_and_hash(clip: Path) -> float:
    def work() -> None:
        with _copied(clip) as copy:
            hashlib.file_digest(copy.open("rb"), "sha256")

    return _timed(work)


def _ffmpeg_convert(clip: Path) -> float:
    def work() -> None:
        with _copied(clip) as copy:
            hashlib.file_digest(copy.open("rb"), "sha256")
            filters = "fps=30,scale=1920:1080:flags=lanczos,format=yuv420p"
            encoding = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "17", "-an")
            _ffmpeg("-i", copy, "-vf", filters, *encoding, copy.with_name("out.mp4"))

    return _timed(work)


def _finish(render: Path) -> float:
    footage = Footage(
        size=1,
        container="mp4",
        codec="h264",
        profile="High",
        pixel_format="yuv420p",
        width=1920,
        height=1080,
        frames=1,
        seconds=SECONDS,
        frame_rate=30,
    )

    def work() -> None:
        with _copied(render) as copy:
            film = copy.with_name("film.mp4")
            Tools().finish(copy, None, film, footage=footage, prompt="ink")
            shutil.copy(film if film.exists() else copy, copy.with_name("uploaded"))

    return _timed(work)


def _copy_twice(render: Path) -> float:
    def work() -> None:
        with _copied(render) as copy:
            shutil.copy(copy, copy.with_name("uploaded"))

    return _timed(work)

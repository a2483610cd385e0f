"""The demo: drop two real clips into an embedded cloud and watch their retakes come back."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from rich.console import Console

from retake_cli import jobs
from retake_cli.commands import gallery

from .cloud import HOME, ROOT, Cloud, CloudConfig, running

FOLDER = HOME / "demo"
CLIPS_FOLDER = FOLDER / "clips"
GALLERY = HOME / "gallery"
TIMEOUT_SECONDS = 180
POLL_SECONDS = 0.1
TERMINAL = ("DELIVERED", "FAILED", "REFUSED", "LOST")
StatusFile = dict[str, Any]
console = Console(highlight=False)


@dataclass(frozen=True)
class DemoClip:
    """A clip of the demo.

    Attributes:
        key: its key in the input bucket.
        source: the ffmpeg source that draws it.
        sidecar: the content of its sidecar.
        turn: degrees by which it must be turned to be upright, as clips of phones must.
    """

    key: str
    source: str
    sidecar: dict[str, str] = field(default_factory=dict)
    turn: int = 0

    @property
    def path(self) -> Path:
        """Return where the clip is on this machine."""
        return CLIPS_FOLDER / Path(self.key).name

    @property
    def retake(self) -> Path:
        """Return where its retake is downloaded to."""
        return FOLDER / f"{Path(self.key).stem}.retake.mp4"

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the key and the content of every file to drop."""
        yield self.key, self.path.read_bytes()
        yield f"{self.key[:-4]}.json", json.dumps(self.sidecar, indent=2).encode()
        if first_frame := self.sidecar.get("first_frame"):
            yield f"shoot/{first_frame}", (CLIPS_FOLDER / first_frame).read_bytes()


CLIPS = (
    DemoClip(
        "shoot/zoom.MOV",
        "mandelbrot=size=640x360:rate=30",
        {"prompt": "an ink drawing that breathes", "mode": "reimagine_2"},
        turn=90,
    ),
    DemoClip(
        "shoot/bars.mp4",
        "testsrc2=size=640x360:rate=24",
        {"prompt": "a 1970s poster", "mode": "flex_2", "first_frame": "bars look.png"},
    ),
)


class Narrator:
    """Prints what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        seconds = time.monotonic() - self._start
        console.print(f"[dim]{seconds:6.1f} s[/]  {text}", soft_wrap=True)


def main() -> int:
    """Run the demo and return 0 if both retakes were delivered."""
    narrator = Narrator()
    for folder in (FOLDER, GALLERY):
        shutil.rmtree(folder, ignore_errors=True)
    CLIPS_FOLDER.mkdir(parents=True)
    console.print(
        "\n[bold]Retake[/]: drop a clip and its sidecar into a bucket, get the retake back."
    )
    console.print("[dim]This runs the template and code for AWS on an emulator on this machine.[/]")
    console.print("[dim]Segmind is a simulator that really renders, with ffmpeg.[/]\n")
    _draw_media(narrator)
    config = CloudConfig(
        wait_scale=0.03, simulator=("--queue-seconds", "1", "--render-seconds", "4")
    )
    with running(config, FOLDER / "cloud", narrator.say) as cloud:
        _drop(cloud, narrator)
        status_files = _follow(cloud, narrator)
        _download(cloud, status_files, narrator)
        page = _write_gallery(cloud)
    narrator.say("everything is stopped")
    _summarize(status_files, page)
    return 0 if all(status["state"] == "DELIVERED" for status in status_files.values()) else 1


def _draw_media(narrator: Narrator) -> None:
    narrator.say("drawing two clips with sound, and a first frame, with ffmpeg")
    sound = ("-f", "lavfi", "-i", "aevalsrc=0.2*sin(2*PI*t*(220+55*t))")
    for clip in CLIPS:
        drawn = clip.path.with_name(f"drawn{clip.path.suffix}")
        picture = ("-f", "lavfi", "-i", clip.source)
        _ffmpeg(*picture, *sound, "-t", "4", "-pix_fmt", "yuv420p", "-c:a", "aac", drawn)
        _ffmpeg("-display_rotation:v:0", str(clip.turn), "-i", drawn, "-c", "copy", clip.path)
        drawn.unlink()
    gradient = "gradients=size=640x360:n=4:seed=7"
    first_frame = CLIPS_FOLDER / "bars look.png"
    _ffmpeg("-f", "lavfi", "-i", gradient, "-frames:v", "1", first_frame)


def _drop(cloud: Cloud, narrator: Narrator) -> None:
    """Drop every file; the clips come last, because the order does not matter."""
    s3, bucket = cloud.client("s3"), cloud.outputs["InputBucketName"]
    narrator.say(f"input bucket  s3://{bucket}")
    narrator.say(f"output bucket s3://{cloud.outputs['OutputBucketName']}")
    for clip in CLIPS:
        for key, content in reversed(list(clip.files())):
            s3.put_object(Bucket=bucket, Key=key, Body=content)
            narrator.say(f"dropped [bold]{key}[/] ({len(content):,} bytes)")


def _follow(cloud: Cloud, narrator: Narrator) -> dict[str, StatusFile]:
    """Print every change of state until all jobs have ended; return the last status files."""
    s3, bucket = cloud.client("s3"), cloud.outputs["OutputBucketName"]
    status_files: dict[str, StatusFile] = {clip.key: {} for clip in CLIPS}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while any(status.get("state") not in TERMINAL for status in status_files.values()):
        if time.monotonic() > deadline:
            logs = (FOLDER / "cloud").relative_to(ROOT)
            sys.exit(f"It took more than {TIMEOUT_SECONDS} s. The logs are in {logs}.")
        for key, status in _read_status_files(s3, bucket):
            if key not in status_files:
                continue
            if status["state"] != status_files[key].get("state"):
                narrator.say(f"{key:16}  [bold]{status['state']:10}[/]  {status['message']}")
            status_files[key] = status
        time.sleep(POLL_SECONDS)
    return status_files


def _read_status_files(s3: Any, bucket: str) -> Iterator[tuple[str, StatusFile]]:
    """Yield the clip's key and the content of every status file."""
    for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        key = item["Key"].removesuffix(".job.json").removesuffix(".error.json")
        if key != item["Key"]:
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"]
            yield key, json.loads(body.read())


def _download(cloud: Cloud, status_files: dict[str, StatusFile], narrator: Narrator) -> None:
    s3, bucket = cloud.client("s3"), cloud.outputs["OutputBucketName"]
    for clip in CLIPS:
        if result := status_files[clip.key].get("result"):
            key = result.removeprefix(f"s3://{bucket}/")
            s3.download_file(bucket, key, str(clip.retake))
            narrator.say(f"downloaded [bold]{key}[/] from the output bucket")


def _write_gallery(cloud: Cloud) -> Path:
    s3 = cloud.client("s3")
    found = jobs.jobs_of(jobs.read_all(cloud.table()))
    takes = gallery.collect(found, s3, gallery.Beside(s3, GALLERY))
    return gallery.write(gallery.render(takes, "Retake demo", datetime.now(UTC)), GALLERY)


def _summarize(status_files: dict[str, StatusFile], page: Path) -> None:
    console.print("\n[bold]Before and after[/]")
    for clip in CLIPS:
        status = status_files[clip.key]
        before = clip.path.relative_to(ROOT)
        after = clip.retake.relative_to(ROOT) if "result" in status else status["message"]
        cost = "not charged"
        if "cost_usd" in status:
            cost = f"{status['cost_usd']:.2f} USD, simulated"
        line = f"  {before}  →  [bold]{after}[/]  ({status['mode']}, {cost})"
        console.print(line, soft_wrap=True)
    console.print(f"\nCompare them in a browser: [bold]{page.as_uri()}[/]", soft_wrap=True)
    console.print("\nTo drop your own clips, run [bold]make up[/] and see docs/first-drop.md.")
    console.print("[bold]make down[/] stops it.")


def _ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())

"""The demo: two real clips are dropped into the embedded cloud and come back restyled; everything is stopped afterwards."""

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from rich.console import Console

from cli import gallery

from .cloud import HOME, ROOT, Cloud, Wanted, running

FOLDER = HOME / "demo"
GALLERY = HOME / "gallery"
PATIENCE = 180  # seconds
CLIPS = {
    "shoot/zoom.mp4": {"prompt": "an ink drawing that breathes", "mode": "reimagine_2"},
    "shoot/bars.mp4": {"prompt": "a poster of the seventies", "mode": "flex_2", "first_frame": "bars look.png"},
}
SOURCES = {"shoot/zoom.mp4": "mandelbrot=size=640x360:rate=24", "shoot/bars.mp4": "testsrc2=size=640x360:rate=24"}
console = Console(highlight=False)


class Story:
    """Prints what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def tell(self, text: str) -> None:
        """Print one line."""
        console.print(f"[dim]{time.monotonic() - self._start:6.1f} s[/]  {text}", soft_wrap=True)


def main() -> int:
    """Run the demo; 0 when both clips came back."""
    story = Story()
    for folder in (FOLDER, GALLERY):
        shutil.rmtree(folder, ignore_errors=True)
    (FOLDER / "clips").mkdir(parents=True)
    console.print("\n[bold]Retake[/]: drop a clip and a note in a bucket, get the retake back.")
    console.print("[dim]The template and code that go to AWS, on an emulator on this machine;[/]")
    console.print("[dim]Segmind is a simulator that really renders (with ffmpeg).[/]\n")
    _make_media(story)
    wanted = Wanted(wait_scale=0.03, simulator=("--queue-seconds", "1", "--render-seconds", "4"))
    with running(wanted, FOLDER / "cloud", story.tell) as cloud:
        answers = _watch(cloud, story)
        _download(cloud, answers, story)
        page = _make_gallery(cloud)
    story.tell("everything is stopped")
    _show(answers, page)
    return 0 if all(answer["state"] == "DELIVERED" for answer in answers.values()) else 1


def _make_media(story: Story) -> None:
    story.tell("making two clips and a first frame with ffmpeg")
    for key, source in SOURCES.items():
        _ffmpeg("-f", "lavfi", "-i", source, "-t", "4", "-pix_fmt", "yuv420p", "-movflags", "+faststart", _clip(key))
    _ffmpeg("-f", "lavfi", "-i", "gradients=size=640x360:n=4:seed=7", "-frames:v", "1", FOLDER / "clips" / "bars look.png")


def _watch(cloud: Cloud, story: Story) -> dict[str, dict[str, Any]]:
    """Drop everything, in an order that does not matter, and tell every change until both jobs have ended."""
    s3, bucket, output = cloud.client("s3"), cloud.outputs["InputBucketName"], cloud.outputs["OutputBucketName"]
    story.tell(f"the input bucket is s3://{bucket}, the output bucket s3://{output}")
    for key, note in CLIPS.items():
        files = [(key, _clip(key).read_bytes()), (f"{key[:-4]}.json", json.dumps(note, indent=2).encode())]
        if "first_frame" in note:
            files.append((f"shoot/{note['first_frame']}", (FOLDER / "clips" / note["first_frame"]).read_bytes()))
        for name, body in reversed(files):
            s3.put_object(Bucket=bucket, Key=name, Body=body)
            story.tell(f"dropped   [bold]{name}[/]  ({len(body):,} bytes)")
    answers: dict[str, dict[str, Any]] = {key: {} for key in CLIPS}
    deadline = time.monotonic() + PATIENCE
    while any(answer.get("state") not in ("DELIVERED", "FAILED", "REFUSED", "LOST") for answer in answers.values()):
        if time.monotonic() > deadline:
            sys.exit(f"it took more than {PATIENCE} s; the logs are in {(FOLDER / 'cloud').relative_to(ROOT)}")
        for item in s3.list_objects_v2(Bucket=output).get("Contents", []):
            key = item["Key"].removesuffix(".job.json").removesuffix(".error.json")
            if key not in answers or key == item["Key"]:
                continue
            answer = json.loads(s3.get_object(Bucket=output, Key=item["Key"])["Body"].read())
            if answer["state"] != answers[key].get("state"):
                story.tell(f"{key:16}  [bold]{answer['state']:10}[/]  {answer['message']}")
            answers[key] = answer
        time.sleep(0.1)
    return answers


def _download(cloud: Cloud, answers: dict[str, dict[str, Any]], story: Story) -> None:
    s3, output = cloud.client("s3"), cloud.outputs["OutputBucketName"]
    for key, answer in answers.items():
        if "result" in answer:
            s3.download_file(output, key, str(_retake(key)))
            story.tell(f"downloaded [bold]{key}[/] from the output bucket")


def _make_gallery(cloud: Cloud) -> Path:
    s3 = cloud.client("s3")
    takes = gallery.collect(cloud.table(), s3, gallery.Beside(s3, GALLERY))
    return gallery.write(gallery.render(takes, "Retake, the demo", datetime.now(UTC)), GALLERY)


def _show(answers: dict[str, dict[str, Any]], page: Path) -> None:
    console.print("\n[bold]Before and after[/]")
    for key, answer in answers.items():
        after = _retake(key).relative_to(ROOT) if "result" in answer else answer["message"]
        cost = f"{answer['cost_usd']:.2f} USD, simulated" if "cost_usd" in answer else "nothing paid"
        console.print(f"  {_clip(key).relative_to(ROOT)}  →  [bold]{after}[/]  ({answer['mode']}, {cost})", soft_wrap=True)
    console.print(f"\nLook at them side by side in a browser: [bold]{page.as_uri()}[/]", soft_wrap=True)
    console.print("\nTo drop your own clips: [bold]make up[/], see docs/first-drop.md; [bold]make down[/] ends it.")


def _clip(key: str) -> Path:
    return FOLDER / "clips" / Path(key).name


def _retake(key: str) -> Path:
    return FOLDER / f"{Path(key).stem}.retake.mp4"


def _ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())

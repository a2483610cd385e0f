"""Real media for tests, made with the ffmpeg of a wheel."""

import subprocess
from pathlib import Path

import imageio_ffmpeg


def ffmpeg(target: Path, *arguments: str) -> Path:
    """Make a media file; `arguments` are ffmpeg's, without the output."""
    pixel_format = ("-pix_fmt", "yuv420p") if target.suffix == ".mp4" else ()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *arguments, *pixel_format, str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


def clip(target: Path, *options: str, seconds: float = 1, size: str = "64x48") -> Path:
    """Make a small clip with a picture that moves."""
    return ffmpeg(target, "-f", "lavfi", "-i", f"testsrc=size={size}:rate=10:duration={seconds}", *options)


def image(target: Path, colour: str = "red") -> Path:
    """Make a small image."""
    return ffmpeg(target, "-f", "lavfi", "-i", f"color={colour}:size=64x48", "-frames:v", "1")

"""Real media for tests, created with the ffmpeg of a wheel."""

import io
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg


def ffmpeg(target: Path, *arguments: str) -> Path:
    """Create a media file; `arguments` are ffmpeg's, without the output."""
    plain = ("-pix_fmt", "yuv420p", "-movflags", "+faststart") if target.suffix == ".mp4" else ()
    binary = imageio_ffmpeg.get_ffmpeg_exe()
    command = [binary, "-y", "-v", "error", *arguments, *plain, str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


def clip(target: Path, *options: str, seconds: float = 1, size: str = "64x48") -> Path:
    """Create a small clip with a moving picture."""
    source = f"testsrc=size={size}:rate=10:duration={seconds}"
    return ffmpeg(target, "-f", "lavfi", "-i", source, *options)


def image(target: Path, color: str = "red") -> Path:
    """Create a small image."""
    source = f"color={color}:size=64x48"
    return ffmpeg(target, "-f", "lavfi", "-i", source, "-frames:v", "1")


def frames(video: bytes) -> int:
    """Count the frames of a video."""
    with av.open(io.BytesIO(video)) as file:
        return sum(1 for packet in file.demux(file.streams.video[0]) if packet.size)


def pixels(video: bytes, width: int = 96, height: int = 64, at: float = 0.5) -> bytes:
    """Return one frame of a video as RGB bytes."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "mov", "-i", "cache:pipe:0"]
    command += ["-ss", str(at), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "pipe:1"]
    return subprocess.run(command, input=video, capture_output=True, check=True).stdout


def difference(one: bytes, other: bytes) -> float:
    """Return the mean difference of two frames' samples, 0 to 255."""
    assert len(one) == len(other) > 0
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)

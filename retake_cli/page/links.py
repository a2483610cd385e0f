"""Makes videos in the buckets reachable from the page: as local copies, or by signed URLs."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from .takes import Video

# One version of an object, as the operations of S3 name it.
ObjectVersion = dict[str, str]
# Makes a video reachable; takes a name for it, where it is, and the moment of its poster.
Link = Callable[[str, ObjectVersion, float], Video]


class Beside:
    """Downloads videos beside the page, each once, with a poster if there is an ffmpeg.

    Parameters:
        s3: an S3 client.
        folder: the page's folder.
    """

    def __init__(self, s3: Any, folder: Path) -> None:
        self._s3, self._media = s3, folder / "media"
        self._media.mkdir(parents=True, exist_ok=True)
        self._ffmpeg = _find_ffmpeg()

    def __call__(self, name: str, found: ObjectVersion, moment: float) -> Video:
        """Download a video and return it."""
        video, poster = (self._media / f"{name}.{suffix}" for suffix in ("mp4", "jpg"))
        if not video.exists():  # the name contains the job's id, which stands for its content
            self._download(found, video)
        if self._ffmpeg and not poster.exists():
            _draw_poster(self._ffmpeg, video, poster, moment)
        poster_path = f"media/{poster.name}" if poster.exists() else None
        return Video(f"media/{video.name}", poster_path)

    def _download(self, found: ObjectVersion, video: Path) -> None:
        part = video.with_suffix(".part")
        version = {name: value for name, value in found.items() if name == "VersionId"}
        self._s3.download_file(found["Bucket"], found["Key"], str(part), ExtraArgs=version)
        part.replace(video)


class Signed:
    """Links to videos where they are, for as long as the signatures are valid.

    Parameters:
        s3: an S3 client that signs with s3v4.
        lifetime: how long the links are valid.
    """

    def __init__(self, s3: Any, lifetime: timedelta) -> None:
        self._s3, self._seconds = s3, int(lifetime.total_seconds())

    def __call__(self, name: str, found: ObjectVersion, moment: float) -> Video:
        """Sign the URL of a video and return it."""
        params = found | {"ResponseContentType": "video/mp4"}
        url = self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=self._seconds)
        return Video(url)


def _find_ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg  # only installed for development
    except ImportError:
        return shutil.which("ffmpeg")
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _draw_poster(ffmpeg: str, video: Path, poster: Path, moment: float) -> None:
    # Only local files are read, and only as MP4, whatever the video claims to be.
    source = ["-protocol_whitelist", "file", "-f", "mov", "-ss", str(moment), "-i", str(video)]
    picture = ["-frames:v", "1", "-vf", "scale='min(960,iw)':-2", "-q:v", "4", str(poster)]
    command = [ffmpeg, "-v", "error", *source, *picture]
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)

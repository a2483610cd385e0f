"""The ETag of an object that AWS KMS encrypts is random: its SHA-256 identifies its content."""

import hashlib
from itertools import count

import pytest

from retake.aws.s3 import InputBucket
from tests.support.drops import accepted_jobs, ingest_and_submit
from tests.support.world import World

SIDECAR = b'{"prompt": "ink"}'
FRAMED = b'{"prompt": "ink", "first_frame": "look.png"}'


class RandomETags:
    """An S3 client as with SSE-KMS: each version of an object has an ETag of its own."""

    def __init__(self, s3: object) -> None:
        self._s3 = s3
        self._etags = (f"{number:032x}" for number in count())
        self._by_version: dict[str, str] = {}
        self.bytes_read = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._s3, name)

    def head_object(self, **request: object) -> dict[str, object]:
        return self._encrypted(self._s3.head_object(**request))  # type: ignore[attr-defined]

    def get_object(self, **request: object) -> dict[str, object]:
        request.pop("IfMatch", None)
        found = self._encrypted(self._s3.get_object(**request))  # type: ignore[attr-defined]
        self.bytes_read += int(str(found["ContentLength"]))
        return found

    def copy_object(self, **request: object) -> object:
        request.pop("CopySourceIfMatch", None)
        return self._s3.copy_object(**request)  # type: ignore[attr-defined]

    def _encrypted(self, found: dict[str, object]) -> dict[str, object]:
        version = str(found["VersionId"])
        etag = self._by_version.setdefault(version, next(self._etags))
        return found | {"ETag": f'"{etag}"', "ServerSideEncryption": "aws:kms"}


@pytest.fixture
def encrypted(world: World) -> RandomETags:
    """Have all objects of the input bucket encrypted with KMS."""
    s3 = RandomETags(world.s3)
    world.app = world.application(input_bucket=InputBucket(s3=s3, name="input"))
    return s3


def test_the_same_clip_that_is_dropped_again_is_the_same_job(
    world: World, encrypted: RandomETags, clip_bytes: bytes
) -> None:
    for _ in range(2):
        world.drop("clip.json", SIDECAR)
        world.drop("clip.mp4", clip_bytes)
        ingest_and_submit(world, "clip.json", "clip.mp4")
    [job] = accepted_jobs(world)
    assert job.clip.sha256 == hashlib.sha256(clip_bytes).hexdigest()
    assert len(world.segmind.sent) == 1


def test_another_clip_of_the_same_name_is_another_job(
    world: World, encrypted: RandomETags, clip_bytes: bytes
) -> None:
    world.drop("clip.json", SIDECAR)
    for body in (clip_bytes, clip_bytes + b"\0\0\0\x08free"):
        world.drop("clip.mp4", body)
        ingest_and_submit(world, "clip.mp4")
    assert len(accepted_jobs(world)) == 2


def test_the_same_first_frame_that_is_dropped_again_is_the_same_job(
    world: World, encrypted: RandomETags, clip_bytes: bytes, look_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", FRAMED)
    for _ in range(2):
        world.drop("look.png", look_bytes)
        ingest_and_submit(world, "clip.mp4", "look.png")
    assert len(accepted_jobs(world)) == 1


def test_a_version_is_hashed_once(world: World, encrypted: RandomETags, clip_bytes: bytes) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", SIDECAR)
    ingest_and_submit(world, "clip.mp4")
    before = encrypted.bytes_read
    ingest_and_submit(world, "clip.json", "clip.mp4")
    assert encrypted.bytes_read - before < len(clip_bytes)

"""Objects that the pipeline may not or cannot read are refused with the cure."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from retake.aws.s3 import InputBucket
from tests.support.drops import status_of
from tests.support.world import World

SIDECAR = b'{"prompt": "ink"}'
ARCHIVED = ("InvalidObjectState", "The operation is not valid for the object's storage class")
OTHER_KEY = ("AccessDenied", "User: x is not authorized to perform: kms:Decrypt on resource: y")
DENIED = ("AccessDenied", "Access Denied")
SSE_C = ("InvalidRequest", "The object was stored using a form of Server Side Encryption")


class FailingS3:
    """An S3 client that fails to read one key, as S3 does."""

    def __init__(
        self, s3: Any, key: str, *, head: str = "", get: tuple[str, str] = ("", "")
    ) -> None:
        self._s3, self._key, self._head, self._get = s3, key, head, get

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def head_object(self, **request: Any) -> Any:
        if self._head and request["Key"] == self._key:
            raise ClientError(
                {"Error": {"Code": self._head, "Message": "Bad Request"}}, "HeadObject"
            )
        return self._s3.head_object(**request)

    def get_object(self, **request: Any) -> Any:
        code, message = self._get
        if code and request["Key"] == self._key:
            raise ClientError({"Error": {"Code": code, "Message": message}}, "GetObject")
        return self._s3.get_object(**request)


def ingest_failing(world: World, dropped: str, **failing: Any) -> list[str]:
    """Ingest an object with an S3 that fails for one key."""
    s3 = FailingS3(world.s3, **failing)
    whole = world.app
    world.app = world.application(input_bucket=InputBucket(s3=s3, name="input"))
    try:
        return world.ingest(dropped)
    finally:
        world.app = whole


@pytest.mark.parametrize("dropped", ["clip.mp4", "clip.json"])
@pytest.mark.parametrize(
    ("failing", "reason", "cure"),
    [
        ({"get": ARCHIVED}, "archived", "restore"),
        ({"get": OTHER_KEY}, "KMS key", "default encryption"),
        ({"head": "400", "get": SSE_C}, "SSE-C", "without SSE-C"),
    ],
    ids=["archived", "other KMS key", "SSE-C"],
)
@pytest.mark.parametrize("unreadable", ["clip.mp4", "clip.json", "look.png"])
def test_a_clip_with_an_unreadable_file_is_refused(
    world: World,
    clip_bytes: bytes,
    look_bytes: bytes,
    dropped: str,
    failing: dict[str, Any],
    reason: str,
    cure: str,
    unreadable: str,
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", b'{"first_frame": "look.png"}')
    world.drop("look.png", look_bytes)
    assert ingest_failing(world, dropped, key=unreadable, **failing) == []
    statuses = [status_of(world, name) for name in ("clip.mp4", unreadable)]
    refused = next(status for status in statuses if status.get("state") == "REFUSED")
    assert unreadable in refused["message"]
    assert reason in refused["message"]
    assert cure in refused["do_now"]
    assert refused["paid"] is False


def test_a_lone_sidecar_that_is_unreadable_is_refused(world: World) -> None:
    world.drop("clip.json", SIDECAR)
    ingest_failing(world, "clip.json", key="clip.json", get=ARCHIVED)
    assert status_of(world, "clip.json")["state"] == "REFUSED"


def test_a_clip_is_accepted_when_its_file_can_be_read_again(
    world: World, clip_bytes: bytes
) -> None:
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", SIDECAR)
    ingest_failing(world, "clip.mp4", key="clip.json", get=OTHER_KEY)
    world.drop("clip.json", SIDECAR)
    assert len(world.ingest("clip.json")) == 1
    assert status_of(world, "clip.mp4")["state"] == "CLAIMED"


def test_access_that_is_denied_for_another_reason_is_retried(
    world: World, clip_bytes: bytes
) -> None:
    """The role of a new stack takes a moment until it may read."""
    world.drop("clip.mp4", clip_bytes)
    world.drop("clip.json", SIDECAR)
    with pytest.raises(ClientError):
        ingest_failing(world, "clip.mp4", key="clip.json", get=DENIED)

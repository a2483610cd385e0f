"""S3: what lies in the input bucket, addresses for Segmind, and what is written into the output bucket."""

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Protocol
from urllib.parse import unquote_plus

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from ..rules.drop import KEY_BYTES, File, Kind, beside, kind, needs_copy, staged_key, stem

LINK_SECONDS = 3600  # the most that a role assumed from another role can give
_BLOCK = 65536
_PART = 8 * 1024 * 1024  # bytes of a part of a multipart upload; 10,000 of them are more than any result
_CONTENT_TYPES = {"mp4": "video/mp4", "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}


class Body(Protocol):
    """Something that reads like a file, from start to end."""

    def read(self, size: int = -1, /) -> bytes: ...


def error_code(error: ClientError) -> str:
    """Give the service's name of an error."""
    return str(error.response["Error"]["Code"])


class InputBucket:
    """The bucket that clips and notes are dropped in."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3 = s3
        self.name = name

    def head(self, key: str) -> File | None:
        """Look at the newest version of an object; `None` when there is none."""
        try:
            found = self._s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey", "NotFound"):
                return None
            raise
        return _file(key, found)

    def open(self, key: str, most: int) -> tuple[File, bytes] | None:
        """Look at the newest version of an object, and at its first `most` bytes; `None` when there is none, or cannot be."""
        if len(key.encode()) > KEY_BYTES:
            return None
        try:
            found = self._s3.get_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error_code(error) == "NoSuchKey":
                return None
            raise
        with closing(found["Body"]) as body:  # read to its end where that is near: only then is a torn line noticed
            return _file(key, found), body.read() if found["ContentLength"] <= most else body.read(most)

    def find(self, key: str) -> File | None:
        """Look for the object an event names: under the key as it stands, then under its URL-decoded form."""
        return self.head(key) or (self.head(unquote_plus(key)) if unquote_plus(key) != key else None)

    def siblings(self, key: str) -> list[str]:
        """List the keys with the same stem: a video, its sidecar, and their other spellings."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=stem(key) + ".")
        found = (item["Key"] for page in pages for item in page.get("Contents", ()))
        return [other for other in found if stem(other) == stem(key) and kind(other) in (Kind.VIDEO, Kind.SIDECAR)]

    def clips_beside(self, key: str, page: str | None, most: int) -> tuple[list[str], str | None]:
        """List the clips in the folder of `key`, looking at `most` objects from a `page` on; gives the next page, if there is one."""
        asked = {"Bucket": self.name, "Prefix": beside(key, ""), "Delimiter": "/", "MaxKeys": most}
        found = self._s3.list_objects_v2(**asked, **({"ContinuationToken": page} if page else {}))
        clips = [item["Key"] for item in found.get("Contents", ()) if kind(item["Key"]) is Kind.VIDEO]
        return clips, found.get("NextContinuationToken")

    def read(self, file: File, first: int, length: int) -> bytes:
        """Read `length` bytes from the offset `first` of this very content; fewer at its end. Raises when it was overwritten meanwhile."""
        if first >= file.size or length <= 0:
            return b""
        wanted = f"bytes={first}-{first + length - 1}"
        asked = self._s3.get_object(Bucket=self.name, Key=file.key, Range=wanted, IfMatch=f'"{file.etag}"')
        body: bytes = asked["Body"].read()
        return body

    def stage(self, file: File, job: str) -> str | None:
        """Give the key under which Segmind can fetch this very content: its own, when that is still it and ends as Segmind likes.

        Otherwise a copy is made in our own folder: the clip is named `.MP4`, or was overwritten or deleted while its job was held.
        `None` when this version is nowhere any more.
        """
        copy = staged_key(file.key, job)
        now = self.head(file.key)
        if now and now.etag == file.etag and not needs_copy(file.key):
            return file.key
        source = {"Bucket": self.name, "Key": file.key} | ({"VersionId": file.version} if file.version else {})
        target = {"Bucket": self.name, "Key": copy, "TaggingDirective": "REPLACE"}  # to copy tags, too, would need to be allowed
        try:
            self._s3.copy_object(**target, CopySource=source, CopySourceIfMatch=f'"{file.etag}"')
        except ClientError as error:
            if error_code(error) in ("NoSuchVersion", "NoSuchKey", "PreconditionFailed", "404"):
                return None
            raise
        return copy


class BlockReader:
    """Random access to an object by ranged reads of 64 KB blocks, the last few of which are kept."""

    def __init__(self, bucket: InputBucket, file: File) -> None:
        self._bucket, self._file = bucket, file
        self._blocks: dict[int, bytes] = {}

    def read_at(self, offset: int, length: int) -> bytes:
        """Give `length` bytes from `offset`, fewer at the end of the object."""
        first, last = offset // _BLOCK, (offset + length - 1) // _BLOCK
        joined = b"".join(self._block(number) for number in range(first, last + 1))
        return joined[offset - first * _BLOCK :][:length]

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) >= 4:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[number] = self._bucket.read(self._file, number * _BLOCK, _BLOCK)
        return self._blocks[number]


class LinkSigner:
    """Addresses under which Segmind can fetch an input, signed by a role that can do nothing else."""

    def __init__(self, sts: Any, role_arn: str, new_s3: Any) -> None:
        self._sts, self._role_arn, self._new_s3 = sts, role_arn, new_s3

    def session(self, job: str) -> "SignedSession":
        """Begin a session of known length: the credentials of the function itself may end at any moment."""
        granted = self._sts.assume_role(RoleArn=self._role_arn, RoleSessionName=f"retake-{job}", DurationSeconds=LINK_SECONDS)
        return SignedSession(self._new_s3(granted["Credentials"]))


def signing_client(credentials: Mapping[str, str]) -> Any:
    """Make an S3 client that signs with the credentials of one session; its addresses name the bucket's own region."""
    return boto3.client(
        "s3",
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        config=Config(signature_version="s3v4"),
    )


class SignedSession:
    """One session of the signing role."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def link(self, bucket: str, key: str, mark: str) -> str:
        """Sign an object's address, valid for an hour, that answers with the file's real content type; `mark` names the submit in it."""
        params = {"Bucket": bucket, "Key": key, "ResponseContentType": _CONTENT_TYPES[key.rpartition(".")[2]]}
        params["ResponseContentDisposition"] = f'inline; filename="{mark}"'
        url: str = self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=LINK_SECONDS)
        return url


class OutputBucket:
    """The bucket that results and answers are written to."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3 = s3
        self.name = name

    def etag(self, key: str) -> str | None:
        """Give the ETag of an object, `None` when there is none."""
        try:
            return str(self._s3.head_object(Bucket=self.name, Key=key)["ETag"])
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey", "NotFound"):
                return None
            raise

    def put_video(self, key: str, body: Body, length: int | None, metadata: Mapping[str, str], replaces: str | None) -> str | None:
        """Stream a video into the bucket in bounded memory.

        Parameters: `body`, read once from start to end; `length` in bytes, `None` when unknown; `replaces`, the ETag that the key must
        still have (`None`: there must be nothing).
        Returns the new ETag, or `None` when somebody else has written the key meanwhile.
        """
        guard = {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}
        about = {"Bucket": self.name, "Key": key, "ContentType": "video/mp4", "Metadata": dict(metadata)}
        try:
            if length is None:
                return self._put_parts(about, body, guard)
            return str(self._s3.put_object(Body=body, ContentLength=length, **about, **guard)["ETag"])
        except ClientError as error:
            if error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                return None
            raise

    def _put_parts(self, about: dict[str, Any], body: Body, guard: dict[str, str]) -> str:
        upload = {"Bucket": self.name, "Key": about["Key"]}
        upload["UploadId"] = self._s3.create_multipart_upload(**about)["UploadId"]
        parts: list[dict[str, Any]] = []
        block = bytearray(_PART)  # the same for all parts, or the last one and its copies would be in memory beside the next
        try:
            while _fill(block, body):
                number = len(parts) + 1
                etag = self._s3.upload_part(Body=block, PartNumber=number, **upload)["ETag"]
                parts.append({"PartNumber": number, "ETag": etag})
            return str(self._s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload, **guard)["ETag"])
        except BaseException:
            self._s3.abort_multipart_upload(**upload)
            raise

    def put_answer(self, key: str, answer: Mapping[str, Any]) -> None:
        """Write a small JSON file for people and programs; what could steer a terminal or turn the direction of writing is escaped."""
        text = json.dumps(answer, ensure_ascii=False, indent=2)
        body = "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text).encode()
        self._s3.put_object(Bucket=self.name, Key=key, Body=body, ContentType="application/json", CacheControl="no-store")

    def remove(self, key: str) -> None:
        """Remove an object if it is there; what is not there is left alone, so no delete markers pile up."""
        if self.etag(key):
            self._s3.delete_object(Bucket=self.name, Key=key)


def _file(key: str, found: Mapping[str, Any]) -> File:
    version = found.get("VersionId")
    return File(key, found["ETag"].strip('"'), found["ContentLength"], found["LastModified"], None if version == "null" else version)


def _fill(block: bytearray, body: Body) -> int:
    """Fill a block with what a body gives next, and cut it where the body ends; tells how many bytes it has."""
    filled = 0
    while filled < len(block) and (chunk := body.read(len(block) - filled)):
        block[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    del block[filled:]
    return filled

"""S3: the input bucket, the output bucket, and signed URLs for Segmind."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_plus

import boto3
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    UnseekableStreamError,
)

from ..domain.input_files import FileKind, InputFile, beside, kind_of, stem
from ..domain.limits import MAX_KEY_BYTES, SIGNED_URL_SECONDS
from ..domain.refusal import Refusal
from ..domain.status_file import printable
from .clients import SIGNING
from .dynamodb import error_code

_BLOCK_BYTES = 1024 * 1024  # of a file at a time
_PART_BYTES = 8 * 1024 * 1024  # of a multipart upload; 10,000 parts are more than any result
_VERSION = "job-version"  # in the metadata of a status file
_NOT_FOUND = frozenset({"404", "NoSuchKey", "NotFound"})
# A stream cannot be rewound, so boto3 ends its own retry of an upload with the first of these.
_BROKEN_UPLOAD = (
    UnseekableStreamError,
    HTTPClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)
_CONTENT_TYPES = {".mp4": "video/mp4", ".m4a": "audio/mp4", ".jpg": "image/jpeg"}


class UnreadableError(Exception):
    """An object exists, but the pipeline may not or cannot read it.

    Attributes:
        file: the object, as the bucket lists it.
        refusal: why it cannot be read, and the cure.
    """

    def __init__(self, file: InputFile, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.file, self.refusal = file, refusal


class UploadBrokenError(Exception):
    """An upload to the output bucket broke off; it can be repeated from the start."""


class Body(Protocol):
    """Something that reads like a file, from start to end."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class InputBucket:
    """The bucket that clips and sidecars are dropped in.

    Parameters:
        s3: an S3 client.
        name: the bucket's name.
    """

    def __init__(self, *, s3: Any, name: str) -> None:
        self._s3 = s3
        self.name = name

    def head(self, key: str) -> InputFile | None:
        """Look up the newest version of an object; `None` when there is none."""
        try:
            found = self._s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error_code(error) in _NOT_FOUND:
                return None
            self._raise_if_unreadable(key, error)
            raise
        return _input_file(key, found)

    def find(self, key: str) -> InputFile | None:
        """Look up the object that an event names, as it is and then URL-decoded."""
        decoded = unquote_plus(key)
        return self.head(key) or (self.head(decoded) if decoded != key else None)

    def open(self, key: str, max_bytes: int) -> tuple[InputFile, bytes] | None:
        """Read the first `max_bytes` bytes of the newest version of an object.

        Returns:
            The version and its bytes; `None` when there is none, or the key is impossible.
        """
        if len(key.encode()) > MAX_KEY_BYTES:
            return None
        try:
            found = self._s3.get_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error_code(error) == "NoSuchKey":
                return None
            self._raise_if_unreadable(key, error)
            raise
        with closing(found["Body"]) as body:
            # A small object is read to its end: only then a broken connection is noticed.
            content = body.read() if found["ContentLength"] <= max_bytes else body.read(max_bytes)
            return _input_file(key, found), content

    def siblings(self, key: str) -> list[str]:
        """List the keys with the same stem: clips, sidecars, and their other spellings."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=stem(key) + "."
        )
        found = (item["Key"] for page in pages for item in page.get("Contents", ()))
        wanted = (FileKind.CLIP, FileKind.SIDECAR)
        return [other for other in found if stem(other) == stem(key) and kind_of(other) in wanted]

    def clips_beside(self, key: str, page: str | None, limit: int) -> tuple[list[str], str | None]:
        """List the clips in the folder of `key`, looking at `limit` objects from a page on.

        Returns:
            The clips' keys, and the next page if there is one.
        """
        query = {
            "Bucket": self.name,
            "Prefix": beside(key, ""),
            "Delimiter": "/",
            "MaxKeys": limit,
        }
        if page:
            query["ContinuationToken"] = page
        found = self._s3.list_objects_v2(**query)
        keys = (item["Key"] for item in found.get("Contents", ()))
        clips = [other for other in keys if kind_of(other) is FileKind.CLIP]
        return clips, found.get("NextContinuationToken")

    def list_after(self, key: str, limit: int) -> tuple[list[InputFile], bool]:
        """List at most `limit` objects after a key, in the order of their keys.

        Returns:
            The objects, without their version ids, and whether there are more.
        """
        found = self._s3.list_objects_v2(Bucket=self.name, StartAfter=key, MaxKeys=limit)
        listed = [_listed_file(item) for item in found.get("Contents", ())]
        return listed, bool(found["IsTruncated"])

    def read(self, file: InputFile, offset: int, length: int) -> bytes:
        """Read up to `length` bytes of this very content; raise if it was overwritten."""
        if offset >= file.size or length <= 0:
            return b""
        found = self._get(file, Range=f"bytes={offset}-{offset + length - 1}")
        content: bytes = found["Body"].read()
        return content

    def download(self, file: InputFile, target: Path) -> str | None:
        """Save this very version in bounded memory.

        Returns:
            The SHA-256 of its content in hex; `None` when it does not exist any more.
        """
        version = {"VersionId": file.version} if file.version else {}
        try:
            found = self._s3.get_object(
                Bucket=self.name, Key=file.key, IfMatch=f'"{file.etag}"', **version
            )
        except ClientError as error:
            if error_code(error) in _NOT_FOUND | {"NoSuchVersion", "PreconditionFailed"}:
                return None
            self._raise_if_unreadable(file.key, error)
            raise
        return _save(found["Body"], target)

    def _get(self, file: InputFile, **options: Any) -> Mapping[str, Any]:
        """Request this very content; raise if it was overwritten."""
        request = {"Bucket": self.name, "Key": file.key, "IfMatch": f'"{file.etag}"', **options}
        try:
            found: Mapping[str, Any] = self._s3.get_object(**request)
        except ClientError as error:
            self._raise_if_unreadable(file.key, error)
            raise
        return found

    def _raise_if_unreadable(self, key: str, error: ClientError) -> None:
        """Raise `UnreadableError` when an error says that reading can never succeed.

        Access that is denied for another reason, such as a role that is still being created, is
        not judged here: SQS delivers the message again.
        """
        code = error_code(error)
        message = str(error.response["Error"].get("Message", ""))
        if code == "InvalidObjectState":
            reason, cure = f"{key} is archived", "restore it to a storage class that can be read"
        elif code in ("400", "InvalidRequest", "BadRequest"):
            reason = f"{key} is encrypted with a key that the client provided (SSE-C)"
            cure = "upload it without SSE-C"
        elif code.startswith("KMS.") or (code == "AccessDenied" and "kms:" in message.lower()):
            reason = f"{key} is encrypted with a KMS key that the pipeline may not use"
            cure = "upload it with the bucket's default encryption"
        else:
            return
        listed = self._s3.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1)
        for item in listed.get("Contents", ()):
            if item["Key"] == key:
                raise UnreadableError(_listed_file(item), Refusal(reason, cure)) from error


class UrlSigner:
    """Signs URLs under which Segmind can fetch inputs, by a role that can do nothing else.

    Parameters:
        sts: an STS client.
        role_arn: the signing role.
        new_s3: creates an S3 client from credentials, see `signing_client`.
    """

    def __init__(
        self, *, sts: Any, role_arn: str, new_s3: Callable[[Mapping[str, str]], Any]
    ) -> None:
        self._sts, self._role_arn, self._new_s3 = sts, role_arn, new_s3

    def session(self, job_id: str) -> "SigningSession":
        """Begin a session of known length: a function's own credentials may end at any time."""
        granted = self._sts.assume_role(
            RoleArn=self._role_arn,
            RoleSessionName=f"retake-{job_id}",
            DurationSeconds=SIGNED_URL_SECONDS,
        )
        return SigningSession(self._new_s3(granted["Credentials"]))


def signing_client(credentials: Mapping[str, str]) -> Any:
    """Create an S3 client that signs with the credentials of one session."""
    return boto3.client(
        "s3",
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        config=SIGNING,
    )


class SigningSession:
    """One session of the signing role."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def url(self, bucket: str, key: str, correlation_id: str) -> str:
        """Sign a file's URL, valid for an hour.

        Parameters:
            bucket: the bucket.
            key: the file's key.
            correlation_id: names the submit in the URL.
        """
        signed: str = self._s3.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": bucket,
                "Key": key,
                "ResponseContentDisposition": f'inline; filename="{correlation_id}"',
            },
            ExpiresIn=SIGNED_URL_SECONDS,
        )
        return signed


class VideoBucket:
    """A bucket that videos are streamed into.

    Parameters:
        s3: an S3 client.
        name: the bucket's name.
    """

    def __init__(self, *, s3: Any, name: str) -> None:
        self._s3 = s3
        self.name = name

    def etag(self, key: str) -> str | None:
        """Return the ETag of an object, `None` when there is none."""
        found = self._head(key)
        return str(found["ETag"]) if found else None

    def _head(self, key: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error_code(error) in _NOT_FOUND:
                return None
            raise
        return found

    def put_video(
        self,
        key: str,
        body: Body,
        *,
        length: int | None,
        metadata: Mapping[str, str],
        replaces: str | None,
    ) -> str | None:
        """Stream a video into the bucket in bounded memory.

        Parameters:
            key: the object's key.
            body: read once, from start to end.
            length: bytes; `None` when unknown.
            metadata: the object's user metadata.
            replaces: the ETag that the key must still have; `None` when there must be nothing.

        Returns:
            The new ETag; `None` when another function has written the key meanwhile.

        Raises:
            UploadBrokenError: the connection broke, or S3 asks to slow down.
        """
        guard = {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}
        target = {
            "Bucket": self.name,
            "Key": key,
            "ContentType": "video/mp4",
            "Metadata": dict(metadata),
        }
        try:
            if length is None:
                return self._put_parts(target, body, guard)
            done = self._s3.put_object(Body=body, ContentLength=length, **target, **guard)
            return str(done["ETag"])
        except ClientError as error:
            if error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                return None
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                raise UploadBrokenError(f"S3 responded with {error_code(error)}") from error
            raise
        except _BROKEN_UPLOAD as error:
            raise UploadBrokenError(f"the upload to S3 broke off: {error}") from error

    def _put_parts(self, target: dict[str, Any], body: Body, guard: dict[str, str]) -> str:
        upload = {"Bucket": self.name, "Key": target["Key"]}
        upload["UploadId"] = self._s3.create_multipart_upload(**target)["UploadId"]
        parts: list[dict[str, Any]] = []
        # One block for all parts: otherwise two parts and their copies would be in memory.
        block = bytearray(_PART_BYTES)
        try:
            while _fill(block, body):
                number = len(parts) + 1
                done = self._s3.upload_part(Body=block, PartNumber=number, **upload)
                parts.append({"PartNumber": number, "ETag": done["ETag"]})
            done = self._s3.complete_multipart_upload(
                MultipartUpload={"Parts": parts}, **upload, **guard
            )
            return str(done["ETag"])
        except BaseException:
            self._s3.abort_multipart_upload(**upload)
            raise


class StagingBucket(VideoBucket):
    """The pipeline's own bucket: what was prepared, what is sent, and renders as they came."""

    def save(self, key: str, source: Path) -> None:
        """Write a file of at most 5 GB; the same key always gets the same content."""
        with source.open("rb") as body:
            self._s3.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentLength=source.stat().st_size,
                ContentType=_CONTENT_TYPES[source.suffix],
            )

    def copy(self, key: str, target: str) -> bool:
        """Copy an object within the bucket; return whether it still exists."""
        try:
            self._s3.copy_object(
                Bucket=self.name, Key=target, CopySource={"Bucket": self.name, "Key": key}
            )
        except ClientError as error:
            if error_code(error) in _NOT_FOUND:
                return False
            raise
        return True

    def size(self, key: str) -> int:
        """Return the size of an object that exists, in bytes."""
        return int(self._s3.head_object(Bucket=self.name, Key=key)["ContentLength"])

    def open(self, key: str) -> Body:
        """Open an object that exists, at its start."""
        body: Body = self._s3.get_object(Bucket=self.name, Key=key)["Body"]
        return body

    def download(self, key: str, target: Path) -> None:
        """Save an object that exists, in bounded memory."""
        _save(self.open(key), target)


class OutputBucket(VideoBucket):
    """The bucket that films and status files are written to."""

    def put_status(self, key: str, status: Mapping[str, Any], version: str | None = None) -> None:
        """Write a status file; what could control a terminal is escaped.

        Parameters:
            key: the object's key.
            status: its content.
            version: what `status_version` returns from now on.
        """
        text = json.dumps(status, ensure_ascii=False, indent=2)
        self._s3.put_object(
            Bucket=self.name,
            Key=key,
            Body=printable(text, keep="\n").encode(),
            ContentType="application/json",
            CacheControl="no-store",
            Metadata={_VERSION: version} if version else {},
        )

    def status_version(self, key: str) -> str | None:
        """Return the version that a status file was written with, if there is one."""
        found = self._head(key)
        version: str | None = found["Metadata"].get(_VERSION) if found else None
        return version

    def remove(self, key: str) -> None:
        """Remove an object if it exists; otherwise delete markers would pile up."""
        if self.etag(key):
            self._s3.delete_object(Bucket=self.name, Key=key)


def _input_file(key: str, found: Mapping[str, Any]) -> InputFile:
    version = found.get("VersionId")
    return InputFile(
        key=key,
        etag=found["ETag"].strip('"'),
        size=found["ContentLength"],
        modified=found["LastModified"],
        version=None if version == "null" else version,
    )


def _listed_file(item: Mapping[str, Any]) -> InputFile:
    return InputFile(
        key=item["Key"],
        etag=item["ETag"].strip('"'),
        size=item["Size"],
        modified=item["LastModified"],
    )


def _save(body: Body, target: Path) -> str:
    """Save a body in bounded memory, and return the SHA-256 of its content in hex."""
    digest = hashlib.sha256()
    with closing(body), target.open("wb") as file:
        while chunk := body.read(_BLOCK_BYTES):
            file.write(chunk)
            digest.update(chunk)
    return digest.hexdigest()


def _fill(block: bytearray, body: Body) -> int:
    """Fill a block from a body, and cut it where the body ends; return its length in bytes."""
    filled = 0
    while filled < len(block):
        chunk = body.read(len(block) - filled)
        if not chunk:
            break
        block[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    del block[filled:]
    return filled

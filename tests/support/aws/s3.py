"""S3 in memory: versioned buckets, as a boto3 client.

It covers what the pipeline uses, with consistent reads and conditional writes as S3 has them.
`tests/simulation/test_contract.py` holds it against moto and the emulator.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from .wire import Call, Wire, client_error, direct

_MAX_KEYS = 1000


@dataclass(frozen=True)
class Version:
    """One version of an object.

    Attributes:
        body: its bytes.
        etag: with its quotes.
        id: the version id.
        modified: when it was written, in whole seconds.
        fields: the other fields of a response, such as `Metadata`.
    """

    body: bytes
    etag: str
    id: str
    modified: datetime
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Upload:
    """An upload in parts.

    Attributes:
        request: how it was begun.
        parts: its parts by number.
    """

    request: Mapping[str, Any]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Bucket:
    """A bucket.

    Attributes:
        objects: the newest version of each key.
        versions: all versions by key and id.
        uploads: the uploads in progress, by their ids.
        created: called with the key and the version of each new object.
    """

    objects: dict[str, Version] = field(default_factory=dict)
    versions: dict[tuple[str, str], Version] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    created: Callable[[str, Version], None] = lambda *_: None


class Storage:
    """The buckets of a Region, shared by all clients.

    Parameters:
        clock: returns seconds since the epoch.
    """

    def __init__(self, *buckets: str, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._number = 0
        self.buckets = {name: Bucket() for name in buckets}

    def next_id(self) -> str:
        """Return an id that no other has."""
        self._number += 1
        return f"id-{self._number}"

    def put(self, bucket: str, key: str, body: bytes, etag: str = "", **fields: Any) -> Version:
        """Write an object."""
        version = Version(
            body=body,
            etag=etag or _etag(body),
            id=self.next_id(),
            modified=datetime.fromtimestamp(int(self.clock()), UTC),
            fields=fields,
        )
        found = self.buckets[bucket]
        found.objects[key] = found.versions[key, version.id] = version
        found.created(key, version)
        return version


class S3:
    """A boto3 S3 client over a storage.

    Parameters:
        storage: the buckets.
        wire: makes the calls.
    """

    def __init__(self, storage: Storage, wire: Wire = direct) -> None:
        self.storage, self.wire = storage, wire

    def _call(self, operation: str, parameters: Any, effect: Callable[[], Any]) -> Any:
        return self.wire(Call("s3", operation, parameters, effect))

    def head_object(self, **request: Any) -> Any:
        """Return what is known about an object."""

        def effect() -> Any:
            version = self._find(request, "HeadObject", "404")
            _check_match(request, version, "HeadObject")
            return _described(version)

        return self._call("HeadObject", request, effect)

    def get_object(self, **request: Any) -> Any:
        """Return an object, or a range of it."""

        def effect() -> Any:
            version = self._find(request, "GetObject", "NoSuchKey")
            _check_match(request, version, "GetObject")
            body = version.body
            if "Range" in request:
                first, _, last = request["Range"].removeprefix("bytes=").partition("-")
                if int(first) >= len(body):
                    raise client_error("GetObject", "InvalidRange", status=416)
                body = body[int(first) : int(last) + 1]
            return _described(version) | {"Body": Body(body), "ContentLength": len(body)}

        return self._call("GetObject", request, effect)

    def put_object(self, **request: Any) -> Any:
        """Write an object, if what its key has is what the caller expects."""
        body = _bytes(request.get("Body", b""))

        def effect() -> Any:
            length = request.get("ContentLength", len(body))
            if length != len(body):
                raise client_error("PutObject", "IncompleteBody", status=400)
            return self._put("PutObject", request, body)

        return self._call("PutObject", request, effect)

    def _put(
        self, operation: str, request: Mapping[str, Any], body: bytes, etag: str = ""
    ) -> dict[str, str]:
        now = self._bucket(request).objects.get(request["Key"])
        if "IfMatch" in request and (now is None or now.etag != request["IfMatch"]):
            code = "NoSuchKey" if now is None else "PreconditionFailed"
            raise client_error(operation, code, status=404 if now is None else 412)
        if request.get("IfNoneMatch") == "*" and now is not None:
            raise client_error(operation, "PreconditionFailed", status=412)
        fields = {
            name: request[name]
            for name in ("ContentType", "CacheControl", "Metadata", "Tagging")
            if name in request
        }
        version = self.storage.put(request["Bucket"], request["Key"], body, etag, **fields)
        return {"ETag": version.etag, "VersionId": version.id}

    def copy_object(self, **request: Any) -> Any:
        """Copy a version of an object."""

        def effect() -> Any:
            version = self._find(request["CopySource"], "CopyObject", "NoSuchKey")
            if request.get("CopySourceIfMatch", version.etag) != version.etag:
                raise client_error("CopyObject", "PreconditionFailed", status=412)
            fields = dict(version.fields)
            if request.get("TaggingDirective") == "REPLACE":
                fields.pop("Tagging", None)
            copy = self.storage.put(
                request["Bucket"], request["Key"], version.body, version.etag, **fields
            )
            return {"CopyObjectResult": {"ETag": copy.etag}, "VersionId": copy.id}

        return self._call("CopyObject", request, effect)

    def delete_object(self, **request: Any) -> Any:
        """Delete an object: a version that is named, or all by a marker."""

        def effect() -> Any:
            bucket, key = self._bucket(request), request["Key"]
            if "VersionId" not in request:
                bucket.objects.pop(key, None)
                return {"DeleteMarker": True}
            gone = bucket.versions.pop((key, request["VersionId"]), None)
            if gone and bucket.objects.get(key) == gone:
                left = [each for (other, _), each in bucket.versions.items() if other == key]
                if left:
                    bucket.objects[key] = left[-1]
                else:
                    del bucket.objects[key]
            return {}

        return self._call("DeleteObject", request, effect)

    def list_objects_v2(self, **request: Any) -> Any:
        """List objects in the order of their keys."""
        return self._call("ListObjectsV2", request, lambda: self._list(request))

    def _list(self, request: Mapping[str, Any]) -> Any:
        prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter")
        after = request.get("ContinuationToken") or request.get("StartAfter", "")
        limit = min(_MAX_KEYS, request.get("MaxKeys", _MAX_KEYS))
        objects = self._bucket(request).objects
        contents: list[dict[str, Any]] = []
        folders: dict[str, None] = {}
        last = more = ""
        for key in sorted(objects, key=str.encode):
            if not key.startswith(prefix) or key.encode() <= after.encode():
                continue
            folder, found, _ = key[len(prefix) :].partition(delimiter or "\0")
            common = f"{prefix}{folder}{found}"
            if found and (common in folders or common == after):
                last = key if common in folders else last
                continue
            if len(contents) + len(folders) >= limit:
                more = last
                break
            last = key
            if found:
                folders[common] = None
            else:
                version = objects[key]
                contents.append(
                    {
                        "Key": key,
                        "ETag": version.etag,
                        "Size": len(version.body),
                        "LastModified": version.modified,
                    }
                )
        response: dict[str, Any] = {
            "IsTruncated": bool(more),
            "KeyCount": len(contents) + len(folders),
        }
        if contents:
            response["Contents"] = contents
        if folders:
            response["CommonPrefixes"] = [{"Prefix": folder} for folder in folders]
        return response | ({"NextContinuationToken": more} if more else {})

    def get_paginator(self, operation: str) -> Any:
        """Return a paginator of `list_objects_v2`."""
        assert operation == "list_objects_v2", operation

        def paginate(**request: Any) -> Iterator[Any]:
            while True:
                page = self.list_objects_v2(**request)
                yield page
                if not page["IsTruncated"]:
                    return
                request["ContinuationToken"] = page["NextContinuationToken"]

        return SimpleNamespace(paginate=paginate)

    def create_multipart_upload(self, **request: Any) -> Any:
        """Begin an upload in parts."""

        def effect() -> Any:
            upload_id = self.storage.next_id()
            self._bucket(request).uploads[upload_id] = Upload(request)
            return {"UploadId": upload_id}

        return self._call("CreateMultipartUpload", request, effect)

    def upload_part(self, **request: Any) -> Any:
        """Upload a part."""
        body = _bytes(request["Body"])

        def effect() -> Any:
            self._upload(request, "UploadPart").parts[request["PartNumber"]] = body
            return {"ETag": _etag(body)}

        return self._call("UploadPart", request, effect)

    def complete_multipart_upload(self, **request: Any) -> Any:
        """Make an object of the parts."""

        def effect() -> Any:
            operation = "CompleteMultipartUpload"
            upload = self._upload(request, operation)
            parts = upload.parts
            for part in request["MultipartUpload"]["Parts"]:
                if _etag(parts[part["PartNumber"]]) != part["ETag"]:
                    raise client_error(operation, "InvalidPart", status=400)
            body = b"".join(parts[number] for number in sorted(parts))
            guard = {name: request[name] for name in ("IfMatch", "IfNoneMatch") if name in request}
            etag = f'{_etag(body)[:-1]}-{len(parts)}"'
            done = self._put(operation, {**upload.request, **guard}, body, etag)
            del self._bucket(request).uploads[request["UploadId"]]
            return done

        return self._call("CompleteMultipartUpload", request, effect)

    def abort_multipart_upload(self, **request: Any) -> Any:
        """Forget an upload in parts."""

        def effect() -> Any:
            self._upload(request, "AbortMultipartUpload")
            del self._bucket(request).uploads[request["UploadId"]]
            return {}

        return self._call("AbortMultipartUpload", request, effect)

    def _upload(self, request: Mapping[str, Any], operation: str) -> Upload:
        found = self._bucket(request).uploads.get(request["UploadId"])
        if found is None:
            raise client_error(operation, "NoSuchUpload", status=404)
        return found

    def _bucket(self, request: Mapping[str, Any]) -> Bucket:
        return self.storage.buckets[request["Bucket"]]

    def _find(self, request: Mapping[str, Any], operation: str, missing: str) -> Version:
        """Return the version that a request names, or the newest one."""
        bucket, key = self._bucket(request), request["Key"]
        if "VersionId" in request:
            found = bucket.versions.get((key, request["VersionId"]))
            missing = "404" if operation == "HeadObject" else "NoSuchVersion"
        else:
            found = bucket.objects.get(key)
        if found is None:
            raise client_error(operation, missing, status=404)
        return found


class Body(io.BytesIO):
    """The body of a response, as botocore gives it."""

    def iter_chunks(self, chunk_size: int = 1024) -> Iterator[bytes]:
        """Yield the body in chunks."""
        return iter(lambda: self.read(chunk_size), b"")


def _check_match(request: Mapping[str, Any], version: Version, operation: str) -> None:
    if request.get("IfMatch", version.etag) != version.etag:
        code = "412" if operation == "HeadObject" else "PreconditionFailed"
        raise client_error(operation, code, status=412)


def _described(version: Version) -> dict[str, Any]:
    return {
        "ETag": version.etag,
        "ContentLength": len(version.body),
        "LastModified": version.modified,
        "VersionId": version.id,
        "Metadata": {},
        **version.fields,
    }


def _bytes(body: Any) -> bytes:
    """Read a body that may be a stream: all of it, as an upload does."""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    found = bytearray()
    while chunk := body.read(65536):
        found += chunk
    return bytes(found)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'

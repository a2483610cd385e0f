"""Compares the result file that Segmind serves with what was secured of it."""

import hashlib
from collections.abc import Iterable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from retake.segmind.download import ResultFiles, ResultUnavailableError

_CHUNK_BYTES = 65536
_HEADERS = ("content-type", "content-length", "accept-ranges", "etag")


def compare(files: ResultFiles, url: str, s3: Any, staged: str) -> dict[str, Any]:
    """Look at the result file as the pipeline does, without the key.

    Parameters:
        files: opens result files.
        url: where Segmind says the result is.
        s3: an S3 client.
        staged: the S3 URI of the render in the staging bucket.
    """
    try:
        with closing(files.get(url, {"Accept-Encoding": "identity"})) as whole:
            digest = _digest(whole.iter_raw(_CHUNK_BYTES))
        with closing(files.get(url, {"Range": "bytes=0-15"})) as part:
            content_range = part.headers.get("content-range", "")
            ranges = part.status_code == 206 and content_range.startswith("bytes 0-15/")
    except ResultUnavailableError as error:
        return {"host": urlsplit(url).hostname, "unavailable": str(error)}
    return {
        "host": urlsplit(url).hostname,
        "served_by": whole.url.host,
        "http": whole.status_code,
        **{name: whole.headers.get(name) for name in _HEADERS},
        "ranges": ranges,
        "same": _digest_of_object(s3, staged) == digest,
    }


def _digest_of_object(s3: Any, uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return _digest(s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK_BYTES))


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

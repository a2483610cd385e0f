"""ETags and hashes of local files: whether a file is in a bucket already, without a download."""

import hashlib
from pathlib import Path

_MIB = 1 << 20
_PART_SIZES = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100)  # MiB; uploaders use these, the AWS CLI 8


def etag_of(content: bytes) -> str:
    """Return the ETag that S3 gives to content that is uploaded in one piece."""
    return _md5(content).hexdigest()


def etag_of_file(path: Path, part_bytes: int | None = None) -> str:
    """Return the ETag that S3 gives to a file.

    Parameters:
        path: the file.
        part_bytes: the size of the parts it is uploaded in; `None` for one piece.
    """
    with path.open("rb") as file:
        if part_bytes is None:
            return hashlib.file_digest(file, _md5).hexdigest()
        parts = iter(lambda: file.read(part_bytes), b"")
        digests = [_md5(part).digest() for part in parts]
    return f"{etag_of(b''.join(digests))}-{len(digests)}"


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_content_of(etag: str, path: Path) -> bool:
    """Tell whether an object's ETag is that of a local file, however it was uploaded."""
    _, dash, part_count = etag.partition("-")
    if not dash:
        return etag_of_file(path) == etag
    size = path.stat().st_size
    fitting = (mib * _MIB for mib in _PART_SIZES if -(-size // (mib * _MIB)) == int(part_count))
    return any(etag_of_file(path, part_bytes) == etag for part_bytes in fitting)


def _md5(content: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(content, usedforsecurity=False)

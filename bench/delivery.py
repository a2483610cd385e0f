"""Compare ways of copying a result into a bucket: time, CPU, peak memory, and broken downloads.

Each sample is a fresh process that has imported and wired the product before the clock starts; the
ways take turns. The server and the bucket are one process of this machine (loopback_server.py), so
the bytes are real and the network is not, and S3's own time is missing from both sides of each
ratio. All ways use the product's S3 client.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench import LAYERS, ROOT

if TYPE_CHECKING:
    from retake.aws.s3 import Body
    from retake.bootstrap import Application

MB = 1_000_000
BUCKET = "output"
KEY = "video"
SLOW_LINK_SIZES = range(10, 101)  # MB
ENDLESSLY = 1000  # breaks of a download
RANGED_REQUESTS = 4  # at a time


@dataclass(frozen=True)
class Link:
    """The connection to the server.

    Attributes:
        name: its name in the table.
        rate: bytes per second in each direction; 0 for no limit.
        is_shared: whether all connections share the rate.
    """

    name: str
    rate: int = 0
    is_shared: bool = False


LINKS = (
    Link("unlimited"),
    Link("50 MB/s in total", 50 * MB, is_shared=True),
    Link("25 MB/s per connection", 25 * MB),
)


@cache
def application() -> "Application":
    """Return the wired product; only a process that takes a sample imports it."""
    from retake import bootstrap

    return bootstrap.from_environment()


def disk_with_httpx(url: str, size: int) -> None:
    """Download to disk, then upload, as most people do."""
    import httpx

    from retake.segmind.transport import TLS

    with TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        with (
            httpx.stream("GET", url, trust_env=False, verify=TLS) as response,
            path.open("wb") as file,
        ):
            for chunk in response.iter_bytes():
                file.write(chunk)
        application().clients.s3.upload_file(str(path), BUCKET, KEY)


def disk_with_urllib(url: str, size: int) -> None:
    """Download to disk with the standard library, then upload."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        with urllib.request.urlopen(url) as response, path.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(response, file)
        application().clients.s3.upload_file(str(path), BUCKET, KEY)


def file_object(url: str, size: int) -> None:
    """Pass the open connection to boto3, which uploads in parts, as some people do."""
    with urllib.request.urlopen(url) as response:  # noqa: S310
        application().clients.s3.upload_fileobj(response, BUCKET, KEY)


def ranged(url: str, size: int) -> None:
    """Upload in one pass from several ranged requests at once, each for a megabyte."""
    import httpx

    from retake.segmind.transport import TLS

    with (
        httpx.Client(trust_env=False, verify=TLS) as client,
        ThreadPoolExecutor(RANGED_REQUESTS) as pool,
    ):

        def fetch(first: int) -> bytes:
            last = min(first + MB, size) - 1
            response = client.get(url, headers={"Range": f"bytes={first}-{last}"})
            return response.raise_for_status().content

        pieces = _Pieces(lambda first: pool.submit(fetch, first), range(0, size, MB))
        _upload(pieces, size)


class _Pieces:
    """Reads like a file from pieces, some of which are always being fetched.

    Parameters:
        start_fetch: starts to fetch the piece at an offset.
        offsets: the offsets of all pieces.
    """

    def __init__(self, start_fetch: Callable[[int], Future[bytes]], offsets: Iterable[int]) -> None:
        self._start_fetch = start_fetch
        self._offsets = iter(offsets)
        self._pending: deque[Future[bytes]] = deque()
        self._buffer = b""
        self._fetch_ahead()

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        if not self._buffer and self._pending:
            self._buffer = self._pending.popleft().result()
            self._fetch_ahead()
        size = len(self._buffer) if size < 0 else size
        chunk, self._buffer = self._buffer[:size], self._buffer[size:]
        return chunk

    def _fetch_ahead(self) -> None:
        for offset in islice(self._offsets, RANGED_REQUESTS - len(self._pending)):
            self._pending.append(self._start_fetch(offset))


def product(url: str, size: int) -> None:
    """Copy as `fetch` does."""
    with closing(application().result_files.open(url)) as stream:
        try:
            _upload(stream, stream.length)
        except Exception as error:
            raise stream.failure or error from error


def _upload(body: "Body", length: int | None) -> None:
    """Upload in one pass, as the product does."""
    application().output_bucket.put_video(KEY, body, length=length, metadata={}, replaces=None)


PEER = "download to disk, then upload_file"
PRODUCT = "retake"
WAYS: dict[str, Callable[[str, int], None]] = {
    PEER: disk_with_httpx,
    "upload_fileobj over the open connection": file_object,
    "four ranged requests at once, one upload": ranged,
    PRODUCT: product,
}
# Only measured with broken downloads: it does not notice them.
UNCHECKED: dict[str, Callable[[str, int], None]] = {
    "download by urllib and copyfileobj, then upload_file": disk_with_urllib
}


@contextmanager
def server(link: Link) -> Iterator[str]:
    """Run the server in a process of its own; yield its base URL."""
    command = [sys.executable, "-m", "bench.loopback_server", "--rate", str(link.rate)]
    if link.is_shared:
        command.append("--shared")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout  # noqa: S101
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def sample(way: str, base_url: str, size: int, query: str = "") -> dict[str, Any]:
    """Copy one result in a fresh process.

    Parameters:
        way: one of WAYS or UNCHECKED.
        base_url: the server.
        size: bytes of the result.
        query: the query of its URL.

    Returns:
        What `_measure` returns, and how many bytes were stored.
    """
    environment = {
        "PYTHONPATH": os.pathsep.join([*LAYERS, str(ROOT)]),
        "PATH": os.defpath,
        "NO_PROXY": "*",
        "AWS_ENDPOINT_URL": base_url,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
        "JOBS_TABLE": "jobs",
        "OUTPUT_BUCKET": BUCKET,
        "SEGMIND_BASE_URL": base_url,
    }
    url = f"{base_url}/file/{size}{query}"
    command = [sys.executable, "-m", "bench.delivery", "--one", way, "--url", url]
    result = subprocess.run(
        [*command, "--size", str(size)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    measured: dict[str, Any] = json.loads(result.stdout)
    with urllib.request.urlopen(f"{base_url}/stored/{KEY}") as response:  # noqa: S310
        measured["stored"] = int(response.read())
    return measured


def _measure(way: str, url: str, size: int) -> dict[str, Any]:
    """Copy one result in this process; return what it took, and the error it ended with."""
    application().clients.s3.create()
    application().result_files  # noqa: B018 - it is imported before the clock starts
    failure = ""
    peak_before, start, cpu_before = peak_memory(), time.monotonic(), time.process_time()
    try:
        (WAYS | UNCHECKED)[way](url, size)
    except Exception as error:  # noqa: BLE001 - how it fails is what is measured
        failure = type(error).__name__
    return {
        "seconds": time.monotonic() - start,
        "cpu": time.process_time() - cpu_before,
        "peak": peak_memory() - peak_before,
        "failure": failure,
    }


def peak_memory() -> int:
    """Return the peak memory of this process in bytes.

    Linux also counts what the parent had at the fork, except in /proc.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def rows(sizes: tuple[int, ...] = (1, 10, 100), rounds: int = 5) -> list[dict[str, Any]]:
    """Measure every way over every link.

    Parameters:
        sizes: the sizes of the results in MB; links with a limit only carry some of them.
        rounds: samples of each; at most 3 over links with a limit.

    Returns:
        A row for each link, size and way: ratios to the peer in the same round, and the peak
        memory over the base.
    """
    table = []
    for link in LINKS:
        for size in sizes:
            if link.rate and size not in SLOW_LINK_SIZES:
                continue
            with server(link) as base_url:
                samples = [
                    {way: sample(way, base_url, size * MB) for way in WAYS}
                    for _ in range(min(rounds, 3) if link.rate else rounds)
                ]
            table += [_row(link, size, way, samples) for way in WAYS]
    return table


def _row(link: Link, size: int, way: str, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    own = [round_[way] for round_ in samples]
    row: dict[str, Any] = {"link": link.name, "mb": size, "way": way, "samples": own}
    for figure in ("seconds", "cpu"):
        ratios = [round_[way][figure] / round_[PEER][figure] for round_ in samples]
        row[figure] = median(ratios)
        row[f"{figure}_spread"] = (min(ratios), max(ratios))
    row["peak_mb"] = median(one["peak"] for one in own) / MB
    row["whole"] = all(one["stored"] == size * MB and not one["failure"] for one in own)
    return row


def broken(size: int = 10) -> list[dict[str, Any]]:
    """Break downloads, once at 40 % or every time.

    Parameters:
        size: the size of the result in MB.

    Returns:
        A row for each way and case: what it reports, and what is in the bucket.
    """
    table = []
    for way in WAYS | UNCHECKED:
        for case, at, times in (
            ("once", size * MB * 4 // 10, 1),
            ("every time", MB // 10, ENDLESSLY),
        ):
            with server(LINKS[0]) as base_url:
                query = f"?break={at}&breaks={times}"
                measured = sample(way, base_url, size * MB, query)
            stored = _describe(measured["stored"], size * MB)
            reported = measured["failure"] or "done"
            is_silent = reported == "done" and stored != "whole"
            row = {"way": way, "breaks": case, "reported": reported, "stored": stored}
            table.append(row | {"is_silent": is_silent})
    return table


def _describe(stored: int, size: int) -> str:
    if stored == size:
        return "whole"
    return "truncated" if stored else "nothing"


def markdown(table: list[dict[str, Any]], breaks: list[dict[str, Any]]) -> str:
    """Write the rows of `rows` and `broken` as Markdown tables."""
    return "\n".join([*_rows_table(table), "", *_broken_table(breaks)])


def _rows_table(table: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| link | MB | way | time ÷ disk (min–max) | CPU ÷ disk (min–max) "
        "| peak memory, MB over base |"
    )
    yield "|---" * 6 + "|"
    for row in table:
        seconds, cpu = _spread(row, "seconds"), _spread(row, "cpu")
        figures = f"{seconds} | {cpu} | {row['peak_mb']:.1f}"
        yield f"| {row['link']} | {row['mb']} | {row['way']} | {figures} |"


def _spread(row: dict[str, Any], figure: str) -> str:
    least, most = row[f"{figure}_spread"]
    return f"{row[figure]:.2f} ({least:.2f}–{most:.2f})"


def _broken_table(table: list[dict[str, Any]]) -> Iterator[str]:
    yield "| way | download breaks | it reports | in the bucket |"
    yield "|---|---|---|---|"
    for row in table:
        stored = row["stored"] + (" **(silently)**" if row["is_silent"] else "")
        yield f"| {row['way']} | {row['breaks']} | {row['reported']} | {stored} |"


def main() -> None:
    """Print the tables, or take one sample."""
    parser = argparse.ArgumentParser(description="Compare ways of delivering a result.")
    parser.add_argument("--full", action="store_true", help="also measure 500 MB")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one, options.url, options.size)))
        return
    sizes = (1, 10, 100, 500) if options.full else (1, 10, 100)
    print(markdown(rows(sizes), broken()))


if __name__ == "__main__":
    main()

"""Ways of bringing a result into the bucket, side by side: time, CPU and peak memory, and what becomes of a download that breaks.

Each sample is a fresh process that has imported and wired the product before it is measured; the ways take turns. Server and bucket are
one process of this machine (`bench/discard.py`), so the bytes are real and the network is not; S3's own time is missing from both sides of
each ratio. All ways use the product's S3 client.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATH = [str(ROOT / "layers" / layer / "python") for layer in ("retake", "dependencies")] + [str(ROOT)]
MB = 1_000_000
LINKS: dict[str, tuple[int, bool]] = {"free": (0, False), "50 MB/s for all": (50 * MB, True), "25 MB/s a connection": (25 * MB, False)}
PEER = "download to disk, then upload_file"
BUCKET = "output"


def to_disk(url: str, size: int) -> None:
    """What most people write: download, then upload."""
    import httpx

    from retake import parts
    from retake.adapters.segmind import TLS

    with TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        with httpx.stream("GET", url, trust_env=False, verify=TLS) as response, path.open("wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
        parts.s3.upload_file(str(path), BUCKET, "video")


def to_disk_unchecked(url: str, size: int) -> None:
    """The same with the standard library alone."""
    import shutil

    from retake import parts

    with TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        with urllib.request.urlopen(url) as response, path.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(response, file)
        parts.s3.upload_file(str(path), BUCKET, "video")


def fileobj(url: str, size: int) -> None:
    """What some people write: hand the open connection to boto3, which uploads in parts."""
    from retake import parts

    with urllib.request.urlopen(url) as response:  # noqa: S310
        parts.s3.upload_fileobj(response, BUCKET, "video")


def ranged(url: str, size: int) -> None:
    """The product's single pass, fed by four ranged requests at once, each for a megabyte that is kept until its turn."""
    import httpx

    from retake import parts
    from retake.adapters.segmind import TLS

    with httpx.Client(trust_env=False, verify=TLS) as client, ThreadPoolExecutor(4) as pool:

        def piece(first: int) -> bytes:
            answer = client.get(url, headers={"Range": f"bytes={first}-{min(first + MB, size) - 1}"})
            return answer.raise_for_status().content

        starts = iter(range(0, size, MB))
        under_way = deque(pool.submit(piece, first) for first in islice(starts, 4))
        rest = b""

        def read(most: int = -1) -> bytes:
            nonlocal rest
            if not rest and under_way:
                rest = under_way.popleft().result()
                under_way.extend(pool.submit(piece, first) for first in islice(starts, 1))
            most = len(rest) if most < 0 else most
            chunk, rest = rest[:most], rest[most:]
            return chunk

        parts.output.put_video("video", SimpleNamespace(read=read), size, {}, None)


def product(url: str, size: int) -> None:
    """What `deliver` does."""
    from retake import parts
    from retake.adapters.segmind import ResultFiles

    stream = ResultFiles(url).open(url)
    try:
        parts.output.put_video("video", stream, stream.length, {}, None)
    except Exception as error:
        raise stream.failure or error from error
    finally:
        stream.close()


WAYS: dict[str, Callable[[str, int], None]] = {
    PEER: to_disk,
    "upload_fileobj over the open connection": fileobj,
    "four ranged requests at once, one upload": ranged,
    "retake": product,
}
BROKEN: dict[str, Callable[[str, int], None]] = {"download by urllib and copyfileobj, then upload_file": to_disk_unchecked}


@contextmanager
def server(rate: int = 0, shared: bool = False) -> Iterator[str]:
    """Run the server in a process of its own; gives its address."""
    command = [sys.executable, "-m", "bench.discard", "--rate", str(rate), *(["--shared"] if shared else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout  # noqa: S101
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def one(way: str, base: str, size: int, query: str = "") -> dict[str, Any]:
    """Deliver once in a fresh process; gives what it took, or the error it ended with."""
    environment = {"PYTHONPATH": os.pathsep.join(PATH), "PATH": os.defpath, "AWS_ENDPOINT_URL": base, "TABLE": "jobs"}
    environment |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"OUTPUT_BUCKET": BUCKET, "SEGMIND_BASE_URL": base, "NO_PROXY": "*"}
    command = [sys.executable, "-m", "bench.delivery", "--one", way, "--url", f"{base}/file/{size}{query}", "--size", str(size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    measured: dict[str, Any] = json.loads(done.stdout)
    with urllib.request.urlopen(f"{base}/stored/video") as answer:  # noqa: S310
        measured["stored"] = int(answer.read())
    return measured


def peak() -> int:
    """Give the most memory in bytes that this process has had; where the kernel tells, without what its parent had when it was started."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _measure(way: str, url: str, size: int) -> dict[str, Any]:
    from retake import parts
    from retake.adapters import segmind  # noqa: F401 - imported before the clock starts

    parts.s3.make()

    base, began, cpu, failure = peak(), time.monotonic(), time.process_time(), ""
    try:
        (WAYS | BROKEN)[way](url, size)
    except Exception as error:  # noqa: BLE001 - how it ends is what is asked
        failure = type(error).__name__
    return {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu, "peak": peak() - base, "failure": failure}


def rows(sizes: tuple[int, ...] = (1, 10, 100), rounds: int = 5) -> list[dict[str, Any]]:
    """Measure; a row for each link, size in MB and way: ratios to the peer in the same round, and the peak memory over the base."""
    table = []
    for link, (rate, shared) in LINKS.items():
        for size in sizes:
            if rate and not 10 <= size <= 100:
                continue
            with server(rate, shared) as base:
                samples = [{way: one(way, base, size * MB) for way in WAYS} for _ in range(rounds if not rate else min(rounds, 3))]
            for way in WAYS:
                row: dict[str, Any] = {"link": link, "mb": size, "way": way, "samples": [sample[way] for sample in samples]}
                for figure in ("seconds", "cpu"):
                    ratios = [sample[way][figure] / sample[PEER][figure] for sample in samples]
                    row |= {figure: median(ratios), f"{figure}_spread": (min(ratios), max(ratios))}
                row["peak_mb"] = median(sample[way]["peak"] for sample in samples) / MB
                row["whole"] = all(sample[way]["stored"] == size * MB and not sample[way]["failure"] for sample in samples)
                table.append(row)
    return table


def broken(size: int = 10) -> list[dict[str, Any]]:
    """Break downloads at 40 %, once and for ever; a row for each way and case: what it said and what lies in the bucket."""
    table = []
    for way in WAYS | BROKEN:
        for case, breaks in (("once", 1), ("every time", 1000)):
            with server() as base:
                cut = size * MB * 4 // 10 if breaks == 1 else MB // 10
                measured = one(way, base, size * MB, f"?break={cut}&breaks={breaks}")
            said = measured["failure"] or "done"
            truth = "whole" if measured["stored"] == size * MB else "nothing" if not measured["stored"] else "truncated"
            table.append({"way": way, "breaks": case, "said": said, "stored": truth, "lied": said == "done" and truth != "whole"})
    return table


def markdown(table: list[dict[str, Any]], breaks: list[dict[str, Any]]) -> str:
    """Write the rows as Markdown tables."""
    lines = [
        "| link | MB | way | time ÷ disk (least–most) | CPU ÷ disk (least–most) | peak memory, MB over base |",
        "|---|---|---|---|---|---|",
    ]
    for row in table:
        time_, cpu = row["seconds_spread"], row["cpu_spread"]
        lines.append(
            f"| {row['link']} | {row['mb']} | {row['way']} | {row['seconds']:.2f} ({time_[0]:.2f}–{time_[1]:.2f}) "
            f"| {row['cpu']:.2f} ({cpu[0]:.2f}–{cpu[1]:.2f}) | {row['peak_mb']:.1f} |"
        )
    lines += ["", "| way | download breaks | it says | in the bucket |", "|---|---|---|---|"]
    lines += [
        f"| {row['way']} | {row['breaks']} | {row['said']} | {row['stored']}{' **(silently)**' if row['lied'] else ''} |" for row in breaks
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description="Ways of delivering a result, side by side.")
    options.add_argument("--full", action="store_true", help="500 MB, too")
    for name in ("--one", "--url"):
        options.add_argument(name, help=argparse.SUPPRESS)
    options.add_argument("--size", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(_measure(given.one, given.url, given.size)))
    else:
        sys.stdout.write(markdown(rows((1, 10, 100, 500) if given.full else (1, 10, 100)), broken()) + "\n")


if __name__ == "__main__":
    main()

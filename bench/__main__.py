"""Run all measurements and write `bench/RESULTS.md` and `bench/plots/*.png`.

The raw data goes to `.local/bench/results.json`, which is not committed.
"""

import argparse
import json
import os
import platform
import textwrap
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import ROOT, coldstart, delivery, media, plots, throughput, waiting

HERE = Path(__file__).resolve().parent
RAW_FOLDER = ROOT / ".local/bench"
MAX_COLUMNS = 100
PACKAGES = (
    "boto3",
    "httpx",
    "aws-lambda-powertools",
    "segmind",
    "ministack",
    "pydantic",
    "aws-xray-sdk",
)
INTRODUCTION = """\
# Results

`make bench` writes this page and the plots. The raw data goes to `.local/bench/results.json`,
which is not committed. The contenders of a part take turns in one run on one machine. Absolute
times are only given as ratios. A figure is the median, with the minimum and maximum in brackets.
"""


@dataclass(frozen=True)
class Part:
    """A part of the results.

    Attributes:
        title: its heading.
        text: what is measured, and how.
    """

    title: str
    text: str


PARTS = {
    "waiting": Part(
        "Waiting for a render",
        """\
Simulated jobs: 3,000 for each of the seeds 0 to 4. 2 % fail early, and 1 % never end. The poll
schedule has learned from 200 jobs of the distribution. The optimum is the result of dynamic
programming for the very jobs that are counted. How the schedule is calculated:
[docs/waiting.md](../docs/waiting.md).""",
    ),
    "throughput": Part(
        "Sustained throughput",
        """\
Simulated time, seeds 0 to 2. 400 jobs (1,600 at 500 requests per minute) are dropped at once. The
product's own admission control and poll schedule start with nothing learned; renders are usual. The
rate is measured from the second to the third quarter of the jobs, while enough of them wait.""",
    ),
    "coldstart": Part(
        "Initialization",
        """\
CPU time of a fresh interpreter that imports and wires a function, less that of an empty program. It
is a share of "everything imported": boto3 with every client of the stack, httpx, and Powertools'
Logger, Metrics, Tracer, Batch, Parameters, Idempotency, Parser and event classes.""",
    ),
    "delivery": Part(
        "Delivery",
        """\
From a server of this machine to a bucket that forgets, over loopback. The ratios are to downloading
to disk and `upload_file` in the same round. Memory is the peak above what the process had once
everything was imported.

If each connection has its own limit in both directions, one pass takes as long as one connection
needs, and the peer's upload is ahead because it sends ten parts at once. For one megabyte, most of
the time is the fixed part of both. Ranged requests at once need more CPU and memory, and were no
faster on these links.""",
    ),
    "media": Part(
        "Work on media",
        """\
A clip of 20 seconds in 1080p that needs nothing, one in HEVC at 1440p that is converted, and a
render that is finished by copying it and decoding it once. Disk stands in for S3: there, a copy
takes milliseconds where a transfer takes seconds. So the ratios of copying are upper limits, and
say more about a disk than about a function.""",
    ),
    "pipeline": Part(
        "The whole pipeline",
        """\
The embedded cloud and the peers against the same simulator: 12 jobs at once, seeds 0 and 1, 50
requests per scaled minute.

The emulator's own time is not scaled. The pipeline's lag, throughput and polls therefore contain it
tenfold, and 12 jobs are too few to sustain a rate. Read this table for the requests per job, the
429s, and what was paid for but never fetched. The SDK's loop ends at its first 429.

Alone, a drop reaches Segmind within a fraction of a second. All at once, the jobs share this
machine's cores with the emulator, which answers about 90 calls per job in one process. That
dominates here, and does not exist on Lambda.""",
    ),
}


def measure(part: str, is_quick: bool) -> dict[str, Any]:
    """Run one part of the measurements.

    Parameters:
        part: one of PARTS.
        is_quick: measure as little as possible.
    """
    match part:
        case "waiting":
            return {"rows": waiting.rows(["usual"], 1, 200) if is_quick else waiting.rows()}
        case "throughput":
            return {"rows": throughput.rows(20, 1) if is_quick else throughput.rows()}
        case "coldstart":
            return {"rows": coldstart.rows(1 if is_quick else 9), "sizes": coldstart.sizes()}
        case "delivery" if is_quick:
            return {"rows": delivery.rows((1,), rounds=1), "broken": []}
        case "delivery":
            rows = delivery.rows((1, 10, 100, 500), rounds=3)
            return {"rows": rows, "broken": delivery.broken()}
        case "media":
            return {"rows": media.rows(1 if is_quick else 5, is_quick=is_quick)}
        case _:
            from bench import pipeline

            return {"rows": pipeline.quick_rows() if is_quick else pipeline.rows()}


def tables(part: str, measured: dict[str, Any]) -> str:
    """Write the tables of one part."""
    match part:
        case "waiting":
            return waiting.markdown(measured["rows"])
        case "throughput":
            return throughput.markdown(measured["rows"])
        case "coldstart":
            return coldstart.markdown(measured["rows"], measured["sizes"])
        case "delivery":
            return delivery.markdown(measured["rows"], measured["broken"])
        case "media":
            return media.markdown(measured["rows"])
        case _:
            from bench import pipeline

            return pipeline.markdown(measured["rows"])


def machine() -> dict[str, Any]:
    """Return where and with what is measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    """Measure everything and write it down."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="measure as little as possible, to test that everything still runs; use with --into",
    )
    parser.add_argument(
        "--into", type=Path, help="folder for everything that is written, the raw data included"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        help="measure one part again, and keep the raw data of the others; may be repeated",
    )
    options = parser.parse_args()
    folder, raw_folder = options.into or HERE, options.into or RAW_FOLDER
    raw = raw_folder / "results.json"
    results = json.loads(raw.read_text()) if options.only and raw.exists() else {}
    for part in options.only or PARTS:
        start, where = time.monotonic(), machine()
        results[part] = measure(part, options.quick) | {"machine": where}
        print(f"{part}: {time.monotonic() - start:.0f} s", flush=True)
    raw_folder.mkdir(parents=True, exist_ok=True)
    raw.write_text(json.dumps(results, indent=1) + "\n")
    write(results, folder)


def write(results: dict[str, Any], folder: Path) -> None:
    """Write the page of results, and the plots."""
    files = plots.draw(results, folder / "plots")
    (folder / "RESULTS.md").write_text(page(results, files))


def page(results: dict[str, Any], plot_files: dict[str, str]) -> str:
    """Return the page of results.

    Parameters:
        results: the results by part.
        plot_files: the names of the plots' files by part.
    """
    sections = [INTRODUCTION]
    for name, part in PARTS.items():
        if name in results:
            blocks = [f"## {part.title}", part.text]
            if name in plot_files:
                blocks.append(f"![{name}](plots/{plot_files[name]})")
            blocks += [tables(name, results[name]), _environment(results[name]["machine"])]
            sections.append("\n\n".join(blocks) + "\n")
    return "\n".join(sections)


def _environment(machine: dict[str, Any]) -> str:
    """Write where and with what a part was measured."""
    cores = f"{machine['cores']} cores (load {machine['load_at_start']} at the start)"
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    where = f"{machine['date']}, {machine['cpu']}, {cores}, {machine['system']}"
    text = f"*{where}, Python {machine['python']}; {packages}.*"
    return textwrap.fill(text, MAX_COLUMNS, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()

"""All measurements side by side: writes `bench/RESULTS.md`, `bench/results.json` (the raw data) and `bench/plots/*.png`.

`--quick` runs each with next to nothing and writes into the folder named by `--into`: it shows that the bench still runs, not how fast.
"""

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "layers" / layer / "python") for layer in ("retake", "dependencies")]

from bench import coldstart, delivery, plots, throughput, waiting  # noqa: E402

PARTS = ("waiting", "throughput", "coldstart", "delivery", "pipeline")
ABOUT = {
    "waiting": "Waiting for a render\n\n"
    "Simulated jobs, 3,000 for each of the seeds 0 to 4; 2 % fail early, 1 % never end. The planner has learned from"
    " 200 jobs of the distribution; the optimum is that of"
    " dynamic programming for the very jobs that are counted. How the plan is made: [docs/waiting.md](../docs/waiting.md).",
    "throughput": "Sustained throughput\n\n"
    "Simulated time, seeds 0 to 2: 400 jobs (1,600 at 500 requests a minute) dropped at once before the product's own gate and planner,"
    " which begin with nothing learned; usual renders. The rate is that of the second to the third quarter, while the line is full.",
    "coldstart": "Initialisation\n\n"
    "CPU of a fresh interpreter that imports and wires a function, less that of a bare one, as a share of boto3 with every client of the"
    " stack, httpx, and Powertools' Logger, Metrics, Tracer, Batch, Parameters, Idempotency, Parser and event classes.",
    "delivery": "Delivery\n\n"
    "From a server of this machine to a bucket that forgets, over loopback; ratios to downloading to disk and `upload_file` in the same"
    " round. Memory is the peak above what the process had when everything was imported. Where each connection has a limit of its own, both"
    " ways, one pass takes as long as one connection needs, and the peer's upload is ahead with ten parts at once. Of a megabyte the fixed"
    " part of both is most. Ranged requests at once were tried against the former: more CPU and memory, and no faster on these links.",
    "pipeline": "The whole pipeline\n\n"
    "The embedded cloud and the peers against the same simulator, 12 jobs at once, seeds 0 and 1, 50 requests a scaled"
    " minute. The emulator's own time is not scaled, so the pipeline's lag, throughput and polls here contain it tenfold, and 12 jobs are"
    " too few to sustain a rate: the requests a job, the 429s, and what was paid and never fetched are what this table is for. The SDK's"
    " loop ends at its first 429. Alone, a drop is at Segmind within a fraction of a second; all at once share this machine's cores with"
    " the emulator, which answers some 90 calls a job in one process: that is what dominates then, and what Lambda does not have.",
}


def measure(part: str, quick: bool) -> dict[str, Any]:
    """Run one of the measurements."""
    match part:
        case "waiting":
            return {"rows": waiting.rows(["usual"], seeds=1, jobs=200) if quick else waiting.rows()}
        case "throughput":
            return {"rows": throughput.rows(20, 1) if quick else throughput.rows()}
        case "coldstart":
            return {"rows": coldstart.rows(1 if quick else 9), "sizes": coldstart.sizes()}
        case "delivery":
            if quick:
                return {"rows": delivery.rows((1,), rounds=1), "broken": []}
            return {"rows": delivery.rows((1, 10, 100, 500), rounds=3), "broken": delivery.broken()}
        case _:
            from bench import pipeline

            if quick:
                pipeline.SCALE = 0.01
                return {"rows": pipeline.rows(2, 1, ("every 30 s (AWS sample)",))}
            return {"rows": pipeline.rows()}


def text(part: str, found: dict[str, Any]) -> str:
    """Write the tables of one measurement."""
    match part:
        case "waiting":
            return waiting.markdown(found["rows"])
        case "throughput":
            return throughput.markdown(found["rows"])
        case "coldstart":
            return coldstart.markdown(found["rows"], found["sizes"])
        case "delivery":
            return delivery.markdown(found["rows"], found["broken"])
        case _:
            from bench import pipeline

            return pipeline.markdown(found["rows"])


def machine() -> dict[str, Any]:
    """Say where and with what it was measured."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    packages = ("boto3", "httpx", "aws-lambda-powertools", "segmind", "ministack", "pydantic", "aws-xray-sdk")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": model,
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def main() -> None:
    """Run everything and write it down."""
    options = argparse.ArgumentParser(description="All measurements side by side.")
    options.add_argument("--quick", action="store_true", help="does it still run?")
    options.add_argument("--into", type=Path, default=HERE, help="where the results go")
    options.add_argument("--only", action="append", choices=PARTS, help="measure some anew and keep the raw data of the others")
    given = options.parse_args()
    raw = given.into / "results.json"
    found: dict[str, Any] = json.loads(raw.read_text()) if given.only and raw.exists() else {}
    for part in given.only or PARTS:
        began, where = time.monotonic(), machine()
        found[part] = measure(part, given.quick) | {"machine": where}
        sys.stdout.write(f"{part}: {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    given.into.mkdir(parents=True, exist_ok=True)
    raw.write_text(json.dumps(found, indent=1) + "\n")
    pictures = plots.draw(json.loads(raw.read_text()), given.into / "plots")
    (given.into / "RESULTS.md").write_text(results(found, pictures))


def results(found: dict[str, Any], pictures: dict[str, str]) -> str:
    """Write the page of results."""
    pages = [
        "# Measured\n\n`make bench` writes this page; the raw data are in [results.json](results.json). The contenders"
        " of a part take turns in one run on"
        " one machine, and absolute times are given as ratios only: a figure is the median, with the least and the most in brackets.\n"
    ]
    for part in PARTS:
        if part in found:
            picture = f"![{part}](plots/{pictures[part]})\n\n" if part in pictures else ""
            where = found[part]["machine"]
            packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
            about = (
                f"{where['date']}, {where['cpu']}, {where['cores']} cores (load {where['load_at_start']} at the start), {where['system']}"
            )
            pages.append(f"## {ABOUT[part]}\n\n{picture}{text(part, found[part])}\n\n*{about}, Python {where['python']}; {packages}.*\n")
    return "\n".join(pages)


if __name__ == "__main__":
    main()

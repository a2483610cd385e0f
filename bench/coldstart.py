"""Measure what it costs to initialize the functions: the CPU time of importing each `app.py`.

Each sample is a fresh interpreter that sees the layers and what the Lambda runtime provides (boto3
and its requirements), and nothing else of this environment. The layers' bytecode is compiled as in
the packages, with unchecked hashes. A sample is the CPU time of the process, less that of an empty
program; the contenders take turns, so a busy machine is busy for all of them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import DEPENDENCIES_LAYER, RETAKE_LAYER, ROOT

FUNCTIONS = ("submit", "poll", "fetch", "settle", "sweep")
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six")
# What the peers need in addition: Powertools' Parser and Tracer.
HEAVY = (
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_inspection",
    "aws_xray_sdk",
    "wrapt",
)
USUAL = """
import boto3
for name in 's3 sqs events stepfunctions sts secretsmanager'.split():
    boto3.client(name)
boto3.resource('dynamodb').Table('t')
import httpx
httpx.Client()
from aws_lambda_powertools import Logger, Metrics
Logger(), Metrics(namespace='n')
from aws_lambda_powertools.utilities import batch, data_classes, parameters
"""
EVERYTHING = f"""{USUAL}
from aws_lambda_powertools import Tracer
Tracer()
from aws_lambda_powertools.utilities import idempotency, parser
"""
S3_ALONE = "import boto3\nboto3.client('s3')\n"
WHOLE = "everything imported"
PEERS = {
    WHOLE: EVERYTHING,
    "the usual stack, every client": USUAL,
    "boto3 with an S3 client alone": S3_ALONE,
}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PYTHONDONTWRITEBYTECODE": "1",
    "POWERTOOLS_SERVICE_NAME": "retake",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "JOBS_TABLE": "jobs",
    "SEGMIND_SECRET_ARN": "key",
    "SEGMIND_BASE_URL": "https://api.segmind.com",
    "SEGMIND_HISTORY_URL": "https://api.segmind.com",
}


@contextmanager
def search_paths() -> Iterator[dict[str, list[str]]]:
    """Lay out the layers with bytecode ("valid") and without, as if it were stale ("stale")."""
    with TemporaryDirectory() as folder:
        runtime, heavy = Path(folder, "runtime"), Path(folder, "heavy")
        _link_packages(RUNTIME, runtime)
        _link_packages(HEAVY, heavy)
        paths = {}
        for kind in ("valid", "stale"):
            built = Path(folder, kind)
            layers = _copy_layers(built)
            if kind == "valid":
                _compile(built)
            paths[kind] = [str(path) for path in (*layers, runtime, heavy)]
        yield paths


def _link_packages(names: Sequence[str], folder: Path) -> None:
    """Link the packages of this environment that exist."""
    folder.mkdir()
    for name in names:
        spec = find_spec(name)
        if spec:
            source = Path(spec.origin or "")
            package = source.parent if source.name == "__init__.py" else source
            (folder / package.name).symlink_to(package)


def _copy_layers(folder: Path) -> list[Path]:
    """Copy the layers' sources and return where they are."""
    without_bytecode = shutil.ignore_patterns("__pycache__")
    layers = [folder / "retake", folder / "dependencies"]
    for source, target in zip((RETAKE_LAYER, DEPENDENCIES_LAYER), layers, strict=True):
        shutil.copytree(source, target, ignore=without_bytecode)
    return layers


def _compile(folder: Path) -> None:
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*command, str(folder)], check=True)


def cpu_seconds(program: str, path: Sequence[str]) -> float:
    """Run a program in a fresh interpreter that only sees `path`; return its CPU seconds."""
    measured = f"import time\n{program}\nprint(time.process_time())"
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(path), "PATH": os.defpath}
    result = subprocess.run(
        [sys.executable, "-S", "-c", measured],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout)


def rows(rounds: int = 9) -> list[dict[str, Any]]:
    """Measure every function and peer.

    Returns:
        A row for each: the ratio to "everything imported" in the same round (median, minimum and
        maximum), and the CPU seconds of all rounds.
    """
    programs = {name: (program, "valid") for name, program in PEERS.items()}
    programs |= {name: (_import_of(name), "valid") for name in FUNCTIONS}
    programs["poll, stale bytecode"] = (_import_of("poll"), "stale")
    samples: dict[str, list[float]] = {name: [] for name in programs}
    with search_paths() as paths:
        for _ in range(rounds):
            empty = cpu_seconds("", paths["valid"])
            for name, (program, kind) in programs.items():
                seconds = cpu_seconds(program, paths[kind]) - empty
                samples[name].append(max(0.0, seconds))
    return [_row(name, samples) for name in programs]


def _import_of(function: str) -> str:
    path = str(ROOT / "functions" / function / "app.py")
    return f"import runpy\nrunpy.run_path({path!r})"


def _row(name: str, samples: dict[str, list[float]]) -> dict[str, Any]:
    pairs = zip(samples[name], samples[WHOLE], strict=True)
    ratios = [seconds / whole for seconds, whole in pairs]
    return {
        "what": name,
        "ratio": median(ratios),
        "ratio_spread": (min(ratios), max(ratios)),
        "cpu_seconds": samples[name],
    }


def sizes() -> list[dict[str, Any]]:
    """Return the layers' sizes without bytecode."""
    table = []
    for layer, folder in (
        ("dependencies", DEPENDENCIES_LAYER),
        ("retake", RETAKE_LAYER / "retake"),
    ):
        files = [
            path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ]
        size = sum(path.stat().st_size for path in files)
        table.append({"layer": layer, "files": len(files), "source_bytes": size})
    return table


def markdown(table: list[dict[str, Any]], layers: list[dict[str, Any]]) -> str:
    """Write the rows and the layers' sizes as Markdown tables."""
    lines = ["| imported | CPU ÷ everything imported (min–max) |", "|---|---|"]
    for row in table:
        least, most = row["ratio_spread"]
        lines.append(f"| {row['what']} | {row['ratio']:.2f} ({least:.2f}–{most:.2f}) |")
    lines += ["", "| layer | files | MB of sources, unpacked |", "|---|---|---|"]
    for layer in layers:
        size = layer["source_bytes"] / 1e6
        lines.append(f"| {layer['layer']} | {layer['files']} | {size:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(rows(), sizes()))

"""What the functions cost to initialise: CPU time of importing each `app.py`, as a share of "everything imported".

Each sample is a fresh interpreter that sees the layers and what the Lambda runtime brings (boto3 and what it needs), nothing else of this
environment. The layers' bytecode is made as in the packages (unchecked hashes). The time is the CPU time of the process less that of a
bare interpreter; contenders take turns, so that a busy machine is busy for all of them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = ("submit", "poll", "deliver", "settle", "sweep")
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six")
HEAVY = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "aws_xray_sdk", "wrapt")
_CLIENTS = "import boto3\nfor name in 's3 sqs events stepfunctions sts secretsmanager'.split(): boto3.client(name)\n"
_USUAL = (
    _CLIENTS
    + "boto3.resource('dynamodb').Table('t')\nimport httpx\nhttpx.Client()\n"
    + "from aws_lambda_powertools import Logger, Metrics\nLogger(), Metrics(namespace='n')\n"
    + "from aws_lambda_powertools.utilities import batch, data_classes, parameters\n"
)
PEERS = {
    "everything imported": _USUAL
    + "from aws_lambda_powertools import Tracer\nTracer()\n"
    + "from aws_lambda_powertools.utilities import idempotency, parser\n",
    "the usual stack, every client": _USUAL,
    "boto3 with an S3 client alone": "import boto3\nboto3.client('s3')\n",
}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PYTHONDONTWRITEBYTECODE": "1",
    "POWERTOOLS_SERVICE_NAME": "retake",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "TABLE": "jobs",
    "SECRET_ID": "key",
    "SEGMIND_BASE_URL": "https://api.segmind.com",
    "SEGMIND_HISTORY_URL": "https://api.segmind.com",
}


@contextmanager
def layers() -> Iterator[dict[str, list[str]]]:
    """Lay out search paths: with valid bytecode, and with none, as bytecode with stale dates would be."""
    with TemporaryDirectory() as folder:
        runtime, heavy = Path(folder, "runtime"), Path(folder, "heavy")
        for place, names in ((runtime, RUNTIME), (heavy, HEAVY)):
            place.mkdir()
            for name in names:
                found = find_spec(name)
                source = Path(found.origin or "") if found else Path()
                link = source.parent if source.name == "__init__.py" else source
                if found:
                    (place / link.name).symlink_to(link)
        paths = {}
        for kind in ("valid", "stale"):
            built = Path(folder, kind)
            for layer in ("retake", "dependencies"):
                leave = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / "layers" / layer / "python", built / layer, ignore=leave)
            if kind == "valid":
                command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(built)]
                subprocess.run(command, check=True)
            paths[kind] = [str(path) for path in (built / "retake", built / "dependencies", runtime, heavy)]
        yield paths


def cpu_seconds(program: str, path: list[str]) -> float:
    """Run a program in a fresh interpreter that sees `path` alone; give the CPU seconds it took."""
    measured = f"import time\n{program}\nprint(time.process_time())"
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(path), "PATH": os.defpath}
    done = subprocess.run([sys.executable, "-S", "-c", measured], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def rows(rounds: int = 9) -> list[dict[str, Any]]:
    """Measure; one row for each function and peer: the share of "everything imported" in the same round, median, least and most."""
    app = "import runpy\nrunpy.run_path({!r})"
    with layers() as paths:
        programs = {name: (program, "valid") for name, program in PEERS.items()}
        programs |= {name: (app.format(str(ROOT / "functions" / name / "app.py")), "valid") for name in FUNCTIONS}
        programs["poll, stale bytecode"] = (programs["poll"][0], "stale")
        samples: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(rounds):
            bare = cpu_seconds("", paths["valid"])
            for name, (program, kind) in programs.items():
                samples[name].append(max(0.0, cpu_seconds(program, paths[kind]) - bare))
    return [_row(name, samples) for name in programs]


def _row(name: str, samples: dict[str, list[float]]) -> dict[str, Any]:
    whole = samples["everything imported"]
    ratios = [mine / all_of_it for mine, all_of_it in zip(samples[name], whole, strict=True)]
    return {"what": name, "ratio": median(ratios), "ratio_spread": (min(ratios), max(ratios)), "cpu_seconds": samples[name]}


def sizes() -> list[dict[str, Any]]:
    """Give the layers' sizes without bytecode."""
    found = []
    for layer in ("dependencies", "retake"):
        files = [path for path in (ROOT / "layers" / layer / "python").rglob("*") if path.is_file()]
        source = sum(path.stat().st_size for path in files if "__pycache__" not in path.parts)
        found.append({"layer": layer, "source_bytes": source, "files": sum("__pycache__" not in path.parts for path in files)})
    return found


def markdown(table: list[dict[str, Any]], layer_sizes: list[dict[str, Any]]) -> str:
    """Write the rows as Markdown tables."""
    lines = ["| imported | CPU ÷ everything imported (least–most) |", "|---|---|"]
    for row in table:
        least, most = row["ratio_spread"]
        lines.append(f"| {row['what']} | {row['ratio']:.2f} ({least:.2f}–{most:.2f}) |")
    lines += ["", "| layer | files | MB of sources, unpacked |", "|---|---|---|"]
    lines += [f"| {size['layer']} | {size['files']} | {size['source_bytes'] / 1e6:.2f} |" for size in layer_sizes]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown(rows(), sizes()) + "\n")

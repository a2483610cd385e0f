"""`python -m local.cloud up|down`: start an embedded cloud and leave it running, or stop it.

`up` reads SEGMIND_BASE_URL, SEGMIND_HISTORY_URL, SEGMIND_API_KEY, WAIT_SCALE, AUTH, PORT,
REQUESTS_PER_MINUTE and DAILY_BUDGET_USD from the environment.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from . import CloudConfig, start, stop
from .config import HOME, LOCAL_KEY, ROOT

OUTPUTS = HOME / "outputs.json"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    if parser.parse_args().command == "up":
        up()
    else:
        down()


def up() -> None:
    """Start an embedded cloud and write its outputs to a file."""
    if OUTPUTS.exists():
        sys.exit(f"It is already running ({OUTPUTS.relative_to(ROOT)}); run `make down` first.")
    config = config_from(os.environ)
    cloud = start(config, HOME / "up", lambda step: print(f"  {step}", flush=True))
    OUTPUTS.write_text(json.dumps(cloud.outputs | {"Pids": cloud.pids}, indent=2) + "\n")
    print(f"Running. Its URLs and names are in {OUTPUTS.relative_to(ROOT)}:")
    for name, value in cloud.outputs.items():
        print(f"  {name:24} {value}")
    print('Drop a clip: .venv/bin/retake drop clip.mp4 --prompt "a watercolor" --wait')
    print("Stop it: make down")


def config_from(environment: Mapping[str, str]) -> CloudConfig:
    """Read the configuration from environment variables; empty ones count as unset."""

    def read(name: str, default: object) -> str:
        return environment.get(name) or str(default)

    return CloudConfig(
        segmind_url=read("SEGMIND_BASE_URL", "").rstrip("/"),
        history_url=read("SEGMIND_HISTORY_URL", "").rstrip("/"),
        key=read("SEGMIND_API_KEY", LOCAL_KEY),
        wait_scale=float(read("WAIT_SCALE", CloudConfig.wait_scale)),
        auth=read("AUTH", "true").lower() in ("1", "true", "yes"),
        port=int(read("PORT", CloudConfig.port)),
        requests_per_minute=int(read("REQUESTS_PER_MINUTE", CloudConfig.requests_per_minute)),
        daily_budget_usd=float(read("DAILY_BUDGET_USD", CloudConfig.daily_budget_usd)),
    )


def down() -> None:
    """Stop the embedded cloud that `up` started."""
    if not OUTPUTS.exists():
        print("It is not running.")
        return
    pids = json.loads(OUTPUTS.read_text())["Pids"]
    stop([pid for pid in pids if _is_ours(pid)])
    OUTPUTS.unlink()
    print("Stopped.")


def _is_ours(pid: int) -> bool:
    """Tell whether a process is ours; after a restart of the machine its ID may be another's."""
    command = Path(f"/proc/{pid}/cmdline")
    words = command.read_bytes() if command.exists() else b""
    return b"ministack" in words or b"local.simulator" in words


if __name__ == "__main__":
    main()

"""Start the servers of an embedded cloud: MiniStack and the Segmind simulator."""

import json
import shutil
import sys
from pathlib import Path

import httpx

from .config import REGION, CloudConfig
from .processes import clean_environment, free_port, spawn, wait_until_ready

MIN_CREDITS_USD = 100


def start_ministack(config: CloudConfig, folder: Path, pids: list[int]) -> str:
    """Start MiniStack with empty state and return its endpoint.

    Parameters:
        config: the embedded cloud's configuration.
        folder: for its state and log.
        pids: gets its process ID as soon as there is one, so that the caller can stop it.
    """
    port = config.port or free_port()
    home, log = folder / "ministack", folder / "ministack.log"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    settings = {
        # Nothing listens beyond the loopback interface.
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "AUTH": str(config.auth).lower(),
        "SFN_WAIT_SCALE": str(config.wait_scale),
        "MINISTACK_REGION": REGION,
        # Nothing is written outside the folder.
        "STATE_DIR": str(home / "state"),
        "S3_DATA_DIR": str(home / "s3"),
        "TMPDIR": str(home),
    }
    command = [str(Path(sys.executable).with_name("ministack"))]
    environment = clean_environment(home) | settings | dict(config.environment)
    pids.append(spawn(command, environment, log))

    endpoint = f"http://127.0.0.1:{port}"

    def is_healthy() -> bool:
        return httpx.get(f"{endpoint}/_ministack/health", trust_env=False).is_success

    wait_until_ready(is_healthy, pids[-1], log)
    return endpoint


def start_simulator(config: CloudConfig, folder: Path, pids: list[int]) -> str:
    """Start the Segmind simulator and return its URL; parameters as for `start_ministack`."""
    ready_file, log = folder / "simulator.json", folder / "simulator.log"
    ready_file.unlink(missing_ok=True)
    options = {
        "--port": "0",
        "--key": config.key,
        "--requests-per-minute": str(config.scaled_requests),
        "--ready-file": str(ready_file),
        # A batch must not run out of credits before it exhausts the stack's budget.
        "--credits": f"{max(MIN_CREDITS_USD, config.daily_budget_usd):g}",
    }
    command = [sys.executable, "-m", "local.simulator"]
    for name, value in options.items():
        command += [name, value]
    pids.append(spawn([*command, *config.simulator], clean_environment(folder), log))
    wait_until_ready(ready_file.exists, pids[-1], log)
    url: str = json.loads(ready_file.read_text())["url"]
    return url

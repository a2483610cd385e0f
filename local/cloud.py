"""The embedded cloud: MiniStack on loopback, fenced, with the unchanged template deployed on it, beside the Segmind simulator."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".local"
OUTPUTS = HOME / "outputs.json"
STACK = "retake"
ARTIFACTS = "retake-artifacts"
REGION = "eu-central-1"
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
MOST_REQUESTS = 10_000  # a minute; what the template allows
LOCAL_KEY = "SG_local_simulator"


@dataclass(frozen=True)
class Wanted:
    """How the embedded cloud shall be.

    Parameters: `segmind_url` and `history_url`, another server that speaks Segmind's contract (empty: our simulator);
    `key`, the API key it takes; `wait_scale`, the factor on every wait of the state machine; `auth`, whether roles are enforced;
    `port`, 0 for a free one; `requests_per_minute`, in the pipeline's own, scaled minutes; `daily_budget_usd`;
    `parameters`, further parameters of the stack; `simulator`, further options of the simulator;
    `environment`, further variables of MiniStack and so of every function, for tests that break them.
    """

    segmind_url: str = ""
    history_url: str = ""
    key: str = LOCAL_KEY
    wait_scale: float = 0.02
    auth: bool = True
    port: int = 0
    requests_per_minute: int = 50
    daily_budget_usd: float = 1000
    parameters: Mapping[str, str] = field(default_factory=dict)
    simulator: tuple[str, ...] = ("--render-seconds", "2")
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def scaled_requests(self) -> int:
        """What the minute's requests are when a scaled minute is shorter."""
        return min(MOST_REQUESTS, round(self.requests_per_minute / min(1.0, max(self.wait_scale, 0.001))))


@dataclass(frozen=True)
class Cloud:
    """A running embedded cloud: `outputs` holds its addresses and names, `pids` its processes."""

    outputs: dict[str, str]
    pids: list[int]

    def client(self, service: str, **options: Any) -> Any:
        """Make a boto3 client for it."""
        return boto3.client(service, endpoint_url=self.outputs["Endpoint"], **CREDENTIALS, **options)

    def table(self) -> Any:
        """Give its jobs table."""
        resource = boto3.resource("dynamodb", endpoint_url=self.outputs["Endpoint"], **CREDENTIALS)
        return resource.Table(self.outputs["JobsTableName"])


@contextmanager
def running(wanted: Wanted, folder: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[Cloud]:
    """Run an embedded cloud as long as the context lasts; `folder` takes its files and logs."""
    cloud = start(wanted, folder, say)
    try:
        yield cloud
    finally:
        stop(cloud.pids)


def start(wanted: Wanted, folder: Path, say: Callable[[str], None] = lambda _: None) -> Cloud:
    """Start everything and deploy; what was started is stopped again when something fails."""
    folder.mkdir(parents=True, exist_ok=True)
    pids: list[int] = []
    try:
        segmind, history = wanted.segmind_url, wanted.history_url
        if not segmind:
            say("starting the Segmind simulator")
            segmind = _start_simulator(wanted, folder, pids)
        history = history or f"{segmind}/inference-request"
        say("starting MiniStack")
        endpoint = _start_ministack(wanted, folder, pids)
        say("deploying template.yaml")
        given = {"SegmindApiKey": wanted.key, "SegmindBaseUrl": segmind, "SegmindHistoryUrl": history}
        given |= {"RequestsPerMinute": str(wanted.scaled_requests), "DailyBudgetUsd": f"{wanted.daily_budget_usd:g}"}
        outputs = deploy(endpoint, given | dict(wanted.parameters), folder)
        return Cloud({"Endpoint": endpoint, "Region": REGION, "Simulator": segmind} | outputs, pids)
    except BaseException:
        stop(pids)
        raise


def stop(pids: list[int]) -> None:
    """Stop processes that `start` started, with their functions, and wait for their end."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(_alive(pid) for pid in pids):
        time.sleep(0.05)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def deploy(
    endpoint: str, parameters: Mapping[str, str], folder: Path, template: Path = ROOT / "template.yaml", stack: str = STACK
) -> dict[str, str]:
    """Package and deploy the template as it is; gives the stack's outputs."""
    cloudformation = boto3.client("cloudformation", endpoint_url=endpoint, **CREDENTIALS)
    s3 = boto3.client("s3", endpoint_url=endpoint, **CREDENTIALS)
    if ARTIFACTS not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=ARTIFACTS, CreateBucketConfiguration={"LocationConstraint": REGION})
    packaged = folder / "packaged.yaml"
    _aws(endpoint, "package", f"--template-file={template}", f"--s3-bucket={ARTIFACTS}", f"--output-template-file={packaged}")
    overrides = ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())] if parameters else []
    capabilities = ["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--no-fail-on-empty-changeset"]
    _aws(endpoint, "deploy", f"--template-file={packaged}", f"--stack-name={stack}", *capabilities, *overrides)
    made = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in made.get("Outputs", ())}


def _aws(endpoint: str, verb: str, *arguments: str) -> None:
    names = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": endpoint}
    command = [sys.executable, "-m", "awscli", "cloudformation", verb, *arguments]
    done = subprocess.run(command, env=_clean_environment(HOME) | names, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"aws cloudformation {verb} failed:\n{done.stdout}{done.stderr}")


def _start_ministack(wanted: Wanted, folder: Path, pids: list[int]) -> str:
    port = wanted.port or _free_port()
    home = folder / "ministack"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    fence = {
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "AUTH": str(wanted.auth).lower(),
        "SFN_WAIT_SCALE": str(wanted.wait_scale),
        "MINISTACK_REGION": REGION,
        "STATE_DIR": str(home / "state"),
        "S3_DATA_DIR": str(home / "s3"),
        "TMPDIR": str(home),
    }
    _spawn(
        [str(Path(sys.executable).with_name("ministack"))],
        _clean_environment(home) | fence | dict(wanted.environment),
        folder / "ministack.log",
        pids,
    )
    endpoint = f"http://127.0.0.1:{port}"
    _await(lambda: httpx.get(f"{endpoint}/_ministack/health", trust_env=False).is_success, pids[-1], folder / "ministack.log")
    return endpoint


def _start_simulator(wanted: Wanted, folder: Path, pids: list[int]) -> str:
    ready = folder / "simulator.json"
    ready.unlink(missing_ok=True)
    options = ["--port", "0", "--key", wanted.key, "--requests-per-minute", str(wanted.scaled_requests), "--ready-file", str(ready)]
    options += ["--credits", f"{max(100, wanted.daily_budget_usd):g}"]  # or a batch would stop where its budget does not
    command = [sys.executable, "-m", "local.simulator", *options, *wanted.simulator]
    _spawn(command, _clean_environment(folder), folder / "simulator.log", pids)
    _await(ready.exists, pids[-1], folder / "simulator.log")
    url: str = json.loads(ready.read_text())["url"]
    return url


def _spawn(command: list[str], environment: Mapping[str, str], log: Path, pids: list[int]) -> None:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    pids.append(process.pid)


def _await(is_ready: Callable[[], bool], pid: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _alive(pid):
        try:
            if is_ready():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"it did not start; its last words:\n{log.read_text(errors='replace')[-2000:]}")


def _clean_environment(home: Path) -> dict[str, str]:
    """The environment of a server is inherited by every function, so it holds next to nothing."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _alive(pid: int) -> bool:
    """Tell whether a process that leads its session, or any of those it started, still runs."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    processes = list(Path("/proc").glob("[0-9]*/stat"))
    if not processes:  # no Linux
        with suppress(ProcessLookupError):
            os.killpg(pid, 0)
            return True
        return False
    for process in processes:
        with suppress(OSError):  # it has ended meanwhile
            state, _, _, session = process.read_text().rpartition(")")[2].split()[:4]
            if session == str(pid) and state not in "ZX":
                return True
    return False


def _up() -> None:
    if OUTPUTS.exists():
        sys.exit(f"it is up already ({OUTPUTS.relative_to(ROOT)}); `make down` first")
    given = os.environ
    wanted = Wanted(
        segmind_url=given.get("SEGMIND_BASE_URL", "").rstrip("/"),
        history_url=given.get("SEGMIND_HISTORY_URL", "").rstrip("/"),
        key=given.get("SEGMIND_API_KEY") or LOCAL_KEY,
        wait_scale=float(given.get("WAIT_SCALE") or Wanted.wait_scale),
        auth=(given.get("AUTH") or "true").lower() in ("1", "true", "yes"),
        port=int(given.get("PORT") or 0),
        requests_per_minute=int(given.get("REQUESTS_PER_MINUTE") or Wanted.requests_per_minute),
        daily_budget_usd=float(given.get("DAILY_BUDGET_USD") or Wanted.daily_budget_usd),
    )
    cloud = start(wanted, HOME / "up", lambda step: print(f"  {step}", flush=True))
    OUTPUTS.write_text(json.dumps(cloud.outputs | {"Pids": cloud.pids}, indent=2) + "\n")
    print(f"up; its addresses and names are in {OUTPUTS.relative_to(ROOT)}:")
    for name, value in cloud.outputs.items():
        print(f"  {name:24} {value}")
    print('drop a clip: .venv/bin/retake drop clip.mp4 --prompt "a watercolour" --wait; `make down` ends it')


def _down() -> None:
    if not OUTPUTS.exists():
        print("it is not up")
        return
    stop([pid for pid in json.loads(OUTPUTS.read_text())["Pids"] if _ours(pid)])
    OUTPUTS.unlink()
    print("down")


def _ours(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline")
    words = command.read_bytes() if command.exists() else b""
    return b"ministack" in words or b"local.simulator" in words


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    (_up if parser.parse_args().verb == "up" else _down)()

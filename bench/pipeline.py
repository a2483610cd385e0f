"""Compare the whole pipeline with the official SDK's loop and a 30 s poller, in scaled time.

All of them use the same simulator; the pipeline runs on the embedded cloud. A scaled minute lasts
`scale` minutes: renders, waits and the request limit are scaled alike, but the emulator and the
functions are not. A scaled second of lag therefore contains much more of their time than a real one
would, and hops are given as shares of one another: for a job that is alone, and for all at once.
The peers poll as documented, with the key's request limit but no budget of their own, and deliver
nothing.
"""

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any

import httpx
import segmind  # type: ignore[import-untyped]

from bench.renders import USUAL, lognormal
from local.cloud import LOCAL_KEY, CloudConfig, running
from local.simulator import Settings, Simulator
from retake.aws import dynamodb
from retake.domain.job import Job, State
from tests.support import media
from tests.support.stack import Stack

REQUESTS_PER_MINUTE = 50
ENOUGH_USD = 1e6  # so that nothing is held for money
JOBS_ALONE = 4
# A drop counts as a state that the job enters when it is dropped. What lies between RENDERING and
# FETCHING is the render and its lag, and no hop.
DROPPED = "dropped"
HOPS = (
    (DROPPED, State.CLAIMED),
    (State.CLAIMED, State.SUBMITTING),
    (State.SUBMITTING, State.RENDERING),
    (State.FETCHING, State.FINISHING),
    (State.FINISHING, State.DELIVERED),
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One run of a contender.

    Attributes:
        jobs: how many jobs, all at once.
        seed: seed of the renders.
        scale: real seconds per scaled second.
    """

    jobs: int
    seed: int
    scale: float = 0.1

    def renders(self) -> list[float]:
        """Draw the real seconds of the renders."""
        random = Random(self.seed)
        return [lognormal(random, *USUAL) * self.scale for _ in range(self.jobs)]

    def config(self) -> CloudConfig:
        """Return the embedded cloud's configuration."""
        return CloudConfig(
            wait_scale=self.scale,
            requests_per_minute=REQUESTS_PER_MINUTE,
            daily_budget_usd=ENOUGH_USD,
            simulator=("--credits", str(ENOUGH_USD)),
        )


def retake(trial: Trial) -> Row:
    """Drop clips into the embedded cloud and wait until all retakes are delivered."""
    with tempfile.TemporaryDirectory() as folder, running(trial.config(), Path(folder)) as cloud:
        stack = Stack(cloud)
        clip = media.clip(Path(folder, "clip.mp4"))
        alone = _hops_alone(stack, clip, trial)
        for number, seconds in enumerate(trial.renders()):
            settings = {"render_seconds": seconds}
            stack.rule(endpoint="submit", match=f"/{number}.mp4", settings=settings)
        before, start = stack.ledger(), time.time()
        dropped = {}
        for number in range(trial.jobs):
            key = f"{number}.mp4"
            stack.drop_pair(key, clip, {"prompt": str(number)})
            dropped[key] = time.time()
        stack.eventually(lambda: _count_delivered(stack, dropped) == trial.jobs, "all delivered")
        seconds = time.time() - start
        figures = _figures(trial, seconds, trial.jobs, stack.ledger(), before)
        lag = _mean_lag(stack, dropped, trial)
        return figures | {"hops": _hops(stack, dropped), "hops_alone": alone, "lag": lag}


def _hops_alone(stack: Stack, clip: Path, trial: Trial) -> Row:
    """Let every function start, then drop jobs one at a time, and return their hops.

    The pipeline has learned nothing afterwards.
    """
    dropped: dict[str, float] = {}

    def all_delivered() -> bool:
        return _count_delivered(stack, dropped) == len(dropped)

    for number in range(trial.jobs + JOBS_ALONE):
        key = f"warm/{number}.mp4"
        stack.drop_pair(key, clip, {"prompt": key})
        dropped[key] = time.time()
        if number >= trial.jobs - 1:
            stack.eventually(all_delivered, "warm functions")
            stack.eventually(lambda: _all_settled(stack), "all settled")
    stack.table.delete_item(Key=dynamodb.key("renders"))
    return _hops(stack, dict(list(dropped.items())[trial.jobs :]))


def _all_settled(stack: Stack) -> bool:
    return all(job.follow_up is None for job in stack.jobs())


def _count_delivered(stack: Stack, keys: Collection[str]) -> int:
    """Sweep, as the schedule does every scaled minute, and count the delivered jobs."""
    stack.sweep()
    delivered = [job.key for job in stack.jobs() if job.state is State.DELIVERED]
    return sum(key in keys for key in delivered)


def _hops(stack: Stack, dropped: Mapping[str, float]) -> Row:
    """Return the median and maximum seconds of each hop.

    Parameters:
        stack: the pipeline.
        dropped: when each clip was dropped, in seconds since the epoch.
    """
    jobs = [job for job in stack.jobs() if job.key in dropped]
    hops = {}
    for first, then in HOPS:
        seconds = []
        for job in jobs:
            at = {DROPPED: dropped[job.key]} | _entered(job)
            seconds.append(at[then] - at[first])
        name = f"{first.lower()} to {then.lower()}"
        hops[name] = {"p50": median(seconds), "most": max(seconds)}
    return hops


def _entered(job: Job) -> dict[str, float]:
    """Return when a job entered each state, in seconds since the epoch."""
    return {state: at.timestamp() for state, at in job.entered.items()}


def _mean_lag(stack: Stack, keys: Collection[str], trial: Trial) -> float:
    """Return the mean scaled seconds between the end of a render and the poll that sees it."""
    lags = []
    for job in stack.jobs():
        if job.key in keys:
            path = f"/inference-request/request-history/{job.request_id}"
            ended = _end_of_render(stack.segmind("GET", path))
            lags.append((_entered(job)[State.FETCHING] - ended) / trial.scale)
    return fmean(lags)


def _end_of_render(row: Row) -> float:
    """Return when a render ended, from a row of Segmind's history."""
    created = datetime.fromisoformat(row["model_created"]).timestamp()
    return created + float(row["latency_ms"]) / 1000


@dataclass(frozen=True)
class SdkLoop:
    """The official SDK's submit and wait, for all jobs at once.

    Attributes:
        interval: scaled seconds between two polls.
    """

    interval: float

    def __call__(self, trial: Trial) -> Row:
        """Run all jobs."""
        with (
            _simulator(trial) as simulator,
            tempfile.TemporaryDirectory() as folder,
            _serving(media.clip(Path(folder, "clip.mp4"))) as clips,
            ThreadPoolExecutor(trial.jobs) as pool,
        ):
            for number, seconds in enumerate(trial.renders()):
                settings = {"render_seconds": seconds}
                simulator.add_rule("submit", match=f"/{number}.mp4", settings=settings)
            start = time.time()
            urls = [f"{clips}/{number}.mp4" for number in range(trial.jobs)]
            ends = list(pool.map(lambda url: self._follow(simulator, url, trial), urls))
            seconds = time.time() - start
            figures = _figures(trial, seconds, sum(end.is_seen for end in ends), simulator.ledger())
            lags = [end.lag for end in ends if end.lag is not None]
            return figures | {"lag": fmean(lags) if lags else None}

    def _follow(self, simulator: Simulator, clip_url: str, trial: Trial) -> "End":
        """Submit one job and wait for its end."""
        client = segmind.SegmindClient(api_key=LOCAL_KEY, base_url=f"{simulator.url}/v1")
        prompt = Path(clip_url).stem
        try:
            job = client.submit_async("modify-video", video_url=clip_url, prompt=prompt)
            job.wait(timeout=3600 * trial.scale, interval=self.interval * trial.scale)
            seen = time.time()
            row = httpx.get(
                f"{simulator.history_url}/request-history/{job.request_id}",
                headers={"x-api-key": LOCAL_KEY},
                trust_env=False,
            ).json()
        except (segmind.SegmindError, httpx.HTTPError):  # a 429 ends its loop
            return End(is_seen=False)
        if "model_created" not in row:  # the request limit holds for the history, too
            return End(is_seen=True)
        return End(is_seen=True, lag=(seen - _end_of_render(row)) / trial.scale)


@dataclass(frozen=True)
class End:
    """How following a job ended.

    Attributes:
        is_seen: whether the job was seen to end.
        lag: after how many scaled seconds; `None` if Segmind's history does not tell.
    """

    is_seen: bool
    lag: float | None = None


@contextmanager
def _simulator(trial: Trial) -> Iterator[Simulator]:
    requests = trial.config().scaled_requests
    settings = Settings(credits=ENOUGH_USD, requests_per_minute=requests)
    with Simulator(settings).running() as simulator:
        yield simulator


@contextmanager
def _serving(clip: Path) -> Iterator[str]:
    """Serve one clip under every name."""

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = clip.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _figures(
    trial: Trial, seconds: float, done: int, ledger: Row, before: Row | None = None
) -> Row:
    """Return the figures that all contenders share.

    Parameters:
        trial: the run.
        seconds: how long it took.
        done: how many jobs were delivered, or seen to end.
        ledger: the simulator's ledger afterwards.
        before: the ledger at the start; empty if there was nothing before.
    """
    before = before or {"calls": {}, "paid_requests": 0}
    calls = Counter({name: sum(counts.values()) for name, counts in ledger["calls"].items()})
    calls.subtract({name: sum(counts.values()) for name, counts in before["calls"].items()})
    return {
        "jobs": trial.jobs,
        "done": done,
        "submits": calls["submit"] / trial.jobs,
        "statuses": calls["status"] / trial.jobs,
        "results": calls["result"] / trial.jobs,
        "rate_limited": ledger["rate_limited"],
        "paid": ledger["paid_requests"] - before["paid_requests"],
        "jobs_per_minute": done / (seconds / trial.scale / 60),
    }


AWS_SAMPLE = "every 30 s (AWS sample)"
WAYS: dict[str, Callable[[Trial], Row]] = {
    "retake": retake,
    "the SDK's loop, every 2 s": SdkLoop(2),
    AWS_SAMPLE: SdkLoop(30),
}


def rows(jobs: int = 12, seeds: int = 2) -> list[Row]:
    """Run the contenders in turns; return a row for each, with the figures of every seed."""
    runs: dict[str, list[Row]] = {way: [] for way in WAYS}
    for seed in range(seeds):
        for way, run in WAYS.items():
            runs[way].append(run(Trial(jobs, seed)))
    return [{"way": way, "runs": found} for way, found in runs.items()]


def quick_rows() -> list[Row]:
    """Run one contender that needs no embedded cloud, to test that the measurement works."""
    return [{"way": AWS_SAMPLE, "runs": [WAYS[AWS_SAMPLE](Trial(jobs=2, seed=0, scale=0.01))]}]


COLUMNS = {
    "paid": "paid",
    "done": "delivered or seen",
    "submits": "submits per job",
    "statuses": "statuses per job",
    "results": "results per job",
    "rate_limited": "429s",
    "lag": "mean lag, scaled s",
    "jobs_per_minute": "jobs per scaled min",
}


def markdown(table: list[Row]) -> str:
    """Write the rows as Markdown tables."""
    lines = list(_figures_table(table))
    runs = [run for row in table for run in row["runs"] if "hops" in run]
    if runs:
        lines += ["", *_hops_table(runs)]
    return "\n".join(lines)


def _figures_table(table: list[Row]) -> Iterator[str]:
    yield f"| way | {' | '.join(COLUMNS.values())} |"
    yield "|---" * (1 + len(COLUMNS)) + "|"
    for row in table:
        cells = [_cell([run[name] for run in row["runs"]]) for name in COLUMNS]
        yield f"| {row['way']} | {' | '.join(cells)} |"


def _cell(values: list[float | None]) -> str:
    """Write the median, and the minimum and maximum if they differ."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    spread = f" ({min(known):.3g}–{max(known):.3g})" if len(set(known)) > 1 else ""
    return f"{median(known):.3g}{spread}"


def _hops_table(runs: list[Row]) -> Iterator[str]:
    yield (
        "| hop, in a warm pipeline | share for a job alone | share for all at once "
        "| all at once ÷ alone |"
    )
    yield "|---|---|---|---|"
    alone, at_once = _medians(runs, "hops_alone"), _medians(runs, "hops")
    for hop, seconds in alone.items():
        share_alone = seconds / sum(alone.values())
        share_at_once = at_once[hop] / sum(at_once.values())
        ratio = at_once[hop] / seconds
        yield f"| {hop} | {share_alone:.0%} | {share_at_once:.0%} | {ratio:.1f} |"


def _medians(runs: list[Row], name: str) -> dict[str, float]:
    """Return the median seconds of each hop."""
    return {hop: median(run[name][hop]["p50"] for run in runs) for hop in runs[0][name]}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Compare the pipeline with its peers.")
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print(markdown(rows(options.jobs, options.seeds)))


if __name__ == "__main__":
    main()

"""The whole pipeline on the embedded cloud, beside the official SDK's loop and a 30 s poller, against the same simulator in scaled time.

A scaled minute lasts `SCALE` minutes: renders (log-normal, mean 164 s, sd 40 s, from the seed), waits and the request limit are scaled
alike, the emulator and the functions are not. So a scaled second of lag holds much more of their time than a real one would; hops are
therefore given as shares of one another: of a job that is alone, and of all at once. Peers poll as they are documented to, with
the key's request limit but no budget of their own, and deliver nothing.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any

import httpx
import segmind  # type: ignore[import-untyped]

from bench.waiting import lognormal
from local.cloud import LOCAL_KEY, Wanted, running
from local.simulator import Settings, Simulator
from tests import media
from tests.stack import Stack

SCALE = 0.1
REQUESTS = 50  # a minute
MEAN, SD = 164, 40  # seconds of a render
PRICED = 1e6  # USD at the simulator


def renders(jobs: int, seed: int) -> list[float]:
    """Draw the renders' real, scaled seconds."""
    random = Random(seed)
    return [lognormal(random, MEAN, SD) * SCALE for _ in range(jobs)]


def retake(jobs: int, seed: int) -> dict[str, Any]:
    """Drop pairs into the embedded cloud and wait until all are delivered."""
    wanted = Wanted(wait_scale=SCALE, requests_per_minute=REQUESTS, daily_budget_usd=PRICED, simulator=("--credits", str(PRICED)))
    with tempfile.TemporaryDirectory() as folder, running(wanted, Path(folder)) as cloud:
        stack = Stack(cloud)
        clip = media.clip(Path(folder, "clip.mp4"))
        alone = _warm(stack, clip, jobs)
        for number, seconds in enumerate(renders(jobs, seed)):
            stack.rule(endpoint="submit", match=f"/{number}.mp4", settings={"render_seconds": seconds})
        before, began = stack.ledger(), time.time()
        dropped = {}
        for number in range(jobs):
            stack.drop_pair(f"{number}.mp4", clip, {"prompt": str(number)})
            dropped[f"{number}.mp4"] = time.time()
        try:
            stack.eventually(lambda: _swept(stack, dropped) == jobs, "all delivered")
        finally:
            taken = time.time() - began
        rows = [job for job in stack.jobs() if job["key"] in dropped]
        return _figures(jobs, taken, stack.ledger(), before) | _hops(stack, rows, dropped) | {"hops_alone": alone}


def _warm(stack: Stack, clip: Path, jobs: int) -> dict[str, Any]:
    """Let every function start, then drop four jobs one after the other, and forget what was learned; gives the hops of those four."""
    keys = {f"warm/{number}.mp4": 0.0 for number in range(jobs + 4)}
    for number, key in enumerate(keys):
        stack.drop_pair(key, clip, {"prompt": key})
        keys[key] = time.time()
        if number >= jobs - 1:
            stack.eventually(lambda: _swept(stack, keys) == number + 1, "warm functions")  # noqa: B023 - at once
            stack.eventually(lambda: all("queue" not in job for job in stack.jobs()), "all settled")
    stack.table.delete_item(Key={"pk": "renders", "sk": "renders"})
    alone = dict(list(keys.items())[jobs:])
    hops: dict[str, Any] = _hops(stack, [job for job in stack.jobs() if job["key"] in alone], alone)["hops"]
    return hops


def _swept(stack: Stack, keys: dict[str, float]) -> int:
    stack.sweep()  # as the schedule does, in scaled minutes
    return sum(job["state"] == "DELIVERED" and job["key"] in keys for job in stack.jobs())


def _hops(stack: Stack, rows: list[dict[str, Any]], dropped: dict[str, float]) -> dict[str, Any]:
    """Give the seconds between the stamps of each job."""
    steps = ("dropped", "CLAIMED", "SUBMITTING", "RENDERING", "DELIVERING", "DELIVERED")
    hops: dict[str, list[float]] = {f"{first.lower()} to {then.lower()}": [] for first, then in pairwise(steps) if first != "RENDERING"}
    lags = []
    for job in rows:
        at = {state: datetime.fromisoformat(stamp).timestamp() for state, stamp in job["times"].items()} | {"dropped": dropped[job["key"]]}
        history = stack.segmind("GET", f"/inference-request/request-history/{job['request_id']}")
        ended = datetime.fromisoformat(history["model_created"]).timestamp() + history["latency_ms"] / 1000
        lags.append((at["DELIVERING"] - ended) / SCALE)
        for first, then in pairwise(steps):
            if first != "RENDERING":  # the render and its lag
                hops[f"{first.lower()} to {then.lower()}"].append(at[then] - at[first])
    return {"hops": {name: {"p50": median(values), "most": max(values)} for name, values in hops.items()}, "lag": fmean(lags)}


def polling(interval: float) -> Callable[[int, int], dict[str, Any]]:
    """Make a contender: the official SDK's submit and wait, all jobs at once, polling at a fixed interval (unscaled seconds)."""

    def run(jobs: int, seed: int) -> dict[str, Any]:
        with _simulator() as simulator, tempfile.TemporaryDirectory() as folder, _serving(media.clip(Path(folder, "clip.mp4"))) as clip:
            for number, seconds in enumerate(renders(jobs, seed)):
                simulator.add_rule("submit", match=f"/{number}.mp4", settings={"render_seconds": seconds})
            began = time.time()
            lags: list[float] = []

            def one(number: int) -> bool:
                client = segmind.SegmindClient(api_key=LOCAL_KEY, base_url=f"{simulator.url}/v1")
                try:
                    job = client.submit_async("modify-video", video_url=f"{clip}/{number}.mp4", prompt=str(number))
                    job.wait(timeout=3600 * SCALE, interval=interval * SCALE)
                    seen = time.time()
                    row = httpx.get(
                        f"{simulator.history_url}/request-history/{job.request_id}", headers={"x-api-key": LOCAL_KEY}, trust_env=False
                    ).json()
                    if "model_created" in row:
                        ended = datetime.fromisoformat(row["model_created"]).timestamp() + row["latency_ms"] / 1000
                        lags.append((seen - ended) / SCALE)
                except (segmind.SegmindError, httpx.HTTPError):  # a 429 ends its loop
                    return False
                return True

            with ThreadPoolExecutor(jobs) as pool:
                through = sum(pool.map(one, range(jobs)))
            return _figures(jobs, time.time() - began, simulator.ledger(), through=through) | {"lag": fmean(lags) if lags else None}

    return run


@contextmanager
def _simulator() -> Iterator[Simulator]:
    wanted = Wanted(wait_scale=SCALE, requests_per_minute=REQUESTS)
    with Simulator(Settings(credits=PRICED, requests_per_minute=wanted.scaled_requests)).running() as simulator:
        yield simulator


@contextmanager
def _serving(clip: Path) -> Iterator[str]:
    """Serve one clip under every name."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = clip.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _figures(
    jobs: int, seconds: float, ledger: dict[str, Any], before: dict[str, Any] | None = None, through: int | None = None
) -> dict[str, Any]:
    through = jobs if through is None else through
    first = {name: sum(counts.values()) for name, counts in (before or {"calls": {}})["calls"].items()}
    calls = {name: sum(counts.values()) - first.get(name, 0) for name, counts in ledger["calls"].items()}
    return {
        "jobs": jobs,
        "through": through,
        "submits": calls.get("submit", 0) / jobs,
        "statuses": calls.get("status", 0) / jobs,
        "results": calls.get("result", 0) / jobs,
        "limited": ledger["rate_limited"],
        "paid": ledger["paid_requests"] - (before["paid_requests"] if before else 0),
        "jobs_per_minute": through / (seconds / SCALE / 60),
    }


WAYS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "retake": retake,
    "the SDK's loop, every 2 s": polling(2),
    "every 30 s (AWS sample)": polling(30),
}


def rows(jobs: int = 12, seeds: int = 2, ways: tuple[str, ...] = tuple(WAYS)) -> list[dict[str, Any]]:
    """Run the contenders in turns; a row for each, with the figures of every seed."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for seed in range(seeds):
        for way in ways:
            runs[way].append(WAYS[way](jobs, seed))
    return [{"way": way, "runs": found} for way, found in runs.items()]


def markdown(table: list[dict[str, Any]]) -> str:
    """Write the rows as Markdown tables."""
    columns = ["paid", "through", "submits", "statuses", "results", "limited", "lag", "jobs_per_minute"]
    heads = (
        "way | paid | delivered or seen | submits a job | statuses a job | results a job | 429s | mean lag, scaled s | jobs a scaled min"
    )
    lines = [f"| {heads} |", "|---" * 9 + "|"]
    for row in table:
        cells = []
        for name in columns:
            values = [run[name] for run in row["runs"] if run[name] is not None]
            spread = f" ({min(values):.3g}–{max(values):.3g})" if len(set(values)) > 1 else ""
            cells.append(f"{median(values):.3g}{spread}" if values else "–")
        lines.append(f"| {row['way']} | {' | '.join(cells)} |")
    ours = [run for row in table for run in row["runs"] if "hops" in run]
    if ours:
        lines += [
            "",
            "| hop, in a warm pipeline | share for a job alone | share for all at once | all at once ÷ alone |",
            "|---|---|---|---|",
        ]
        alone, at_once = ({hop: median(run[name][hop]["p50"] for run in ours) for hop in ours[0][name]} for name in ("hops_alone", "hops"))
        for hop, seconds in alone.items():
            shares = f"{seconds / sum(alone.values()):.0%} | {at_once[hop] / sum(at_once.values()):.0%}"
            lines.append(f"| {hop} | {shares} | {at_once[hop] / seconds:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description="The pipeline beside its peers, at the simulator's ledger.")
    options.add_argument("--jobs", type=int, default=12)
    options.add_argument("--seeds", type=int, default=2)
    given = options.parse_args()
    sys.stdout.write(markdown(rows(given.jobs, given.seeds)) + "\n")


if __name__ == "__main__":
    main()

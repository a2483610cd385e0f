"""Measure how many jobs per minute get through at a request limit, with many more jobs dropped.

Run `python -m bench.throughput`. The time is simulated; admission control and the poll schedule are
the product's own, and start with nothing learned. Held jobs are woken as in the pipeline: by the
end of another job, and by `sweep` every minute, up to ten at a time.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from statistics import fmean, median
from typing import Any

from bench.polling import RELEARN_JOBS
from bench.renders import USUAL, lognormal
from retake.domain.admission import Admission, Denial, Quotas
from retake.domain.poll_schedule import PollSchedule
from tests.support.jobs import new_job

JOBS = 400
WAKE_LIMIT = 10  # held jobs that are woken at a time
SWEEP_SECONDS = 60
REQUEST_LIMITS = (5, 50, 500)  # per minute
Event = Callable[[float], None]  # gets the time at which it happens


class Simulation:
    """Jobs that are dropped at once and wait for one admission control.

    Attributes:
        waiting: the jobs that are not admitted yet.
        requests: the times of all requests.
        renders: the seconds of all renders that have ended.
        lags: the seconds between the end of each render and its poll.
        ends: the times at which jobs ended.
    """

    def __init__(self, quotas: Quotas, jobs: int, seed: int) -> None:
        self.waiting = [new_job(f"j{number}") for number in reversed(range(jobs))]
        self.requests: list[float] = []
        self.renders: list[float] = []
        self.lags: list[float] = []
        self.ends: list[float] = []
        self._random = Random(seed)
        self._quotas = quotas
        self._admission = Admission()
        self._schedule = PollSchedule.learn()
        self._events: list[tuple[float, int, Event]] = []
        self._order = count()

    def run(self) -> None:
        """Let time pass until all jobs have ended."""
        self._at(0.0, self._sweep)
        while self._events:
            now, _, event = heappop(self._events)
            event(now)

    def _at(self, when: float, event: Event) -> None:
        heappush(self._events, (when, next(self._order), event))

    def _sweep(self, now: float) -> None:
        self._wake(now)
        if self.waiting:
            self._at(now + SWEEP_SECONDS, self._sweep)

    def _wake(self, now: float) -> None:
        """Submit jobs until one is denied."""
        for _ in range(WAKE_LIMIT):
            if not self.waiting:
                return
            admitted = self._admission.admit(self.waiting[-1], self._quotas, now)
            if isinstance(admitted, Denial):
                return
            self._admission = admitted
            self.requests.append(now)
            self._follow(self.waiting.pop().id, now, lognormal(self._random, *USUAL))

    def _follow(self, job: str, start: float, render: float) -> None:
        """Poll a job until its end."""
        schedule = self._schedule.jittered(self._random.random())

        def poll(now: float, has_ended: bool = False) -> None:
            admitted = self._admission.request(self._quotas, now)
            if isinstance(admitted, Denial):
                later = now + admitted.retry_seconds
                self._at(later, lambda then: poll(then, has_ended))
                return
            self._admission = admitted
            self.requests.append(now)
            age = now - start
            if has_ended:
                self._end(job, now, render, age - render)
            elif age >= render:
                poll(now, has_ended=True)  # fetches the result at once
            else:
                stretch = admitted.stretch(self._quotas, now)
                self._at(now + schedule.seconds_until_next(age, 0, stretch), poll)

        self._at(start + schedule.seconds_until_next(0), poll)

    def _end(self, job: str, now: float, render: float, lag: float) -> None:
        self._admission = self._admission.release(job, now, cost_usd=0)
        self.ends.append(now)
        self.lags.append(lag)
        self.renders.append(render)
        if len(self.renders) % RELEARN_JOBS == 0:
            self._schedule = PollSchedule.learn(self.renders)
        self._wake(now)


def row(requests_per_minute: int, jobs: int = JOBS, seed: int = 1) -> dict[str, float]:
    """Run one simulation.

    Returns:
        Jobs per minute from the second to the third quarter, while enough jobs wait; the most
        requests in any minute; the mean lag in seconds; and more.
    """
    quotas = Quotas(requests_per_minute)
    simulation = Simulation(quotas, jobs, seed)
    simulation.run()
    requests, ends = simulation.requests, simulation.ends
    first, last = ends[jobs // 4], ends[-jobs // 4]
    ended_between = sum(first < end <= last for end in ends)
    busiest_minute = max(sum(start <= at < start + 60 for at in requests) for start in requests)
    return {
        "requests_per_minute": requests_per_minute,
        "max_in_flight": quotas.max_in_flight,
        "jobs_per_minute": round(60 * ended_between / (last - first), 2),
        "requests_per_job": round(len(requests) / jobs, 2),
        "max_requests_in_a_minute": busiest_minute,
        "mean_lag_in_s": round(fmean(simulation.lags), 1),
    }


def rows(jobs: int = JOBS, seeds: int = 3) -> list[dict[str, float]]:
    """Simulate several request limits and return the medians over the seeds."""
    table = []
    for limit in REQUEST_LIMITS:
        size = jobs if limit < 500 else 4 * jobs
        runs = [row(limit, size, seed) for seed in range(seeds)]
        table.append({name: median(run[name] for run in runs) for name in runs[0]})
    return table


def markdown(table: list[dict[str, Any]]) -> str:
    """Write rows as a Markdown table."""
    names = list(table[0])
    lines = [
        f"| {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * len(names) + "|",
    ]
    lines += [f"| {' | '.join(f'{row[name]:g}' for name in names)} |" for row in table]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(rows()))

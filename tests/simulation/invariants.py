"""What must hold in every history: the laws of the pipeline, stated without its code.

Some are watched at every write and request, the others are checked at the end.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from .aws import Execution
from .cloud import INPUT, OUTPUT, Cloud
from .drops import Plan
from .kernel import Kernel
from .segmind import Request, day_of

FORWARD = {
    None: {"CLAIMED", "REFUSED"},
    "CLAIMED": {"HELD", "SUBMITTING"},
    "HELD": {"SUBMITTING", "RENDERING"},
    "SUBMITTING": {"RENDERING", "HELD", "REFUSED", "SUBMIT_UNKNOWN"},
    "SUBMIT_UNKNOWN": {"RENDERING", "SUBMITTING", "HELD"},
    "RENDERING": {"FETCHING", "FAILED", "LOST"},
    "FETCHING": {"FINISHING", "LOST"},
    "FINISHING": {"DELIVERED", "LOST"},
    "DELIVERED": set[str](),
    "LOST": set[str](),
    "REFUSED": {"CLAIMED"},
    "FAILED": {"CLAIMED"},
}
PAID = {"DELIVERED", "LOST"}
OVERDUE_SECONDS = 900  # as the alarm says
ENDED = {"DELIVERED", "REFUSED", "FAILED", "LOST"}
SUFFIXES = (".job.json", ".error.json")


class Invariants:
    """Watches one history.

    Parameters:
        kernel: the clock.
        cloud: the stack.

    Attributes:
        problems: what did not hold.
        reached: how often a job went from one state to another, by the fault that its function
            had met.
    """

    def __init__(self, kernel: Kernel, cloud: Cloud) -> None:
        self._kernel, self._cloud = kernel, cloud
        self.problems: list[str] = []
        self.reached: Counter[tuple[str, str, str]] = Counter()
        self._clips: dict[str, bytes] = {}
        self._frames: dict[str, bytes | None] = {}
        self._over: set[str] = set()  # runs that have ended; their executions may go on for a while
        cloud.database.written = self._written
        self._pause_began = self._pause_ends = 0.0
        cloud.segmind.accepted = self._accepted
        cloud.segmind.arrived = self._arrived
        cloud.machine.started = self._started

    def note(self, problem: str) -> None:
        """Note a problem, where it happens in the trace."""
        self._kernel.log(f"PROBLEM: {problem}")
        self.problems.append(problem)

    # ─── While it runs ────────────────────────────────────────────────────────────────────────

    def _written(self, key: tuple[str, str], before: Any, after: Any) -> None:
        if key[0].startswith("job#"):
            self._job_written(before, after)
        elif key[0] == "admission":
            self._admission_written(after)

    def _job_written(self, before: Any, after: Any) -> None:
        if after is None:
            self.note(f"job {before['id']} was deleted")
            return
        old, new = before and before["state"], after["state"]
        if before and after["version"] <= before["version"]:
            self.note(f"job {after['id']} was overwritten")
        if old != new:
            self._kernel.log(f"{after['key']}: {old} -> {new} {after.get('reason', '')[:100]}")
            process = self._kernel.current
            for fault in (process and process.faults) or {"none"}:
                self.reached[str(old), new, fault] += 1
            if new in ENDED:
                self._over.add(f"{after['id']}-{after.get('run', 0)}")
            if new not in FORWARD[old]:
                self.note(f"{after['key']} went from {old} to {new}")
        paid = before and before.get("request_id")
        if paid and old != "FAILED" and after.get("request_id") != paid:
            self.note(f"{after['key']} lost its paid request {paid}")
        attention = new == "HELD" and after.get("hold_reason") == "attention"
        if new not in ENDED and "follow_up" not in after and not attention:
            self.note(f"nobody follows up {after['key']}, which is {new}")
        is_settled = old == new in ENDED and "follow_up" in before and "follow_up" not in after
        if is_settled and new != "REFUSED":
            self._check_announced(after)

    def _check_announced(self, job: Any) -> None:
        name = f"Retake {job['state'].capitalize()}"
        if not any(
            event["detail-type"] == name and event["detail"].get("job") == job["id"]
            for event in self._cloud.bus.events
        ):
            self.note(f"{job['key']} was settled without an event")

    def _admission_written(self, after: Any) -> None:
        limit = self._cloud.max_in_flight
        leases = after["leases"]["expire_at"]
        pause_ends = float(after["rate"].get("paused_until", 0))
        if pause_ends > self._pause_ends:
            self._pause_began, self._pause_ends = self._kernel.now, pause_ends
        active = [end for end in leases.values() if end > self._kernel.now + 2]
        if len(active) > limit:
            self.note(f"{len(active)} leases, but at most {limit} may be in flight")

    def _started(self, started: Execution) -> None:
        job_id = started.name.rpartition("-")[0]
        running = [
            each.name
            for each in self._cloud.machine.running()
            if each.name.startswith(f"{job_id}-") and each.name not in self._over
        ]
        if len(running) > 1:
            self.note(f"two executions for one job: {running}")

    def _arrived(self) -> None:
        # A request may have been admitted shortly before the pause, and clocks differ.
        if self._pause_began + 5 < self._kernel.now < self._pause_ends - 3:
            self.note("a request was made although Segmind had asked for a pause")

    def _accepted(self, request: Request) -> None:
        clip = self._cloud.file_of(request.body["video_url"])
        if clip is None:
            self.note(f"{request.clip_path} does not exist when its request is accepted")
            return
        self._clips[request.id] = clip
        self._frames[request.id] = self._cloud.file_of(request.body.get("first_frame_url", ""))
        same = [
            other
            for other in self._cloud.segmind.ledger
            if other.id != request.id and self._identity(other) == self._identity(request)
        ]
        if any(not other.fails or other.ends > request.created for other in same):
            self.note(f"paid twice: {request.clip_path} {request.body.get('prompt')!r}")

    def _identity(self, request: Request) -> tuple[bytes | None, str, bytes | None]:
        return self._clips.get(request.id), request.body.get("prompt", ""), self._frames[request.id]

    def check_punctual(self) -> None:
        """Check that nobody waits longer than promised for the next step, after the storm."""
        now = self._kernel.now
        for key, item in self._cloud.database.items.items():
            if item.get("follow_up") in (None, "held"):  # a held job waits for something else
                continue
            late = now - max(self._cloud.storm_ends, float(item["follow_up_at"]))
            if late > OVERDUE_SECONDS:
                self.note(f"{item.get('key', key)} was not followed up for {late:.0f} s")

    # ─── At the end ───────────────────────────────────────────────────────────────────────────

    def check(self, plans: list[Plan]) -> None:
        """Check what must hold when everything has come to its end."""
        self.problems += self._cloud.segmind.problems
        jobs = [item for key, item in self._cloud.database.items.items() if key[0][:4] == "job#"]
        self._check_money(jobs)
        self._check_leftovers(jobs)
        self._check_files(jobs)
        for plan in plans:
            self._check_answers(plan)

    def _check_money(self, jobs: list[Any]) -> None:
        known = {job["request_id"]: job for job in jobs if "request_id" in job}
        waits = [job for job in jobs if job["state"] not in ENDED]
        for request in self._cloud.segmind.ledger:
            if request.fails:
                continue
            job = known.get(request.id)
            if job is None and not waits:
                self.note(f"nobody knows the paid request {request.id}")
            elif job and job["state"] == "FAILED":
                self.note(f"{job['key']} is FAILED, but was paid")
        self._check_budget(known)
        billed = sum(each.usd for each in self._cloud.segmind.ledger if not each.fails)
        summed = sum(
            float(item["billed_usd"])
            for key, item in self._cloud.database.items.items()
            if key[0] == "costs"
        )
        unpriced = [job for job in jobs if job["state"] in PAID and "cost_usd" not in job]
        for job in unpriced:
            if job["request_id"] in {each.id for each in self._cloud.segmind.ledger}:
                self.note(f"the cost of {job['key']} is unknown, but in the history")
        if not waits and not unpriced and abs(billed - summed) > 1e-6:
            self.note(f"Segmind billed {billed:.3f} USD, but the sums say {summed:.3f}")

    def _check_budget(self, known: Mapping[str, Any]) -> None:
        """Check what was paid on a day, and what the budget says about the last one."""
        budgets: defaultdict[str, float] = defaultdict(float)
        for request in self._cloud.segmind.ledger:
            if not request.fails:
                job = known.get(request.id)
                # A budget is exceeded by no more than what the estimates were wrong.
                estimate = float(job["estimate"]["usd"]) if job else request.usd
                budgets[day_of(request.created)] += min(request.usd, estimate)
        for day, usd in budgets.items():
            if usd > self._cloud.budget_usd + 1e-6:
                self.note(f"requests for {usd:.2f} USD on {day}, over the budget")
        admission = self._cloud.database.items.get(("admission", "admission"))
        if admission is None:
            return
        budget = admission["budget"]
        spent = float(budget["spent_usd"])
        priced = {request for request, job in known.items() if "cost_usd" in job}
        paid = [
            each
            for each in self._cloud.segmind.ledger
            if not each.fails and day_of(each.created) == budget["day"]
        ]
        # A job may be booked just before midnight, and sent just after it.
        second = 86400
        sure = sum(
            each.usd
            for each in paid
            if each.id in priced and 300 < each.created % second < second - 300
        )
        most = sum(each.usd for each in paid)
        if not sure - 1e-6 <= spent <= most + 1e-6:
            self.note(f"{spent:.3f} USD are spent, but Segmind billed {sure:.3f} to {most:.3f}")

    def _check_leftovers(self, jobs: list[Any]) -> None:
        cloud = self._cloud
        for job in jobs:
            attention = job.get("hold_reason") == "attention"
            if job["state"] not in ENDED and not attention:
                self.note(f"{job['key']} is still {job['state']}: {job.get('reason')}")
            if job["state"] in ENDED and "follow_up" in job:
                self.note(f"{job['key']} is {job['state']}, but not settled")
        for queue in cloud.queues.values():
            for message in queue.dead.messages.values() if queue.dead else ():
                self.note(f"a dead letter: {message.body[:200]}")
        leased = cloud.leases() & {job["id"] for job in jobs if job["state"] in ENDED}
        if leased:
            self.note(f"leases of jobs that have ended: {sorted(leased)}")
        admission = cloud.database.items.get(("admission", "admission"))
        if admission and admission.get("outbox"):
            self.note(f"events that were not published: {admission['outbox']}")

    def _check_files(self, jobs: list[Any]) -> None:
        """Check that each name has one status file, and that it says what the table says."""
        objects = self._cloud.storage.buckets[OUTPUT].objects
        by_id = {job["id"]: job for job in jobs}
        names: defaultdict[str, list[Any]] = defaultdict(list)
        for key, version in objects.items():
            for suffix in SUFFIXES:
                if key.endswith(suffix):
                    names[key.removesuffix(suffix)].append((suffix, json.loads(version.body)))
        for name, found in names.items():
            if len(found) > 1:
                self.note(f"{name} has two status files")
            for suffix, status in found:
                job = by_id.get(status.get("job"))
                if job and job["state"] != status["state"]:
                    self.note(f"{name} says {status['state']}, but its job is {job['state']}")
                wrong = status["state"] in ("REFUSED", "FAILED", "LOST")
                if wrong != (suffix == SUFFIXES[1]):
                    self.note(f"{name}{suffix} says {status['state']}")
        videos = {version.body for version in self._cloud.storage.buckets[OUTPUT].versions.values()}
        contents = {each.id: each.content for each in self._cloud.segmind.ledger}
        for job in jobs:
            if job["state"] == "DELIVERED" and contents[job["request_id"]] not in videos:
                self.note(f"{job['key']} is DELIVERED, but its video is not in the bucket")

    def _check_answers(self, plan: Plan) -> None:
        """Check that what is in the bucket was answered, and with the right video."""
        inputs = self._cloud.storage.buckets[INPUT].objects
        outputs = self._cloud.storage.buckets[OUTPUT].objects
        for key, kind in plan.clips.items():
            if key not in inputs:
                continue
            found = [outputs.get(key + suffix) for suffix in SUFFIXES]
            statuses = [json.loads(version.body) for version in found if version]
            if not statuses:
                self.note(f"{key} ({kind}) has no answer")
                continue
            state = statuses[0]["state"]
            message = statuses[0].get("message", "")
            if not self._is_possible(kind, key, state, message):
                self.note(f"{key} ({kind}) is {state}: {message}")
            if state == "DELIVERED":
                self._check_video(key, statuses[0])

    def _is_possible(self, kind: str, key: str, state: str, message: str) -> bool:
        inputs = self._cloud.storage.buckets[INPUT].objects
        has_sidecar = key.rpartition(".")[0] + ".json" in inputs
        if kind == "not_a_clip":
            return state == "REFUSED"
        if kind == "lone_clip" and not has_sidecar:
            return state == "WAITING"
        if kind == "refused" and b"promt" in inputs[key.rpartition(".")[0] + ".json"].body:
            return state == "REFUSED"
        storm = self._cloud.storm
        gave_up = storm.may_end_functions and "preparing the clip failed" in message
        is_dear = "it would cost about" in message
        return {
            "DELIVERED": True,
            "HELD": True,  # for a person, or it is noted elsewhere
            "FAILED": storm.render_failed > 0,
            "REFUSED": storm.submit_rejected > 0 or gave_up or is_dear,
            "LOST": self._cloud.segmind.loses_results,
        }.get(state, False)

    def _check_video(self, key: str, status: Any) -> None:
        request = next(
            each for each in self._cloud.segmind.ledger if each.id == status["request_id"]
        )
        video = self._cloud.storage.buckets[OUTPUT].objects.get(key)
        clip = self._cloud.storage.buckets[INPUT].objects[key]
        sidecar = self._cloud.storage.buckets[INPUT].objects.get(key.rpartition(".")[0] + ".json")
        if video is None or video.body != request.content:
            self.note(f"{key} is not the video of its request")
        if self._clips.get(request.id) != clip.body:
            self.note(f"{key} was made of another version of its clip")
        wanted = json.loads(sidecar.body).get("prompt") if sidecar else "preset"
        if request.body.get("prompt") != wanted:
            self.note(f"{key} was made with {request.body.get('prompt')!r}, not {wanted!r}")

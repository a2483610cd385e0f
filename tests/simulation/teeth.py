"""Planted bugs, each of which the simulation must find within a thousand histories."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.template import ROOT

MAX_HISTORIES = 1000
BATCH = 25
PACKAGE = "layers/retake/retake"
COPIED = (
    "functions",
    "layers/media",
    "layers/retake",
    "local",
    "statemachine",
    "tests",
    "template.yaml",
)


@dataclass(frozen=True)
class Bug:
    """A planted bug.

    Attributes:
        name: what is wrong.
        file: the file.
        old: what is replaced in it.
        new: by what.
    """

    name: str
    file: str
    old: str
    new: str


BUGS = [
    Bug(
        "a condition is left out: a job is created twice",
        f"{PACKAGE}/aws/job_store.py",
        'condition, before = "attribute_not_exists(pk)", {}',
        'condition, before = "attribute_not_exists(pk) OR attribute_exists(pk)", {}',
    ),
    Bug(
        "a condition is left out: a job is written over another's write",
        f"{PACKAGE}/aws/job_store.py",
        '"#version = :before AND #state = :stood"',
        '"#version >= :before AND (#state = :stood OR attribute_exists(#state))"',
    ),
    Bug(
        "a lease is not released when a job ends",
        f"{PACKAGE}/domain/admission.py",
        "if job != job_id})",
        "if job})",
    ),
    Bug(
        "a submit whose response is lost is sent again at once",
        f"{PACKAGE}/services/submit.py",
        "        return outcome\n",
        "        if isinstance(outcome, Ambiguous):\n"
        "            return read_submit(self._segmind.send(submit.request), submit.prompt)\n"
        "        return outcome\n",
    ),
    Bug(
        "a message that failed is swallowed",
        "functions/submit/app.py",
        "        return False\n",
        "        return True\n",
    ),
    Bug(
        "a stale read is believed: a status file is not checked after it was written",
        f"{PACKAGE}/services/status_files.py",
        "            record, job = self._records.get_with_job(job.key, job_id)\n",
        "            return None\n",
    ),
    Bug(
        "a cost is spent, and stays booked",
        f"{PACKAGE}/domain/admission.py",
        "        rest = {job: each for job, each in today.bookings.items() if job != job_id}\n"
        "        after = replace(today, bookings=rest)\n"
        "        if booking.day != today.day:\n",
        "        after = today\n        if booking.day != today.day:\n",
    ),
    Bug(
        "the budget is not booked",
        f"{PACKAGE}/domain/admission.py",
        "bookings={**today.bookings, job_id: booking})\n\n    def settle",
        "bookings=today.bookings)\n\n    def settle",
    ),
    Bug(
        "an unknown cost is never looked up",
        f"{PACKAGE}/services/bookkeeping.py",
        "[:MAX_LOOKS]",
        "[:0]",
    ),
    Bug(
        "a cost that is found later is not added to the sums",
        f"{PACKAGE}/aws/job_store.py",
        "return self._write(job, priced, cost_sums.addition(cost_sum.correction(priced)))",
        "return self._write(job, priced)",
    ),
    Bug(
        "an event is trusted: a job is settled because its execution ended",
        f"{PACKAGE}/services/settle.py",
        "        if not job.has_ended:\n",
        "        if job.state not in (*State,):\n",
    ),
    Bug(
        "one look at the history is enough to send a request again",
        f"{PACKAGE}/services/recover.py",
        "PASSES_BEFORE_ABSENT = 3\nABSENT_AFTER_SECONDS = 300",
        "PASSES_BEFORE_ABSENT = 1\nABSENT_AFTER_SECONDS = 0",
    ),
    Bug(
        "an older take is delivered over a newer one",
        f"{PACKAGE}/services/deliver.py",
        "newest = self._records.get(job.key).accepted_job == job.id",
        "newest = True",
    ),
    Bug(
        "a wait loop that was stopped is not replaced",
        f"{PACKAGE}/services/reconcile.py",
        "        if self._wait_loops.is_running(job):",
        "        if job:",
    ),
    Bug(
        "an execution is replaced although it runs",
        f"{PACKAGE}/services/reconcile.py",
        "        if self._wait_loops.is_running(job):",
        "        if not job:",
    ),
    Bug(
        "objects without an event are not looked for",
        f"{PACKAGE}/services/audit.py",
        "        if audit is None:\n",
        "        if audit is None or audit.cursor is not None:\n",
    ),
    Bug(
        "requests are not counted",
        f"{PACKAGE}/domain/admission.py",
        "recent.get(second, 0) + 1}",
        "recent.get(second, 0)}",
    ),
    Bug(
        "a job whose function died in its submit is sent again",
        f"{PACKAGE}/services/reconcile.py",
        "                self._recovery.begin(entry)\n",
        "                self._jobs.advance(entry, State.HELD, hold_reason=None)\n"
        "                self._waker.wake(entry.id)\n",
    ),
    Bug(
        "a result that is ready is not delivered",
        "statemachine/modify_video.asl.json",
        "$states.input.next = 'FETCH'",
        "$states.input.next = 'FETCHED'",
    ),
    Bug(
        "a pause is ignored",
        f"{PACKAGE}/domain/admission.py",
        "if now < self.paused_until:",
        "if now < 0:",
    ),
]


def main() -> int:
    """Look for each bug; return 1 when one is not found."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(find, BUGS))
    return int(not all(found))


def find(bug: Bug) -> bool:
    """Tell whether a bug is found, and print how."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for name in COPIED:
            _copy(ROOT / name, root / name)
        file = root / bug.file
        text = file.read_text()
        assert text.count(bug.old) == 1, bug
        file.write_text(text.replace(bug.old, bug.new))
        for first in range(0, MAX_HISTORIES, BATCH):
            done = subprocess.run(
                [sys.executable, "-m", "tests.simulation.first_problem", str(first), str(BATCH)],
                cwd=root,
                env=os.environ | {"PYTHONPATH": f"{root}:{root}/layers/retake:{_libraries()}"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                problem = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
                print(f"found: {bug.name}\n       {problem}", flush=True)
                return True
    print(f"NOT FOUND in {MAX_HISTORIES} histories: {bug.name}", flush=True)
    return False


def _libraries() -> Path:
    return ROOT / "layers/dependencies/python"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)

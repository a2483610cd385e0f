"""Drops one clip, follows it beside the pipeline, and notes how Segmind answers."""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

from retake.adapters.jobs import JobsTable, Row
from retake.adapters.secret import ApiKey
from retake.adapters.segmind import ResultFiles, ResultUnavailable, Segmind
from retake.gatekeeper import Gatekeeper
from retake.rules.contract import Answer, Found, read_history, read_result, retry_after
from retake.rules.drop import mark
from retake.rules.gate import PRICE, Limits
from retake.rules.history import is_ours, read_page
from retake.rules.states import ENDED, State
from tests import media

LOOKS = (0, 5, 15, 30, 60, 120, 240, 480, 960, 1800)  # seconds after the request was accepted; two GETs each, at most
ROW_SECONDS = 120  # how long after the job's end its row is looked for in the history
Report = dict[str, dict[str, Any]]


class Check:
    """One clip's way through a deployed stack.

    Parameters: `outputs` of the stack; `session` and `endpoint`, how AWS is reached; `say` takes lines on the way.
    The key goes only to the two origins that the functions send it to: they are read, like the limits, from the environment of `submit`.
    """

    def __init__(self, outputs: dict[str, str], session: boto3.Session, endpoint: str | None, say: Callable[[str], None]) -> None:
        functions, vault = (session.client(service, endpoint_url=endpoint) for service in ("lambda", "secretsmanager"))
        given = functions.get_function_configuration(FunctionName=outputs["SubmitFunctionName"])["Environment"]["Variables"]
        self._limits = Limits(int(given["REQUESTS_PER_MINUTE"]), float(given.get("DAILY_BUDGET_USD", "inf")))
        self._segmind = Segmind(given["SEGMIND_BASE_URL"], given["SEGMIND_HISTORY_URL"], ApiKey(vault, given["SECRET_ID"]))
        self._files = ResultFiles(given["SEGMIND_BASE_URL"])
        self._jobs = JobsTable(session.resource("dynamodb", endpoint_url=endpoint).Table(given["TABLE"]))
        self._gate = Gatekeeper(self._jobs, self._limits, time.time)
        self._s3, self._bucket = session.client("s3", endpoint_url=endpoint), outputs["InputBucketName"]
        self._say = say
        self.clip = f"live/{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}/clip.mp4"
        self._requests, self._accepted, self._limit_headers = 0, 0.0, dict[str, str]()
        self._seen, self._rows = list[dict[str, Any]](), list[dict[str, Any]]()  # each answer about the status, and from the history

    def refusal(self, max_usd: float) -> str | None:
        """Tell why the check must not start, `None` if it may."""
        if not (isfinite(max_usd) and max_usd >= PRICE):
            return f"a take costs about {PRICE:.2f} USD, which --max-usd {max_usd:g} does not cover"
        if not isfinite(self._limits.daily_budget_usd):
            return "nothing bounds what the stack may spend today; deploy it with a DailyBudgetUsd"
        shut = self._gate.would_admit("live check")
        return f"the stack would keep the clip back: {shut.reason}" if shut else None

    def run(self, folder: Path, patience: float) -> Report:
        """Drop the clip and follow it, at most `patience` seconds; gives what was found."""
        clip = media.ffmpeg(folder / "clip.mp4", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=24:duration=3")
        note = json.dumps({"prompt": "a watercolour painting, soft morning light"})
        for key, body in ((self.clip, clip.read_bytes()), (self.clip.removesuffix("mp4") + "json", note.encode())):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body)
        most = f"whatever happens, the stack spends at most {self._limits.daily_budget_usd:g} USD today"
        self._say(f"dropped s3://{self._bucket}/{self.clip}, about {PRICE:.2f} USD; {most}")
        job = self._follow(time.time() + patience)
        told = ("id", "key", "request_id", "state", "held", "reason", "cost_usd", "times", "result")
        report: Report = {"job": {name: job[name] for name in told if name in job}}
        return report | (self._questions(job) if "request_id" in job else {})

    def _follow(self, deadline: float) -> Row:
        """Look at the job, and now and then at Segmind, until both have told all or the time is up."""
        looks, state, ended = list(LOOKS), "", 0.0
        while True:
            newest, now = self._jobs.place(self._bucket, self.clip).get("newest"), time.time()
            job = (newest and self._jobs.job(newest)) or {"state": state}
            if job["state"] != state:
                state = job["state"]
                self._say(f"{state} {job.get('reason') or ''}")
            ended = ended or (now if state in ENDED else 0.0)
            if "request_id" in job:
                self._accepted = datetime.fromisoformat(job["times"][State.RENDERING]).timestamp()
                if looks and now - self._accepted >= looks[0]:
                    looks = [second for second in looks if second > now - self._accepted]
                    self._look(job["request_id"], at_status=not ended)
            through = ended and (self._row_at() or "request_id" not in job or not looks or now > ended + ROW_SECONDS)
            if through or now > deadline:
                return job
            time.sleep(0.5)

    def _look(self, request_id: str, at_status: bool = True) -> None:
        if at_status:
            answer = self._ask(lambda: self._segmind.status(request_id))
            self._seen.append({"after": self._age(), "http": answer.status, "word": answer.body.get("status")})
        if not self._row_at():
            answer = self._ask(lambda: self._segmind.history(request_id))
            self._rows.append({"after": self._age(), "there": answer.status == 200 and bool(answer.body)})

    def _row_at(self) -> float | None:
        """Say how many seconds after the request the history first had it; `None` if it has not yet."""
        return next((row["after"] for row in self._rows if row["there"]), None)

    def _questions(self, job: Row) -> Report:
        """Ask Segmind once more for everything, now that the job is through."""
        request_id, today = job["request_id"], datetime.now(UTC).date()
        self._look(request_id)
        result = self._ask(lambda: self._segmind.result(request_id))
        row = self._ask(lambda: self._segmind.history(request_id))
        page = self._ask(lambda: self._segmind.history_page(1, (today - timedelta(days=1)).isoformat(), today.isoformat()))
        sent_as = self._jobs.owner(request_id) or mark(job)
        listed = [each for each in read_page(page, 1) or [] if each.get("request_id") == request_id]
        history = {
            "there_after": self._row_at(),
            "absent_at": [seen["after"] for seen in self._rows if not seen["there"]],
            "row": outline(row.body),
            "row_understood": isinstance(read_history(row, request_id), Found),
            "list_key": [name for name, value in page.body.items() if isinstance(value, list)],
            "envelope": sorted(page.body),
            "listed_fields": sorted(listed[0]) if listed else None,
            "would_be_found": any(is_ours(each, job["sent"], sent_as) for each in listed),
            "mark_kept": sent_as in json.dumps(listed),
        }
        return {
            "status": {"seen": self._seen, "early_404": any(seen["http"] == 404 for seen in self._seen)},
            "result": {"http": result.status, "shape": outline(result.body), "understood": read_result(result, job["sent"]) is not None},
            "metrics": {"told": result.body.get("metrics")},
            "history": history,
            "file": self._file(job["result_url"], job.get("result", "")) if "result_url" in job else {},
            "limits": {"requests_of_this_check": self._requests, "headers": self._limit_headers},
        }

    def _file(self, url: str, copy: str) -> dict[str, Any]:
        """Look at the result file as the pipeline does, without the key, and compare it with what was delivered."""
        try:
            with closing(self._files.get(url, {"Accept-Encoding": "identity"})) as whole:
                digest = _digest(whole.iter_raw(65536))
            with closing(self._files.get(url, {"Range": "bytes=0-15"})) as part:
                ranges = part.status_code == 206 and part.headers.get("content-range", "").startswith("bytes 0-15/")
        except ResultUnavailable as error:
            return {"host": urlsplit(url).hostname, "unavailable": str(error)}
        told = {name: whole.headers.get(name) for name in ("content-type", "content-length", "accept-ranges", "etag")}
        bucket, _, key = copy.removeprefix("s3://").partition("/")
        same = bool(key) and _digest(self._s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(65536)) == digest
        hosts = {"host": urlsplit(url).hostname, "served_by": whole.url.host, "http": whole.status_code}
        return hosts | told | {"ranges": ranges, "same": same}

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        """Send a GET to Segmind within the stack's own request limit, and keep what its headers say about limits."""
        while shut := self._gate.ask():
            time.sleep(shut.wait)
        self._requests += 1
        answer = request()
        if answer.status == 429:
            self._gate.pause(retry_after(answer))
        words = ("rate", "limit", "retry", "quota")
        self._limit_headers |= {name: text for name, text in answer.headers.items() if any(word in name.lower() for word in words)}
        return answer

    def _age(self) -> float:
        return round(time.time() - self._accepted, 1)


def problems(report: Report, max_usd: float) -> list[str]:
    """Tell what went otherwise than it should."""
    job, cost = report["job"], report["job"].get("cost_usd")
    found = []
    if job["state"] != State.DELIVERED:
        then = "its .error.json tells what to do" if job["state"] in ENDED else "it goes on by itself; its .job.json tells"
        found.append(f"not delivered but {job['state'] or 'not even taken'}: {job.get('reason', 'no reason yet')}; {then}")
    if cost is not None and cost > max_usd:
        found.append(f"it cost {cost:.2f} USD, more than {max_usd:g}; drop nothing more before you know Segmind's price")
    if report.get("file") and not report["file"].get("same"):
        found.append("what lies in the output bucket is not what Segmind serves")
    if "history" in report and not report["history"]["would_be_found"]:
        found.append("the history does not show the request so that a lost answer would be found by it: see rules/history.py")
    return found


def outline(value: Any) -> Any:
    """Give a value's shape: names stay, lists keep their first item, texts become their type, or the host of an address."""
    if isinstance(value, dict):
        return {str(name)[:60]: outline(item) for name, item in list(value.items())[:40]}
    if isinstance(value, list):
        return [outline(item) for item in value[:1]]
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and (inner := Answer(0, f'{{"json": {value}}}').body):
        return {"text of": outline(inner["json"])}
    is_address = isinstance(value, str) and value.lower().startswith(("http://", "https://"))
    return f"address at {urlsplit(value).hostname}" if is_address else type(value).__name__


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

"""Whatever Segmind answers, a job ends as it should, and is paid at most once."""

import json
import random
from pathlib import Path
from typing import Any

from tests.stack import Stack

HTML = "<html><head><title>502 Bad Gateway</title></head></html>"
LOST: dict[str, dict[str, Any]] = {
    "500-not-run": {"fault": "answer", "status": 500, "body": {"error": "boom"}},
    "502-html-run": {"fault": "answer", "status": 502, "html": HTML, "processed": True},
    "503-html-not-run": {"fault": "answer", "status": 503, "html": HTML},
    "504-run": {"fault": "answer", "status": 504, "html": HTML, "processed": True},
    "200-html-run": {"fault": "answer", "status": 200, "html": HTML, "processed": True},
    "empty-run": {"fault": "empty", "status": 200, "processed": True},
    "reset-not-run": {"fault": "reset"},
    "reset-run": {"fault": "reset", "processed": True},
    "truncated-run": {"fault": "truncate"},
    "no-id-run": {"fault": "no_id"},
    "redirect-not-run": {"fault": "redirect"},
    "too-late-run": {"fault": "delay", "seconds": 25},
}
REFUSED = {f"{status}-refused": {"fault": "answer", "status": status, "body": {"error": "invalid value"}} for status in (400, 406, 422)}
STRANGE: dict[str, dict[str, Any]] = {
    "500": {"fault": "answer", "status": 500, "body": {"error": "boom"}},
    "502-html": {"fault": "answer", "status": 502, "html": HTML},
    "429": {"fault": "answer", "status": 429, "body": {"error": "slow down"}, "headers": {"retry-after": "1"}},
    "401-once": {"fault": "answer", "status": 401, "body": {"error": "invalid_api_key", "status_code": 401}},
    "404": {"fault": "answer", "status": 404, "body": {"error": "Request not found"}},
    "empty": {"fault": "empty", "status": 200},
    "truncated": {"fault": "truncate"},
    "reset": {"fault": "reset"},
    "slow": {"fault": "slow", "seconds": 2},
    "redirect": {"fault": "redirect"},
}


def test_a_submit_whose_answer_cannot_be_trusted_is_found_or_sent_once_more(fragile: Stack, clip: Path) -> None:
    for name, fault in (LOST | REFUSED).items():
        fragile.rule(endpoint="submit", match=f"lost/{name}.", times=1, **fault)
        fragile.drop(f"lost/{name}.mp4", clip)
        fragile.drop(f"lost/{name}.json", {"prompt": name})
    fragile.recover({f"lost/{name}.mp4": "DELIVERED" for name in LOST} | {f"lost/{name}.mp4": "REFUSED" for name in REFUSED})
    for name in LOST | REFUSED:
        assert len(fragile.submitted(f"lost/{name}.")) == (name in LOST), name
    fragile.check()


def test_polls_and_results_survive_every_answer(fragile: Stack, clip: Path) -> None:
    expected = {}
    for endpoint in ("status", "result"):
        for name, fault in (STRANGE | ({"word": {"fault": "word"}} if endpoint == "status" else {})).items():
            key = f"strange/{endpoint}-{name}.mp4"
            fragile.rule(endpoint=endpoint, match=key, times=2, **fault)
            fragile.drop(key, clip)
            fragile.drop(key[:-4] + ".json", {"prompt": name})
            expected[key] = "DELIVERED"
    fragile.recover(expected)
    for key in expected:
        (request,) = fragile.submitted(key)
        assert fragile.read(key) == fragile.rendered(request["request_id"])
    assert fragile.ledger()["misplaced_keys"] == []
    fragile.check()


def test_a_history_that_cannot_be_read_is_read_later(fragile: Stack, clip: Path) -> None:
    fragile.rule(endpoint="history", times=2, fault="answer", status=502, html=HTML)
    fragile.rule(endpoint="submit", match="deaf/", times=1, fault="reset", processed=True)
    fragile.drop("deaf/clip.mp4", clip)
    fragile.drop("deaf/clip.json", {})
    fragile.recover({"deaf/clip.mp4": "DELIVERED"})
    assert len(fragile.submitted("deaf/")) == 1


def test_a_record_that_expires_before_it_is_fetched_is_found_in_the_history(fragile: Stack, clip: Path) -> None:
    fragile.rule(endpoint="submit", match="expired/", settings={"record_life_seconds": 0.1})
    fragile.drop("expired/clip.mp4", clip)
    fragile.drop("expired/clip.json", {})
    fragile.until("expired/clip.mp4", "RENDERING", "DELIVERED")
    (job,) = [job for job in fragile.jobs() if job["key"] == "expired/clip.mp4"]
    fragile.age(job["pk"], submitted_at=int(job["submitted_at"]) - 4000)
    fragile.recover({"expired/clip.mp4": "DELIVERED"})
    assert len(fragile.submitted("expired/")) == 1


def test_every_message_five_times_shuffled(fragile: Stack, clip: Path) -> None:
    keys = [f"five/{number}.mp4" for number in range(6)]
    for key in keys:
        fragile.drop(key[:-4] + ".json", {"prompt": key})
        fragile.drop(key, clip)
    messages = [key for key in keys for _ in range(5)] + [key[:-4] + ".json" for key in keys for _ in range(5)]
    random.shuffle(messages)
    for key in messages:
        body = json.dumps({"detail": {"bucket": {"name": fragile.input}, "object": {"key": key}}})
        delay = random.choice([0, 0, 1, 3])
        fragile.sqs.send_message(QueueUrl=fragile.cloud.outputs["DropQueueUrl"], MessageBody=body, DelaySeconds=delay)
    fragile.recover(dict.fromkeys(keys, "DELIVERED"))
    fragile.quiet()
    assert len(fragile.submitted("five/")) == len(keys)
    fragile.check()

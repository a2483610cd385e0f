"""Whatever Segmind responds, a job ends as it should and is paid at most once."""

import random
from pathlib import Path

from retake.domain.input_files import sidecar_key
from tests.support.stack import Stack

from .bad_responses import BAD_GATEWAY, LOST, REFUSED, STRANGE


def test_a_lost_response_is_found_in_the_history_or_the_request_is_sent_once_more(
    fragile: Stack, clip: Path
) -> None:
    for name, fault in (LOST | REFUSED).items():
        fragile.rule(endpoint="submit", match=f"lost/{name}.", times=1, **fault)
        fragile.drop_pair(f"lost/{name}.mp4", clip)
    delivered = {f"lost/{name}.mp4": "DELIVERED" for name in LOST}
    refused = {f"lost/{name}.mp4": "REFUSED" for name in REFUSED}
    fragile.recover(delivered | refused)
    assert fragile.unmet_rules("lost/") == []
    for name in LOST | REFUSED:
        assert len(fragile.submitted(f"lost/{name}.")) == (name in LOST), name
    fragile.check()


def test_polls_and_requests_for_results_survive_every_response(fragile: Stack, clip: Path) -> None:
    faults = {"status": STRANGE | {"word": {"fault": "word"}}, "result": STRANGE}
    keys = []
    for endpoint, strange in faults.items():
        for name, fault in strange.items():
            key = f"strange/{endpoint}-{name}.mp4"
            keys.append(key)
            fragile.rule(endpoint=endpoint, match=key, times=2, **fault)
            fragile.drop_pair(key, clip)
    fragile.recover(dict.fromkeys(keys, "DELIVERED"))
    assert fragile.unmet_rules("strange/") == []
    for key in keys:
        (request,) = fragile.submitted(key)
        assert fragile.is_film(key, request["request_id"])
    assert fragile.ledger()["misplaced_keys"] == []
    fragile.check()


def test_a_history_that_cannot_be_read_is_read_later(fragile: Stack, clip: Path) -> None:
    fragile.rule(endpoint="history", times=2, fault="answer", status=502, html=BAD_GATEWAY)
    fragile.rule(endpoint="submit", match="deaf/", times=1, fault="reset", processed=True)
    fragile.drop_pair("deaf/clip.mp4", clip)
    fragile.recover({"deaf/clip.mp4": "DELIVERED"})
    assert len(fragile.submitted("deaf/")) == 1


def test_a_result_whose_record_has_expired_is_found_in_the_history(
    fragile: Stack, clip: Path
) -> None:
    short_life = {"record_life_seconds": 0.1}
    fragile.rule(endpoint="submit", match="expired/", settings=short_life)
    fragile.drop_pair("expired/clip.mp4", clip)
    fragile.until("expired/clip.mp4", "RENDERING", "DELIVERED")
    job = fragile.job_of("expired/clip.mp4")
    assert job.submitted_at
    fragile.age(f"job#{job.id}", submitted_at=job.submitted_at - 4000)
    fragile.recover({"expired/clip.mp4": "DELIVERED"})
    assert len(fragile.submitted("expired/")) == 1


def test_messages_that_come_five_times_and_shuffled_are_each_paid_once(
    fragile: Stack, clip: Path
) -> None:
    clips = [f"five/{number}.mp4" for number in range(6)]
    sidecars = [sidecar_key(key) for key in clips]
    for key in clips:
        fragile.drop(sidecar_key(key), {"prompt": key})
        fragile.drop(key, clip)
    messages = [key for key in clips + sidecars for _ in range(5)]
    random.shuffle(messages)
    for key in messages:
        fragile.send_drop_event(key, delay_seconds=random.choice([0, 0, 1, 3]))
    fragile.recover(dict.fromkeys(clips, "DELIVERED"))
    fragile.until_drained()
    assert len(fragile.submitted("five/")) == len(clips)
    fragile.check()

"""Drops in any order, any number of times: one request for one content, and the file that Segmind made comes back."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from tests.stack import Stack

KEYS = [
    "plain.mp4",
    "deep/er/and/deeper/still/clip.mp4",
    "with space/my clip.mp4",
    "plus+sign/a+b.mp4",
    "percent/100%.mp4",
    "percent/a%20b.mp4",
    "umlaut/Bär-größe.mp4",
    "emoji/🎬 take.mp4",
    'quotes/it\'s "it".mp4',
    "amp/a&b=c?d#e.mp4",
    "dots/v1.2.final.mp4",
    "CASE/Loud.MP4",
    "CASE/mixed.Mp4",
    "brackets/[1](2){3}.mp4",
    "日本/映画.mp4",
    "same/one.mp4",
    "same/one.two.mp4",
    "a/b.mp4",
    "a/b b.mp4",
    "semi;colon,comma.mp4",
]


def test_twenty_pairs_in_any_order_with_repeats(pipeline: Stack, clip: Path, look: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    drops: list[tuple[str, bytes | Path | dict[str, str]]] = []
    for number, key in enumerate(KEYS):
        note = {"prompt": f"take {number}", "mode": dice.choice(["adhere_1", "flex_2", "reimagine_3"])}
        if number % 5 == 0:
            note["first_frame"] = f"look {number}.png"
            drops.append((f"twenty/{key}".rpartition("/")[0] + f"/look {number}.png", look))
        body = clip.read_bytes() + bytes([0, 0, 0, 9]) + b"free" + bytes([number])
        drops += [(f"twenty/{key}", body), (f"twenty/{key[:-4]}.json", note)]
    repeated = drops + dice.choices(drops, k=20)
    dice.shuffle(repeated)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda drop: pipeline.drop(*drop), repeated))

    for number, key in enumerate(KEYS):
        answer = pipeline.until(f"twenty/{key}", "DELIVERED", "FAILED", "REFUSED", "LOST")
        assert answer["state"] == "DELIVERED", answer
        head = pipeline.s3.head_object(Bucket=pipeline.output, Key=f"twenty/{key}")
        assert head["Metadata"] == {"job-id": answer["job"], "request-id": answer["request_id"], "mode": answer["mode"]}
        assert head["ContentType"] == "video/mp4"
        assert answer["prompt"] == f"take {number}"
        assert pipeline.read(f"twenty/{key}") == pipeline.rendered(answer["request_id"])
    pipeline.quiet()
    assert len(pipeline.submitted("twenty/")) == len(KEYS)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda drop: pipeline.drop(*drop), drops))
    pipeline.quiet()
    assert len(pipeline.submitted("twenty/")) == len(KEYS), "a folder synced twice costs nothing"
    assert pipeline.dead_letters() == 0
    assert pipeline.ledger()["misplaced_keys"] == []
    assert pipeline.ledger()["rate_limited"] == 0


def test_the_request_carries_an_address_that_a_stranger_can_fetch(pipeline: Stack, clip: Path) -> None:
    pipeline.drop("address/Ünï +%.MP4", clip)
    pipeline.drop("address/Ünï +%.json", {})
    pipeline.until("address/Ünï +%.MP4", "RENDERING", "DELIVERING", "DELIVERED")
    (request,) = pipeline.submitted("address/")
    url = urlsplit(request["body"]["video_url"])
    assert unquote(url.path).endswith("address/Ünï +%.mp4")
    assert int(parse_qs(url.query)["X-Amz-Expires"][0]) >= 3600
    ranged = httpx.get(request["body"]["video_url"], headers={"Range": "bytes=4-7"}, trust_env=False)
    assert (ranged.status_code, ranged.content) == (206, b"ftyp")
    assert ranged.headers["content-type"] == "video/mp4"
    assert httpx.put(request["body"]["video_url"], content=b"x", trust_env=False).status_code == 403


def test_multipart_and_copied_clips_work(pipeline: Stack, clip: Path) -> None:
    big = clip.read_bytes() + (6 * 1024 * 1024).to_bytes(4) + b"free" + bytes(6 * 1024 * 1024 - 8)
    pipeline.drop("parts/small.json", {"prompt": "from parts"})
    named = {"Bucket": pipeline.input, "Key": "parts/small.mp4"}
    upload = pipeline.s3.create_multipart_upload(**named)["UploadId"]
    parts = []
    for number, body in enumerate((big[: 5 * 1024 * 1024], big[5 * 1024 * 1024 :]), 1):
        part = pipeline.s3.upload_part(**named, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    pipeline.s3.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": parts})
    pipeline.until("parts/small.mp4", "DELIVERED")
    pipeline.s3.copy_object(Bucket=pipeline.input, Key="parts/copy.mp4", CopySource=named)
    pipeline.drop("parts/copy.json", {"prompt": "from a copy"})
    pipeline.until("parts/copy.mp4", "DELIVERED")
    assert pipeline.s3.list_multipart_uploads(Bucket=pipeline.output).get("Uploads", []) == []


def test_a_browsers_form_and_a_signed_address_work(pipeline: Stack, clip: Path) -> None:
    form = pipeline.s3.generate_presigned_post(pipeline.input, "form/clip.mp4", ExpiresIn=60)
    posted = httpx.post(form["url"], data=form["fields"], files={"file": clip.read_bytes()}, trust_env=False)
    assert posted.is_success, posted.text
    url = pipeline.s3.generate_presigned_url("put_object", {"Bucket": pipeline.input, "Key": "form/clip.json"}, ExpiresIn=60)
    assert httpx.put(url, content=b"{}", trust_env=False).is_success
    pipeline.until("form/clip.mp4", "DELIVERED")


def test_another_note_is_another_job_and_the_newest_owns_the_name(pipeline: Stack, clip: Path) -> None:
    pipeline.rule(endpoint="submit", match="newest/clip", times=1, settings={"render_seconds": 4})
    pipeline.drop("newest/clip.mp4", clip)
    pipeline.drop("newest/clip.json", {"prompt": "slow"})
    slow = pipeline.until("newest/clip.mp4", "RENDERING")
    pipeline.drop("newest/clip.json", {"prompt": "quick"})
    quick = pipeline.until("newest/clip.mp4", "DELIVERED")
    assert quick["prompt"] == "quick"
    side = f"newest/clip.{slow['job'][:8]}.mp4"
    overtaken = pipeline.until(side, "DELIVERED")
    assert overtaken["prompt"] == "slow"
    assert pipeline.read(side) == pipeline.rendered(slow["request_id"])
    assert pipeline.read("newest/clip.mp4") == pipeline.rendered(quick["request_id"])
    assert pipeline.answer("newest/clip.mp4") == quick


def test_a_typo_between_does_not_cost_the_result_its_name(pipeline: Stack, clip: Path) -> None:
    pipeline.rule(endpoint="submit", match="typo/clip", settings={"render_seconds": 4})
    pipeline.drop("typo/clip.mp4", clip)
    pipeline.drop("typo/clip.json", {"prompt": "good"})
    pipeline.until("typo/clip.mp4", "RENDERING")
    pipeline.drop("typo/clip.json", {"promt": "good"})
    refused = pipeline.until("typo/clip.mp4", "REFUSED")
    assert "did you mean prompt" in refused["do_now"]
    pipeline.eventually(lambda: pipeline.read("typo/clip.mp4"), "the result under the clip's own key")
    assert pipeline.answer("typo/clip.mp4") == refused
    pipeline.drop("typo/clip.json", {"prompt": "good"})
    pipeline.until("typo/clip.mp4", "DELIVERED")
    assert len(pipeline.submitted("typo/")) == 1


def test_a_failed_job_starts_again_on_a_newer_drop_only(pipeline: Stack, clip: Path) -> None:
    pipeline.rule(endpoint="submit", match="again/clip", times=1, settings={"fail": "the prompt was blocked"})
    pipeline.drop("again/clip.mp4", clip)
    pipeline.drop("again/clip.json", {"prompt": "x"})
    failed = pipeline.until("again/clip.mp4", "FAILED")
    assert failed["message"] == "the prompt was blocked"
    assert failed["paid"] is False
    event = {"detail": {"bucket": {"name": pipeline.input}, "object": {"key": "again/clip.mp4"}}}
    pipeline.sqs.send_message(QueueUrl=pipeline.cloud.outputs["DropQueueUrl"], MessageBody=json.dumps(event))
    pipeline.quiet()
    assert len(pipeline.submitted("again/")) == 1, "a late duplicate of the old event is no new drop"
    pipeline.drop("again/clip.json", {"prompt": "x"})
    pipeline.until("again/clip.mp4", "DELIVERED")
    assert len(pipeline.submitted("again/")) == 2


def test_a_first_frame_that_comes_last_and_one_that_changes(pipeline: Stack, clip: Path, look: Path) -> None:
    pipeline.drop("frame/clip.json", {"first_frame": "look.png"})
    pipeline.drop("frame/clip.mp4", clip)
    waiting = pipeline.until("frame/clip.mp4", "WAITING")
    pipeline.eventually(lambda: "look.png" in (pipeline.answer("frame/clip.mp4") or waiting)["message"], "a word on the frame")
    pipeline.quiet()
    assert pipeline.submitted("frame/") == []
    pipeline.drop("frame/look.png", look)
    first = pipeline.until("frame/clip.mp4", "DELIVERED")
    (request,) = pipeline.submitted("frame/")
    assert urlsplit(request["body"]["first_frame_url"]).path.endswith("/frame/look.png")
    pipeline.drop("frame/look.png", look.read_bytes() + b"\0")
    pipeline.eventually(lambda: (pipeline.answer("frame/clip.mp4") or first)["job"] != first["job"], "another job for another frame")
    pipeline.until("frame/clip.mp4", "DELIVERED")


def test_a_preset_is_note_enough_for_its_folder(pipeline: Stack, clip: Path, look: Path) -> None:
    pipeline.drop("preset/_retake.json", {"promt": "ink"})
    assert "did you mean prompt" in pipeline.until("preset/_retake.json", "REFUSED")["do_now"]
    pipeline.drop("preset/one.mp4", clip)
    held_back = pipeline.until("preset/one.mp4", "WAITING")
    assert "preset/_retake.json is corrected" in held_back["message"]
    pipeline.drop("preset/_retake.json", {"prompt": "ink", "mode": "flex_1", "first_frame": "{name}.png"})
    pipeline.drop("preset/two.mp4", clip)
    pipeline.drop("preset/one.png", look)
    pipeline.drop("preset/two.png", look)
    pipeline.drop("preset/three.json", {"prompt": "oil", "first_frame": "one.png"})
    pipeline.drop("preset/three.mp4", clip)
    told = pipeline.eventually(lambda: "starts with" in (pipeline.answer("preset/one.mp4") or held_back)["message"], "a word on the start")
    assert told
    notes = {}
    for name in ("one", "two", "three"):
        done = pipeline.until(f"preset/{name}.mp4", "DELIVERED")
        notes[name] = (done["prompt"], done["mode"], done["first_frame"])
        assert pipeline.read(f"preset/{name}.mp4") == pipeline.rendered(done["request_id"])
    assert notes == {
        "one": ("ink", "flex_1", "one.png"),
        "two": ("ink", "flex_1", "two.png"),
        "three": ("oil", "flex_1", "one.png"),
    }
    assert pipeline.answer("preset/_retake.json") is None
    pipeline.drop("preset/_retake.json", {"prompt": "another"})
    for name in ("one.mp4", "two.mp4", "one.png", "_retake.json"):
        event = {"detail": {"bucket": {"name": pipeline.input}, "object": {"key": f"preset/{name}"}}}
        pipeline.sqs.send_message(QueueUrl=pipeline.cloud.outputs["DropQueueUrl"], MessageBody=json.dumps(event))
    pipeline.quiet()
    assert len(pipeline.submitted("preset/")) == 3

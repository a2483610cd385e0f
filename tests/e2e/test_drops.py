"""Drops in any order, any number of times: each content is paid once, and its retake comes back."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from retake.domain.input_files import sidecar_key
from tests.support import media
from tests.support.stack import Stack

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
MEGABYTE = 1024 * 1024
FilesToDrop = list[tuple[str, bytes | Path | dict[str, str]]]


def test_pairs_dropped_in_any_order_and_repeatedly_are_each_paid_once(
    pipeline: Stack, clip: Path, look: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    files = twenty_pairs(dice, clip, look)
    repeated = files + dice.choices(files, k=20)
    dice.shuffle(repeated)
    drop_at_once(pipeline, repeated)

    for number, key in enumerate(KEYS):
        check_delivered(pipeline, f"twenty/{key}", prompt=f"take {number}")
    pipeline.until_drained()
    assert len(pipeline.submitted("twenty/")) == len(KEYS)

    drop_at_once(pipeline, files)
    pipeline.until_drained()
    assert len(pipeline.submitted("twenty/")) == len(KEYS), "a folder synced twice costs nothing"
    assert pipeline.dead_letters() == 0
    assert pipeline.ledger()["misplaced_keys"] == []
    assert pipeline.ledger()["rate_limited"] == 0


def twenty_pairs(dice: random.Random, clip: Path, look: Path) -> FilesToDrop:
    """Return clips of different content with their sidecars; every fifth has a first frame."""
    files: FilesToDrop = []
    for number, name in enumerate(KEYS):
        key = f"twenty/{name}"
        mode = dice.choice(["adhere_1", "flex_2", "reimagine_3"])
        sidecar = {"prompt": f"take {number}", "mode": mode}
        if number % 5 == 0:
            sidecar["first_frame"] = f"look {number}.png"
            files.append((f"{key.rpartition('/')[0]}/look {number}.png", look))
        body = clip.read_bytes() + bytes([0, 0, 0, 9]) + b"free" + bytes([number])
        files += [(key, body), (sidecar_key(key), sidecar)]
    return files


def drop_at_once(pipeline: Stack, files: FilesToDrop) -> None:
    """Drop files from several threads."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: pipeline.drop(*file), files))


def check_delivered(pipeline: Stack, key: str, prompt: str) -> None:
    """Wait for a retake, and check it with its metadata and its status file."""
    status = pipeline.until(key, "DELIVERED", "FAILED", "REFUSED", "LOST")
    assert status["state"] == "DELIVERED", status
    head = pipeline.s3.head_object(Bucket=pipeline.output, Key=key)
    assert head["Metadata"] == {
        "job-id": status["job"],
        "request-id": status["request_id"],
        "mode": status["mode"],
        "digital-source-type": "compositeWithTrainedAlgorithmicMedia",
        "ai-system": "Luma Modify Video by Segmind",
    }
    assert head["ContentType"] == "video/mp4"
    assert status["prompt"] == prompt
    assert pipeline.is_film(key, status["request_id"])


def test_the_request_has_a_signed_url_that_can_only_be_read(pipeline: Stack, clip: Path) -> None:
    pipeline.drop_pair("signed/Ünï +%.MP4", clip)
    pipeline.until("signed/Ünï +%.MP4", "RENDERING", "FETCHING", "FINISHING", "DELIVERED")
    (request,) = pipeline.submitted("signed/")
    signed = request["body"]["video_url"]
    url = urlsplit(signed)
    assert url.path.endswith(f"/sent/{pipeline.job_of('signed/Ünï +%.MP4').id}-0.mp4")
    assert int(parse_qs(url.query)["X-Amz-Expires"][0]) >= 3600
    read = httpx.get(signed, trust_env=False)
    assert (read.status_code, read.headers["content-type"]) == (200, "video/mp4")
    assert media.frames(read.content) == media.frames(clip.read_bytes())
    part = httpx.get(signed, headers={"Range": "bytes=0-9"}, trust_env=False)
    assert (part.status_code, len(part.content)) == (206, 10)
    assert httpx.put(signed, content=b"x", trust_env=False).status_code == 403


def test_multipart_uploads_and_copies_are_drops(pipeline: Stack, clip: Path) -> None:
    padding = (6 * MEGABYTE).to_bytes(4) + b"free" + bytes(6 * MEGABYTE - 8)
    body = clip.read_bytes() + padding
    pipeline.drop("parts/small.json", {"prompt": "from parts"})
    named = {"Bucket": pipeline.input, "Key": "parts/small.mp4"}
    upload = pipeline.s3.create_multipart_upload(**named)["UploadId"]
    parts: list[dict[str, Any]] = []
    for number, part in enumerate((body[: 5 * MEGABYTE], body[5 * MEGABYTE :]), 1):
        done = pipeline.s3.upload_part(**named, UploadId=upload, PartNumber=number, Body=part)
        parts.append({"PartNumber": number, "ETag": done["ETag"]})
    pipeline.s3.complete_multipart_upload(
        **named, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    pipeline.until("parts/small.mp4", "DELIVERED")
    pipeline.s3.copy_object(Bucket=pipeline.input, Key="parts/copy.mp4", CopySource=named)
    pipeline.drop("parts/copy.json", {"prompt": "from a copy"})
    pipeline.until("parts/copy.mp4", "DELIVERED")
    uploads = pipeline.s3.list_multipart_uploads(Bucket=pipeline.output)
    assert uploads.get("Uploads", []) == []


def test_browser_forms_and_presigned_urls_are_drops(pipeline: Stack, clip: Path) -> None:
    form = pipeline.s3.generate_presigned_post(pipeline.input, "form/clip.mp4", ExpiresIn=60)
    files = {"file": clip.read_bytes()}
    posted = httpx.post(form["url"], data=form["fields"], files=files, trust_env=False)
    assert posted.is_success, posted.text
    target = {"Bucket": pipeline.input, "Key": "form/clip.json"}
    url = pipeline.s3.generate_presigned_url("put_object", target, ExpiresIn=60)
    assert httpx.put(url, content=b"{}", trust_env=False).is_success
    pipeline.until("form/clip.mp4", "DELIVERED")


def test_another_sidecar_is_another_job_and_the_newest_owns_the_name(
    pipeline: Stack, clip: Path
) -> None:
    slow_render = {"render_seconds": 4}
    pipeline.rule(endpoint="submit", match="slow", times=1, settings=slow_render)
    pipeline.drop_pair("newest/clip.mp4", clip, {"prompt": "slow"})
    slow = pipeline.until("newest/clip.mp4", "RENDERING")
    pipeline.drop("newest/clip.json", {"prompt": "quick"})
    quick = pipeline.until("newest/clip.mp4", "DELIVERED")
    assert quick["prompt"] == "quick"
    overtaken_key = f"newest/clip.{slow['job'][:8]}.mp4"
    overtaken = pipeline.until(overtaken_key, "DELIVERED")
    assert overtaken["prompt"] == "slow"
    assert pipeline.is_film(overtaken_key, slow["request_id"])
    assert pipeline.is_film("newest/clip.mp4", quick["request_id"])
    assert pipeline.status("newest/clip.mp4") == quick


def test_a_refused_sidecar_in_between_does_not_cost_the_result_its_name(
    pipeline: Stack, clip: Path
) -> None:
    pipeline.rule(endpoint="submit", match="typo/clip", settings={"render_seconds": 4})
    good = {"prompt": "typo/clip, good"}
    pipeline.drop_pair("typo/clip.mp4", clip, good)
    pipeline.until("typo/clip.mp4", "RENDERING")
    pipeline.drop("typo/clip.json", {"promt": "good"})
    refused = pipeline.until("typo/clip.mp4", "REFUSED")
    assert "did you mean prompt" in refused["do_now"]
    pipeline.eventually(
        lambda: pipeline.read("typo/clip.mp4"), "the result under the clip's own key"
    )
    assert pipeline.status("typo/clip.mp4") == refused
    pipeline.drop("typo/clip.json", good)
    pipeline.until("typo/clip.mp4", "DELIVERED")
    assert len(pipeline.submitted("typo/")) == 1


def test_only_a_newer_drop_restarts_a_failed_job(pipeline: Stack, clip: Path) -> None:
    blocked = {"fail": "the prompt was blocked"}
    pipeline.rule(endpoint="submit", match="again/clip", times=1, settings=blocked)
    pipeline.drop_pair("again/clip.mp4", clip)
    failed = pipeline.until("again/clip.mp4", "FAILED")
    assert failed["message"] == "the prompt was blocked"
    assert failed["paid"] is False
    pipeline.send_drop_event("again/clip.mp4")
    pipeline.until_drained()
    late = "a late duplicate of the old event is not a new drop"
    assert len(pipeline.submitted("again/")) == 1, late
    pipeline.drop("again/clip.json", {})
    pipeline.until("again/clip.mp4", "DELIVERED")
    assert len(pipeline.submitted("again/")) == 2


def test_a_clip_waits_for_its_first_frame_and_a_changed_frame_is_another_job(
    pipeline: Stack, clip: Path, look: Path
) -> None:
    pipeline.drop("frame/clip.json", {"first_frame": "look.png"})
    pipeline.drop("frame/clip.mp4", clip)
    waiting = pipeline.until("frame/clip.mp4", "WAITING")
    pipeline.eventually(
        lambda: "look.png" in (pipeline.status("frame/clip.mp4") or waiting)["message"],
        "the first frame in the message",
    )
    pipeline.until_drained()
    assert pipeline.submitted("frame/") == []
    pipeline.drop("frame/look.png", look)
    first = pipeline.until("frame/clip.mp4", "DELIVERED")
    (request,) = pipeline.submitted("frame/")
    frame = urlsplit(request["body"]["first_frame_url"]).path
    assert frame.endswith(f"/sent/{pipeline.job_of('frame/clip.mp4').id}-0.jpg")
    pipeline.drop("frame/look.png", look.read_bytes() + b"\0")
    pipeline.eventually(
        lambda: (
            (pipeline.status("frame/clip.mp4") or first).get("job", first["job"]) != first["job"]
        ),
        "another job for another frame",
    )
    pipeline.until("frame/clip.mp4", "DELIVERED")


def test_a_preset_is_enough_for_the_clips_of_its_folder(
    pipeline: Stack, clip: Path, look: Path
) -> None:
    pipeline.drop("preset/_retake.json", {"promt": "ink"})
    refused = pipeline.until("preset/_retake.json", "REFUSED")
    assert "did you mean prompt" in refused["do_now"]
    pipeline.drop("preset/one.mp4", clip)
    waiting = pipeline.until("preset/one.mp4", "WAITING")
    assert "preset/_retake.json is corrected" in waiting["message"]

    preset = {"prompt": "ink", "mode": "flex_1", "first_frame": "{name}.png"}
    pipeline.drop("preset/_retake.json", preset)
    pipeline.drop("preset/two.mp4", clip)
    pipeline.drop("preset/one.png", look)
    pipeline.drop("preset/two.png", look)
    pipeline.drop("preset/three.json", {"prompt": "oil", "first_frame": "one.png"})
    pipeline.drop("preset/three.mp4", clip)
    pipeline.eventually(
        lambda: "starts with" in (pipeline.status("preset/one.mp4") or waiting)["message"],
        "the start in the message",
    )
    instructions = {}
    for name in ("one", "two", "three"):
        done = pipeline.until(f"preset/{name}.mp4", "DELIVERED")
        instructions[name] = (done["prompt"], done["mode"], done["first_frame"])
        assert pipeline.is_film(f"preset/{name}.mp4", done["request_id"])
    assert instructions == {
        "one": ("ink", "flex_1", "one.png"),
        "two": ("ink", "flex_1", "two.png"),
        "three": ("oil", "flex_1", "one.png"),
    }
    assert pipeline.status("preset/_retake.json") is None

    pipeline.drop("preset/_retake.json", {"prompt": "another"})
    for name in ("one.mp4", "two.mp4", "one.png", "_retake.json"):
        pipeline.send_drop_event(f"preset/{name}")
    pipeline.until_drained()
    assert len(pipeline.submitted("preset/")) == 3


def test_a_drop_whose_events_are_lost_is_found_by_the_audit(pipeline: Stack, clip: Path) -> None:
    with pipeline.losing_events():
        pipeline.drop_pair("lost/clip.mp4", clip, {"prompt": "nobody announced it"})
        pipeline.drop("lost/alone.mp4", clip)
    pipeline.audit()
    pipeline.until("lost/clip.mp4", "DELIVERED")
    pipeline.until("lost/alone.mp4", "WAITING")
    assert len(pipeline.submitted("lost/clip.mp4")) == 1

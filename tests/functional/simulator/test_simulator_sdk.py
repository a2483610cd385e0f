"""Segmind's SDK works with the simulator, without knowing it."""

import importlib
from collections.abc import Iterator

import httpx
import pytest
import segmind  # type: ignore[import-untyped]

from local.simulator import Simulator
from tests.support.clip_store import KEY, ClipStore


@pytest.fixture
def client(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[segmind.SegmindClient]:
    """The SDK's client of the simulator."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The package's attribute of that name is a client, not the module.
    history = importlib.import_module("segmind.generations")
    history_url = f"{simulator.history_url}/request-history"
    monkeypatch.setattr(history, "REQUEST_HISTORY_URL", history_url)
    client = segmind.SegmindClient(api_key=KEY, base_url=f"{simulator.url}/v1")
    yield client
    client._client.close()  # the SDK has no method to close it


def test_the_sdk_submits_and_waits(
    web: httpx.Client, client: segmind.SegmindClient, simulator: Simulator, store: ClipStore
) -> None:
    fields = {"video_url": f"{store.url}/clip.mp4", "mode": "flex_2", "prompt": "in oil"}
    job = client.submit_async("modify-video", **fields)
    assert job.status()["status"] in ("QUEUED", "PROCESSING")
    result = job.wait(timeout=15, interval=0.05)
    assert web.get(result["output"]).content[4:8] == b"ftyp"
    assert simulator.ledger()["paid_requests"] == 1


def test_the_sdk_times_out(
    client: segmind.SegmindClient, simulator: Simulator, store: ClipStore
) -> None:
    simulator.change(render_seconds=30)
    job = client.submit_async("modify-video", video_url=f"{store.url}/clip.mp4")
    with pytest.raises(segmind.InferenceTimeout):
        job.wait(timeout=0.2, interval=0.05)


@pytest.mark.parametrize("status", [200, 422])
def test_the_sdk_reports_a_failure(
    client: segmind.SegmindClient, simulator: Simulator, store: ClipStore, status: int
) -> None:
    simulator.change(fail="Content was blocked", failed_status=status)
    with pytest.raises(segmind.InferenceFailed) as caught:
        client.run("modify-video", video_url=f"{store.url}/clip.mp4")
    assert caught.value.detail == "Content was blocked"


def test_the_sdk_reads_the_history(client: segmind.SegmindClient, store: ClipStore) -> None:
    job = client.submit_async("modify-video", video_url=f"{store.url}/clip.mp4")
    job.wait(timeout=15, interval=0.05)
    history = client.generations.history(model_name="modify-video", status="COMPLETED")
    rows = history["data"]
    assert [row["request_id"] for row in rows] == [job.request_id]
    row = client.generations.get(job.request_id)
    assert row == rows[0]
    assert row["generation_url"].endswith(".mp4")
    with pytest.raises(segmind.SegmindError) as caught:
        client.generations.get("other")
    assert caught.value.status == 404


@pytest.mark.parametrize(("key", "status"), [(KEY, 406), ("SG_other", 401)])
def test_the_sdk_reports_missing_credits_and_a_wrong_key(
    client: segmind.SegmindClient, simulator: Simulator, store: ClipStore, key: str, status: int
) -> None:
    simulator.change(credits=0)
    client._client.headers["x-api-key"] = key
    with pytest.raises(segmind.SegmindError) as caught:
        client.submit_async("modify-video", video_url=f"{store.url}/clip.mp4")
    assert caught.value.status == status

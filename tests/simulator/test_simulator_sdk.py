"""The official SDK works against the simulator, unaware."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import httpx
import pytest
import segmind  # type: ignore[import-untyped]

from local.simulator import Simulator
from tests.simulator.clip_store import KEY, Store


@pytest.fixture
def client(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[segmind.SegmindClient]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    history = importlib.import_module("segmind.generations")  # the attribute of that name is a client, not the module
    monkeypatch.setattr(history, "REQUEST_HISTORY_URL", f"{sim.history_url}/request-history")
    client = segmind.SegmindClient(api_key=KEY, base_url=f"{sim.url}/v1")
    yield client
    client._client.close()  # it has no close of its own


def test_the_sdk_submits_and_waits(web: httpx.Client, client: segmind.SegmindClient, sim: Simulator, store: Store) -> None:
    job = client.submit_async("modify-video", video_url=f"{store.url}/clip.mp4", mode="flex_2", prompt="in oil")
    assert job.status()["status"] in ("QUEUED", "PROCESSING")
    result = job.wait(timeout=15, interval=0.05)
    assert web.get(result["output"]).content[4:8] == b"ftyp"
    assert sim.ledger()["paid_requests"] == 1


def test_the_sdk_times_out(client: segmind.SegmindClient, sim: Simulator, store: Store) -> None:
    sim.change(render_seconds=30)
    job = client.submit_async("modify-video", video_url=f"{store.url}/clip.mp4")
    with pytest.raises(segmind.InferenceTimeout):
        job.wait(timeout=0.2, interval=0.05)


@pytest.mark.parametrize("status", [200, 422])
def test_the_sdk_sees_a_failure(client: segmind.SegmindClient, sim: Simulator, store: Store, status: int) -> None:
    sim.change(fail="Content was blocked", failed_status=status)
    with pytest.raises(segmind.InferenceFailed) as caught:
        client.run("modify-video", video_url=f"{store.url}/clip.mp4")
    assert caught.value.detail == "Content was blocked"


def test_the_sdk_reads_the_history(client: segmind.SegmindClient, store: Store) -> None:
    job = client.submit_async("modify-video", video_url=f"{store.url}/clip.mp4")
    job.wait(timeout=15, interval=0.05)
    rows = client.generations.history(model_name="modify-video", status="COMPLETED")["data"]
    assert [row["request_id"] for row in rows] == [job.request_id]
    row = client.generations.get(job.request_id)
    assert row == rows[0]
    assert row["generation_url"].endswith(".mp4")
    with pytest.raises(segmind.SegmindError) as caught:
        client.generations.get("other")
    assert caught.value.status == 404


def test_the_sdk_sees_a_wrong_key_and_an_empty_purse(client: segmind.SegmindClient, sim: Simulator, store: Store) -> None:
    sim.change(credits=0)
    for key, status in ((KEY, 406), ("SG_other", 401)):
        client._client.headers["x-api-key"] = key
        with pytest.raises(segmind.SegmindError) as caught:
            client.submit_async("modify-video", video_url=f"{store.url}/clip.mp4")
        assert caught.value.status == status

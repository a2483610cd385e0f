"""Rendering: clips are fetched by range, and results show their mode, first frame, and sound."""

import itertools
from collections.abc import Callable

import httpx
import pytest

from local.simulator.render import EFFECTS
from tests.support.clip_store import ClipStore
from tests.support.media import difference, pixels

Submit = Callable[..., str]
WaitForEnd = Callable[[str], httpx.Response]
Download = Callable[[str], bytes]


@pytest.fixture
def download(web: httpx.Client, api: httpx.Client, wait_for_end: WaitForEnd) -> Download:
    """Wait until a request is completed and return its video."""

    def download(request_id: str) -> bytes:
        assert wait_for_end(request_id).json()["status"] == "COMPLETED"
        return web.get(api.get(f"/v2/requests/{request_id}").json()["output"]).content

    return download


def test_every_mode_looks_different_and_a_higher_number_is_stronger(
    store: ClipStore, submit: Submit, download: Download
) -> None:
    request_ids = {mode: submit(mode=mode) for mode in EFFECTS}
    frames = {mode: pixels(download(request_id)) for mode, request_id in request_ids.items()}
    original = pixels((store.folder / "clip.mp4").read_bytes())
    for one, other in itertools.combinations(frames, 2):
        assert difference(frames[one], frames[other]) > 4, (one, other)
    change = {mode: difference(frame, original) for mode, frame in frames.items()}
    for family in ("adhere", "flex"):
        assert 4 < change[f"{family}_1"] < change[f"{family}_2"] < change[f"{family}_3"], change
    weakest_reimagine = min(change[f"reimagine_{number}"] for number in (1, 2, 3))
    assert change["adhere_1"] < change["flex_1"] < weakest_reimagine, change


def test_the_first_frame_is_shown_in_the_corner(
    store: ClipStore, submit: Submit, download: Download
) -> None:
    plain, framed = submit(), submit(first_frame_url=f"{store.url}/frame.png")
    corner = pixels(download(framed))[: 3 * 20]
    red, green, blue = (sum(corner[channel::3]) / 20 for channel in range(3))
    assert red > 200
    assert green < 60
    assert blue < 60
    assert difference(corner, pixels(download(plain))[: 3 * 20]) > 20


def test_the_clip_is_fetched_by_range_and_its_sound_is_kept(
    store: ClipStore, submit: Submit, download: Download
) -> None:
    silent, loud = submit(), submit("sound.mp4")
    assert b"soun" in download(loud)
    video = download(silent)
    assert b"soun" not in video
    assert video.index(b"moov") < video.index(b"mdat")
    assert b"avc1" in video
    assert ("/sound.mp4", "bytes=0-31") in store.requests
    assert ("/sound.mp4", None) in store.requests

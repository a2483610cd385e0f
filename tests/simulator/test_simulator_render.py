"""The rendering: fetched by range, different for each mode, with the first frame and the sound in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import httpx
import pytest

from local.simulator.render import EFFECTS
from tests.media import difference, pixels
from tests.simulator.clip_store import Store

Submit = Callable[..., str]
Ended = Callable[[str], httpx.Response]
Rendered = Callable[[str], bytes]


@pytest.fixture
def rendered(web: httpx.Client, api: httpx.Client, ended: Ended) -> Rendered:
    """Wait for a request and return its video."""

    def rendered(request_id: str) -> bytes:
        assert ended(request_id).json()["status"] == "COMPLETED"
        return web.get(api.get(f"/v2/requests/{request_id}").json()["output"]).content

    return rendered


def test_every_mode_looks_different_and_the_number_makes_it_stronger(store: Store, submit: Submit, rendered: Rendered) -> None:
    made = {mode: submit(mode=mode) for mode in EFFECTS}
    frames = {mode: pixels(rendered(request_id)) for mode, request_id in made.items()}
    original = pixels((store.folder / "clip.mp4").read_bytes())
    for one, other in itertools.combinations(frames, 2):
        assert difference(frames[one], frames[other]) > 4, (one, other)
    change = {mode: difference(frame, original) for mode, frame in frames.items()}
    for family in ("adhere", "flex"):
        assert 4 < change[f"{family}_1"] < change[f"{family}_2"] < change[f"{family}_3"], change
    assert change["adhere_1"] < change["flex_1"] < min(change[f"reimagine_{n}"] for n in (1, 2, 3)), change


def test_the_first_frame_is_seen_in_the_corner(store: Store, submit: Submit, rendered: Rendered) -> None:
    plain, framed = submit(), submit(first_frame_url=f"{store.url}/frame.png")
    corner = pixels(rendered(framed))[: 3 * 20]
    red, green, blue = (sum(corner[channel::3]) / 20 for channel in range(3))
    assert red > 200
    assert green < 60
    assert blue < 60
    assert difference(corner, pixels(rendered(plain))[: 3 * 20]) > 20


def test_the_clip_is_asked_for_by_range_and_its_sound_is_kept(store: Store, submit: Submit, rendered: Rendered) -> None:
    silent, loud = submit(), submit("sound.mp4")
    assert b"soun" in rendered(loud)
    video = rendered(silent)
    assert b"soun" not in video
    assert video.index(b"moov") < video.index(b"mdat")
    assert b"avc1" in video
    assert ("/sound.mp4", "bytes=0-31") in store.ranges
    assert ("/sound.mp4", None) in store.ranges

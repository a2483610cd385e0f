"""Rendering: clips are fetched by range, and results show their mode and first frame."""

import io
import itertools
import subprocess
from collections.abc import Callable

import av
import httpx
import imageio_ffmpeg
import pytest

from local.simulator import Simulator
from local.simulator.render import EFFECTS
from tests.support import media
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


def test_the_clip_is_fetched_by_range_and_the_result_is_silent(
    store: ClipStore, submit: Submit, download: Download
) -> None:
    video = download(submit("sound.mp4"))
    assert b"soun" not in video
    assert video.index(b"mdat") < video.index(b"moov"), "the index is at the end"
    assert b"avc1" in video
    assert ("/sound.mp4", "bytes=0-31") in store.requests
    assert ("/sound.mp4", None) in store.requests


@pytest.mark.parametrize("drift", [-3, 0, 3])
def test_a_result_has_24_frames_a_second_and_a_drift_on_demand(
    simulator: Simulator, submit: Submit, download: Download, drift: int
) -> None:
    simulator.add_rule("submit", settings={"drift_frames": drift})
    video = download(submit())
    assert media.frames(video) == 24 + drift
    with av.open(io.BytesIO(video)) as file:
        assert file.streams.video[0].average_rate == 24


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("hevc.mp4", ("-c:v", "libx265", "-x265-params", "log-level=error"), "not H.264"),
        ("444.mp4", ("-pix_fmt", "yuv444p"), "not 8 bit 4:2:0"),
        ("wide.mp4", ("-vf", "setsar=2"), "not made of square pixels"),
        ("fragmented.mp4", ("-movflags", "frag_keyframe+empty_moov"), "fragmented"),
        ("index-last.mp4", ("-movflags", "empty_moov-empty_moov"), "its index at the start"),
        ("quicktime.mp4", ("-f", "mov"), "a QuickTime file"),
        (
            "uneven.mp4",
            ("-vf", r"setpts=(N+gt(N\,5)*3)/10/TB", "-fps_mode", "vfr"),
            "without a constant frame rate",
        ),
        ("two.mp4", ("-map", "0:v", "-map", "0:v"), "several pictures"),
        ("long.mp4", ("-vf", "tpad=stop_duration=29:stop_mode=clone"), "30.0 s long"),
    ],
)
def test_input_that_nothing_promises_to_work_fails(
    store: ClipStore,
    submit: Submit,
    wait_for_end: WaitForEnd,
    name: str,
    options: tuple[str, ...],
    words: str,
) -> None:
    source = ("-f", "lavfi", "-i", "testsrc=size=96x64:rate=10:duration=1")
    path = store.folder / name
    plain = ("-pix_fmt", "yuv420p", "-movflags", "+faststart")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *plain, *options]
    subprocess.run([*command, str(path)], check=True)
    assert words in wait_for_end(submit(name)).text

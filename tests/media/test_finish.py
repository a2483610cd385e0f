"""A film has the picture of its render, the sound and the length of its clip, and a mark."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.video.frame import VideoFrame

from retake.domain.refusal import Refusal
from retake_media import sound
from retake_media.files import container_of
from retake_media.finish import Film, finish
from retake_media.look import is_streamable
from retake_media.marks import has_manifest

from . import footage

FRAME = 1 / 24
C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def render(folder: Path, frames: int = 48, **changes: Any) -> Path:
    """Write what the model gives back: silent, 24 frames a second, its index at the end."""
    given: dict[str, Any] = {"rate": 24, "seconds": frames / 24, "voice": None}
    return footage.write(folder / "render.mp4", **given | changes)


def make(folder: Path, clip: Path | None, rendered: Path, **changes: Any) -> tuple[Path, Any]:
    """Finish a film of two seconds."""
    voice = folder / "voice.m4a"
    has_sound = clip is not None and sound.extract(clip, str(container_of(clip)), voice)
    given: dict[str, Any] = {"seconds": 2.0, "size": footage.SIZE, "prompt": "oil"}
    film = folder / "film.mp4"
    return film, finish(rendered, voice if has_sound else None, film, **given | changes)


@pytest.mark.parametrize("drift", [-3, -1, 0, 1, 3])
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 25, Fraction(30000, 1001), 30, 60])
def test_a_drift_is_spread_so_that_picture_and_sound_stay_in_step(
    tmp_path: Path, rate: Fraction | int, drift: int
) -> None:
    clip = footage.write(tmp_path / "clip.mp4", rate=rate)
    seconds = round(2 * rate) / rate
    film, made = make(tmp_path, clip, render(tmp_path, 48 + drift), seconds=float(seconds))
    assert made == Film(float(seconds), 48 + drift, ())
    times = footage.shown(film)
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 48 + drift
    assert times[0] == 0
    assert max(gaps) - min(gaps) < 0.001
    assert footage.length(film) == pytest.approx(float(seconds), abs=0.002)
    assert footage.length(film, "audio") == pytest.approx(float(seconds), abs=FRAME)
    assert footage.clicks(film) == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=FRAME / 4)


def test_the_picture_is_copied_bit_for_bit(tmp_path: Path) -> None:
    rendered = render(tmp_path, colors=(1, 1, 1))
    film, _ = make(tmp_path, None, rendered)
    assert footage.packets(film, "video") == footage.packets(rendered, "video")


def test_an_untagged_picture_is_tagged_as_bt709(tmp_path: Path) -> None:
    film, _ = make(tmp_path, None, render(tmp_path))
    with av.open(str(film)) as file:
        context = file.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace) == (1, 1, 1)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_aac_is_copied_bit_for_bit(tmp_path: Path, rate: int, layout: str) -> None:
    clip = footage.write(tmp_path / "clip.mp4", voice_rate=rate, layout=layout)
    film, made = make(tmp_path, clip, render(tmp_path))
    assert made.warnings == ()
    original, copied = footage.packets(clip), footage.packets(film)
    assert copied[: len(original)] == original[: len(copied)]
    assert abs(len(copied) - len(original)) <= 2
    assert footage.clicks(film) == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=FRAME / 4)


@pytest.mark.parametrize(
    ("name", "voice", "codec"),
    [
        ("clip.mov", "pcm_s16le", "libx264"),
        ("clip.mkv", "flac", "libx264"),
        ("clip.mkv", "libmp3lame", "libx264"),
        ("clip.webm", "libopus", "libvpx"),
        ("clip.ts", "ac3", "mpeg2video"),
        ("clip.avi", "libmp3lame", "mpeg4"),
    ],
)
def test_other_sound_is_encoded_once(tmp_path: Path, name: str, voice: str, codec: str) -> None:
    clip = footage.write(tmp_path / name, voice=voice, codec=codec)
    film, made = make(tmp_path, clip, render(tmp_path))
    assert isinstance(made, Film)
    with av.open(str(film)) as file:
        assert file.streams.audio[0].codec_context.name == "aac"
    assert footage.clicks(film)[:4] == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=FRAME)


@pytest.mark.parametrize("seconds", [1.5, 2.5])
def test_sound_is_cut_or_followed_by_silence_where_the_picture_ends(
    tmp_path: Path, seconds: float
) -> None:
    clip = footage.write(tmp_path / "clip.mp4", voice_seconds=seconds)
    film, _ = make(tmp_path, clip, render(tmp_path))
    assert footage.length(film, "audio") == pytest.approx(2, abs=FRAME)
    assert footage.length(film) == pytest.approx(2, abs=0.002)


def test_sound_that_starts_late_stays_late(tmp_path: Path) -> None:
    clip = footage.write(tmp_path / "clip.mp4", voice_starts=0.25, voice_seconds=1.7)
    film, _ = make(tmp_path, clip, render(tmp_path))
    assert footage.clicks(film) == pytest.approx([0.5, 1, 1.5], abs=FRAME / 4)


def test_a_silent_clip_makes_a_silent_film(tmp_path: Path) -> None:
    clip = footage.write(tmp_path / "clip.mp4", voice=None)
    film, _ = make(tmp_path, clip, render(tmp_path))
    with av.open(str(film)) as file:
        assert len(file.streams) == 1


def test_the_sound_of_a_render_is_not_added(tmp_path: Path) -> None:
    clip = footage.write(tmp_path / "clip.mp4")
    film, _ = make(tmp_path, clip, render(tmp_path, voice="aac", voice_starts=0.2))
    with av.open(str(film)) as file:
        assert [track.type for track in file.streams] == ["video", "audio"]
    assert footage.clicks(film) == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=FRAME / 4)


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
def test_the_index_of_a_film_comes_first(tmp_path: Path, movflags: str) -> None:
    rendered = render(tmp_path, **{"movflags": movflags} if movflags else {})
    film, made = make(tmp_path, None, rendered)
    assert isinstance(made, Film)
    assert is_streamable(film)


def test_the_same_files_make_the_same_film(tmp_path: Path) -> None:
    clip, rendered = footage.write(tmp_path / "clip.mp4"), render(tmp_path)
    films = [make(tmp_path, clip, rendered)[0].read_bytes() for _ in range(2)]
    assert films[0] == films[1]


# ─── Marks ────────────────────────────────────────────────────────────────────────────────────


def test_a_film_says_that_an_ai_system_made_it(tmp_path: Path) -> None:
    film, _ = make(tmp_path, None, render(tmp_path), prompt="a <b> & \x1b[31m c")
    content = film.read_bytes()
    assert b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in content
    assert b"<Iptc4xmpExt:AIPromptInformation>a &lt;b&gt; &amp;  [31m c<" in content


def test_a_c2pa_manifest_of_the_render_is_said(tmp_path: Path) -> None:
    rendered = render(tmp_path)
    assert not has_manifest(rendered)
    with rendered.open("ab") as file:
        file.write((24).to_bytes(4) + b"uuid" + C2PA)
    assert has_manifest(rendered)
    _, made = make(tmp_path, None, rendered)
    assert made.warnings == (
        "the render carries a C2PA manifest, which only the staged file keeps",
    )


# ─── Strange renders ──────────────────────────────────────────────────────────────────────────


def black(number: int, width: int, height: int) -> VideoFrame:
    frame = VideoFrame(width, height, "gray")
    frame.planes[0].update(b"\x10" * frame.planes[0].buffer_size)
    return frame


def still(number: int, width: int, height: int) -> VideoFrame:
    return footage.picture(5, width, height)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"drawing": black}, "the picture is black"),
        ({"drawing": still}, "the picture is frozen"),
        ({"size": (120, 160)}, "another shape: 120×160; the clip has 160×120"),
        ({"frames": 96}, "the render lasts 4.0 s, the clip 2.0 s"),
    ],
)
def test_a_strange_render_is_delivered_with_a_warning(
    tmp_path: Path, changes: dict[str, Any], warning: str
) -> None:
    _, made = make(tmp_path, None, render(tmp_path, **changes))
    assert len(made.warnings) == 1
    assert warning in made.warnings[0]


def test_a_render_with_uneven_timing_keeps_it(tmp_path: Path) -> None:
    times = [number + (number > 20) * 2 for number in range(46)]
    film, made = make(tmp_path, None, render(tmp_path, 46, times=times))
    assert isinstance(made, Film)
    shown = footage.shown(film)
    assert shown[21] - shown[20] == pytest.approx(3 / 24, abs=0.002)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_render_that_is_cut_off_is_not_finished(tmp_path: Path, share: float) -> None:
    rendered = render(tmp_path, movflags="faststart")
    content = rendered.read_bytes()
    rendered.write_bytes(content[: int(share * len(content))])
    _, made = make(tmp_path, None, rendered)
    assert isinstance(made, Refusal)


@pytest.mark.parametrize("content", [b"", b"not a video", b"\0" * 1000])
def test_what_is_not_a_video_is_not_finished(tmp_path: Path, content: bytes) -> None:
    rendered = tmp_path / "render.mp4"
    rendered.write_bytes(content)
    assert isinstance(make(tmp_path, None, rendered)[1], Refusal)

"""Whatever people drop becomes what the model takes, in step with its sound, or is refused."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from retake.domain.footage import Footage, plan
from retake.domain.refusal import Refusal
from retake_media import operations
from retake_media.look import look

from . import footage
from .kinds import KINDS, number_of
from .traps import TRAPS

# They decode to their ends: what lies is a header that no decoder believes.
HARMLESS = {"huge size", "endless segment"}
SHOWN_LATE = 1  # frames by which a change of the frame rate may show a frame late


def prepare(clip: Path, short_side: int | None = 1080, frame: Path | None = None) -> dict[str, str]:
    """Prepare a clip, and return where its files are."""
    made = operations.prepare(
        str(clip), str(frame) if frame else None, str(clip.parent), short_side, 30
    )
    assert not isinstance(made, Refusal), made
    return made


def numbers(path: Path) -> list[tuple[float, int]]:
    """Return when frames are shown, and the numbers that they show."""
    with av.open(str(path)) as file:
        frames = list(file.decode(file.streams.video[0]))
    return [(frame.time - frames[0].time, number_of(frame)) for frame in frames]


@pytest.mark.parametrize("kind", KINDS)
def test_footage_becomes_what_the_model_takes_in_step_with_its_sound(
    tmp_path: Path, kind: str
) -> None:
    clip = KINDS[kind](tmp_path)
    before = look(clip, max_seconds=30)
    assert isinstance(before, Footage)
    original = numbers(clip)
    clicks = footage.clicks(clip) if before.sound else []
    made = prepare(clip)
    after = look(Path(made["clip"]), max_seconds=30)
    assert isinstance(after, Footage)
    assert plan(after, 1080).steps == (), "it needs nothing more"
    assert after.sound is None
    assert after.upright == pytest.approx(before.upright, abs=1)
    assert after.seconds == pytest.approx(before.seconds, abs=1 / after.frame_rate)
    # Each moment shows what it showed, upright: compare the numbers that the frames tell.
    for at, number in numbers(Path(made["clip"])):
        expected = [each for when, each in original if when <= at + 0.001][-1]
        assert abs(number - expected) <= SHOWN_LATE + before.frame_rate / after.frame_rate
    assert bool(made["sound"]) == (before.sound is not None)
    heard = footage.clicks(Path(made["sound"])) if made["sound"] else []
    # A codec may lose the click with which the sound begins.
    assert [at for at in heard if at > 0.1] == pytest.approx(
        [at for at in clicks if at > 0.1], abs=1 / 30
    )


def test_a_clip_that_fits_is_not_touched(tmp_path: Path) -> None:
    clip = footage.write(tmp_path / "clip.mp4", voice=None, movflags="faststart")
    content = clip.read_bytes()
    made = prepare(clip)
    assert made["steps"] == []
    assert Path(made["clip"]).read_bytes() == content


@pytest.mark.parametrize("kind", ["plain mp4", "index last", "fragmented mp4", "mkv", "m4v"])
def test_a_picture_that_fits_is_copied_bit_for_bit(tmp_path: Path, kind: str) -> None:
    clip = KINDS[kind](tmp_path)
    packets = footage.packets(clip, "video")
    made = prepare(clip)
    assert len(footage.packets(Path(made["clip"]), "video")) == len(packets)
    assert not any("encoded" in step for step in made["steps"])


def test_colors_of_another_standard_become_those_of_bt709(tmp_path: Path) -> None:
    clip = footage.write(tmp_path / "clip.mp4", voice=None, colors=(6, 6, 6), movflags="faststart")
    made = prepare(clip)
    assert "converted to the colors of bt709" in made["steps"]
    after = look(Path(made["clip"]), max_seconds=30)
    assert isinstance(after, Footage)
    assert after.is_bt709


@pytest.mark.parametrize(("short_side", "size"), [(120, (160, 120)), (None, (320, 240))])
def test_a_clip_is_scaled_down_and_never_up(
    tmp_path: Path, short_side: int | None, size: tuple[int, int]
) -> None:
    clip = KINDS["plain mp4"](tmp_path)
    found = look(Path(prepare(clip, short_side)["clip"]), max_seconds=30)
    assert isinstance(found, Footage)
    assert found.upright == size


def test_a_clip_larger_than_100_mb_is_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = footage.write(tmp_path / "clip.mp4", codec_options={"qp": "1"})
    limit = clip.stat().st_size // 2
    monkeypatch.setattr("retake_media.convert.MAX_CLIP_BYTES", limit)
    monkeypatch.setattr("retake.domain.footage.MAX_CLIP_BYTES", limit)
    made = prepare(clip)
    assert Path(made["clip"]).stat().st_size <= limit


@pytest.mark.parametrize("seconds", [2.0, 1.9])
def test_a_clip_must_be_shorter_than_the_limit(tmp_path: Path, seconds: float) -> None:
    refused = look(KINDS["plain mp4"](tmp_path), max_seconds=seconds)
    assert isinstance(refused, Refusal)
    assert "it must be shorter than" in refused.reason


# ─── First frames ─────────────────────────────────────────────────────────────────────────────


def image(path: Path, width: int, height: int) -> Path:
    """Draw an image."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as output:
        picture = output.add_stream("png" if path.suffix == ".png" else "mjpeg", rate=1)
        context = picture.codec_context
        context.width, context.height = width, height
        context.pix_fmt = "rgb24" if path.suffix == ".png" else "yuvj420p"
        frame = footage.picture(3, width, height).reformat(format=context.pix_fmt)
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
    return path


@pytest.mark.parametrize(
    ("size", "step"),
    [((320, 240), None), ((640, 480), "scaled"), ((400, 400), "cropped"), ((90, 60), "scaled")],
)
def test_a_first_frame_gets_the_size_of_its_clip(
    tmp_path: Path, size: tuple[int, int], step: str | None
) -> None:
    made = prepare(KINDS["plain mp4"](tmp_path), frame=image(tmp_path / "look.png", *size))
    with av.open(made["frame"]) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.width, context.height) == ("mjpeg", 320, 240)
    assert step is None or any(f"first frame {step}" in each for each in made["steps"])


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff" * 99])
def test_what_is_no_image_is_no_first_frame(tmp_path: Path, content: bytes) -> None:
    frame = tmp_path / "look.png"
    frame.write_bytes(content)
    clip = KINDS["plain mp4"](tmp_path)
    refused = operations.prepare(str(clip), str(frame), str(tmp_path), 1080, 30)
    assert isinstance(refused, Refusal)
    assert refused.field == "first_frame"


# ─── Traps ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_refused_in_words(tmp_path: Path, trap: str) -> None:
    found = look(TRAPS[trap](tmp_path), max_seconds=30)
    if trap in HARMLESS:
        assert isinstance(found, Footage)
        return
    assert isinstance(found, Refusal)
    assert found.reason.startswith("the clip ")
    assert found.cure

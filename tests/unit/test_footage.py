"""What has to be done to a clip, decided without any video."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from retake.domain.footage import Footage, Sound, plan
from tests.support.stand_ins import FOOTAGE

SOUND = Sound(codec="aac", channels=2, rate=48000, seconds=1.0)


def steps(short_side: int | None = 1080, **changes: Any) -> str:
    return "; ".join(plan(replace(FOOTAGE, **changes), short_side).steps)


def test_a_clip_that_fits_needs_nothing() -> None:
    assert plan(FOOTAGE, 1080).steps == ()
    assert not plan(FOOTAGE, None).encodes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"container": "mov"}, "copied into an MP4"),
        ({"container": "matroska"}, "copied into an MP4"),
        ({"is_streamable": False}, "given its index at the start"),
        ({"tracks": 3, "sound": SOUND}, "reduced to its picture"),
    ],
)
def test_what_is_around_the_picture_is_changed_by_copying_it(
    changes: dict[str, Any], words: str
) -> None:
    assert words in steps(**changes)
    assert not plan(replace(FOOTAGE, **changes), 1080).encodes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codec": "hevc", "profile": "Main"}, "converted from hevc"),
        ({"profile": "High 10", "pixel_format": "yuv420p10le"}, "converted from h264"),
        ({"pixel_format": "yuv444p"}, "converted from h264 yuv444p"),
        ({"transfer": "hlg"}, "tone-mapped from HLG to bt709"),
        ({"transfer": "pq"}, "tone-mapped from PQ to bt709"),
        ({"pixel_format": "yuvj420p"}, "converted from h264 yuvj420p"),
        ({"is_bt709": False}, "converted to the colors of bt709"),
        ({"rotation": 90}, "turned upright"),
        ({"sample_aspect": "64/45"}, "given square pixels"),
        ({"is_constant": False}, "given a constant frame rate"),
        ({"is_interlaced": True}, "deinterlaced"),
        ({"frame_rate": 120.0}, "given a lower frame rate"),
        ({"width": 1921}, "scaled to"),
        ({"width": 3840, "height": 2160}, "scaled to 1920×1080"),
        ({"size": 100_000_001}, "made smaller than 100 MB"),
        ({"container": "avi"}, "converted from avi"),
    ],
)
def test_what_the_model_does_not_take_is_encoded(changes: dict[str, Any], words: str) -> None:
    assert words in steps(**changes)
    assert plan(replace(FOOTAGE, **changes), 1080).encodes


@pytest.mark.parametrize(
    ("stored", "short_side", "size"),
    [
        ({}, 1080, (1920, 1080)),
        ({}, 720, (1280, 720)),
        ({}, None, (1920, 1080)),
        ({"rotation": 270}, 720, (720, 1280)),
        ({"width": 720, "height": 576, "sample_aspect": "64/45"}, 1080, (1024, 576)),
        ({"width": 321, "height": 241}, 1080, (320, 240)),
        ({"width": 640, "height": 360}, 1080, (640, 360)),
    ],
)
def test_the_short_side_is_limited_and_the_shape_is_kept(
    stored: dict[str, Any], short_side: int | None, size: tuple[int, int]
) -> None:
    planned = plan(replace(FOOTAGE, **stored), short_side)
    assert (planned.width, planned.height) == size


@pytest.mark.parametrize(
    ("found", "sent"),
    [
        (23.976, Fraction(24000, 1001)),
        (24.0, Fraction(24)),
        (29.97, Fraction(30000, 1001)),
        (29.997, Fraction(30)),
        (50.0, Fraction(25)),
        (59.94, Fraction(30000, 1001)),
        (60.0, Fraction(30)),
        (240.0, Fraction(30)),
        (10.0, Fraction(10)),
    ],
)
def test_an_encoded_clip_has_a_usual_rate_of_at_most_30_frames(
    found: float, sent: Fraction
) -> None:
    assert plan(replace(FOOTAGE, frame_rate=found, codec="vp9"), 1080).rate == sent


def test_a_clip_is_described_in_one_line() -> None:
    phone = replace(
        FOOTAGE,
        codec="hevc",
        transfer="hlg",
        rotation=90,
        frame_rate=29.97,
        seconds=12.4,
        size=48_000_000,
        sound=SOUND,
    )
    assert phone.describe() == "1080×1920, 29.97 fps, hevc HLG, 12.4 s, 48.0 MB, aac, 2 ch"
    assert isinstance(phone, Footage)

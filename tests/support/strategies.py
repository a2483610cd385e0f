"""Hypothesis strategies for sidecars, presets and object keys, valid and hostile."""

import json
from typing import Any

from hypothesis import strategies as st

from retake.domain import sidecar

MODES = [
    f"{family}_{strength}" for family in ("adhere", "flex", "reimagine") for strength in (1, 2, 3)
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SIDECARS = st.fixed_dictionaries(
    {},
    optional={
        "prompt": TEXT,
        "mode": st.sampled_from(MODES),
        "first_frame": st.sampled_from(["look.png", "Look.JPG", "ein Bild.jpeg", "..webp"]),
        "rerun": st.integers(1, 1_000_000),
        "$schema": TEXT,
    },
)


SIDECAR_FIELDS = sorted(sidecar.SCHEMA["properties"])
_ANY_TEXT = st.text(st.characters(), max_size=30)  # with lone surrogates, which JSON can spell
_TRICKS = st.sampled_from(
    [
        *("\u202egpj.exe", "\x1b[2J", "\0", "\x9b31m", "../../x.png", "..\\x.png", "a.png\n"),
        *("\ud800", "ﬁ.png", "https://h/\u202e", "\u212a.png", "K.png"),
    ]
)
_NUMBERS = st.sampled_from(
    [
        *("1e999", "-1e999", "1E-999", "9" * 4300, "9" * 4301, "-0", "0.0", "1e6"),
        *("1.0000000000000001", "01", "+1", ".5", "1."),
    ]
)
_BROKEN = st.sampled_from(["NaN", "Infinity", "-Infinity", "nul", "{", "[1,]", "'x'", "/**/1"])
_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _ANY_TEXT | _TRICKS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
_NAMES = st.sampled_from(SIDECAR_FIELDS) | _ANY_TEXT | _TRICKS
# Names and values as JSON spells them, or fails to.
JSON_PAIRS = st.lists(
    st.tuples(_NAMES.map(json.dumps), _VALUES.map(json.dumps) | _NUMBERS | _BROKEN), max_size=6
)
_OBJECTS = JSON_PAIRS.map(
    lambda pairs: "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}"
)
_STARTS = st.sampled_from(["", "\ufeff", "\ufeff\ufeff", " \n", "\0"])
_CODECS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp037"])
JSON_FILES = st.builds(
    lambda start, text, codec: (start + text).encode(codec, "ignore"), _STARTS, _OBJECTS, _CODECS
)


JOB_ID = "0123456789abcdef" * 2
KEY_PIECES = st.sampled_from(
    [
        *("..", ".", "/", "//", "../", "clip", ".mp4", ".MP4", ".json", ".JSON", ".png", ".mov"),
        *(".job", ".error", ".job.json", ".error.json", ".retake", JOB_ID),
        *(".01234567", "~", "\0", "\n", "\x1b[2J", "\u202e", "\ufeff", "🎬", "é", "e\u0301"),
        *("İ", "\u212a", "K", "%2e%2e%2f", "+", " ", "\\", "s3://", "input#", "frame#"),
        *("x" * 300, "映" * 100),
    ]
)
OBJECT_KEYS = (
    st.lists(KEY_PIECES, min_size=1, max_size=9)
    .map(lambda pieces: "".join(pieces).encode()[:1024].decode(errors="ignore"))
    .filter(bool)
)

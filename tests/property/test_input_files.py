"""Hostile keys: each has a kind, stays in its folder, and its outputs collide with nothing."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.domain import input_files
from retake.domain.input_files import FileKind, kind_of
from retake.domain.limits import MAX_KEY_BYTES
from retake.domain.sidecar import Sidecar, parse
from tests.support.strategies import JOB_ID, KEY_PIECES, OBJECT_KEYS

from . import fuzz


@fuzz
@given(OBJECT_KEYS)
@example(".mp4")
@example(".json")
@example("/.MP4")
@example("clip.mp4.job.json")
@example("x" * 1020 + ".mp4")
@example("." + "x" * 1020)
def test_any_key_has_a_kind_and_names_that_s3_can_hold(key: str) -> None:
    assert isinstance(kind_of(key), FileKind)
    assert input_files.refuse_by_name(key).reason
    assert key.startswith(input_files.stem(key))
    overtaken = input_files.overtaken_key(key, JOB_ID)
    names = [
        input_files.status_key(name, suffix)
        for name in (key, overtaken)
        for suffix in (".job.json", ".error.json")
    ]
    if kind_of(key) in (FileKind.CLIP, FileKind.IMAGE):
        names += [overtaken, input_files.output_key(key), input_files.output_key(overtaken)]
    assert all(0 < len(name.encode()) <= MAX_KEY_BYTES for name in names)


@fuzz
@given(OBJECT_KEYS, OBJECT_KEYS)
def test_a_status_file_never_has_the_name_of_another_or_of_a_result(one: str, other: str) -> None:
    if one == other:
        return
    status_key, overtaken_key = input_files.status_key, input_files.overtaken_key
    for suffix in (".job.json", ".error.json"):
        assert status_key(one, suffix) != status_key(other, suffix)
        assert kind_of(status_key(one, suffix)) is not FileKind.CLIP
    assert status_key(one, ".job.json") != status_key(other, ".error.json")
    assert overtaken_key(one, JOB_ID) != overtaken_key(other, JOB_ID)


@fuzz
@given(OBJECT_KEYS, st.lists(KEY_PIECES, max_size=5).map("".join))
@example("a/clip.mp4", "..")
@example("a/clip.mp4", "../x")
def test_an_accepted_first_frame_lies_in_the_folder_of_its_clip(key: str, name: str) -> None:
    sidecar = parse(json.dumps({"first_frame": f"{name}.png"}).encode())
    if isinstance(sidecar, Sidecar) and sidecar.first_frame:
        frame_key = input_files.beside(key, sidecar.first_frame)
        assert frame_key.rpartition("/")[0] == key.rpartition("/")[0]
        assert frame_key.rpartition("/")[2] not in ("", ".", "..")
        assert kind_of(frame_key) in (FileKind.IMAGE, FileKind.IGNORED)


@pytest.mark.parametrize("key", ["clip.mp4/", "a//"])
def test_folders_are_ignored(key: str) -> None:
    assert kind_of(key) is FileKind.IGNORED

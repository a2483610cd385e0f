"""Work on media that crashes, hangs, or needs too much ends in words; the function lives on."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from retake.domain.refusal import Refusal
from retake.services.prepare import Prepared
from retake_media import sandbox
from retake_media.tools import Tools
from tests.support.stand_ins import FOOTAGE

from . import footage
from .kinds import KINDS

SEEDS = range(12)


def run_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> Any:
    """Run code as an operation of the sandbox."""
    package = tmp_path / "retake_media"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    return sandbox.run("anything", {"value": 1})


def test_a_result_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    echo = "import sys; sys.stdout.write(sys.stdin.read())"
    assert run_python(monkeypatch, tmp_path, echo) == {"value": 1}


def test_the_process_has_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    names = "import json, os, sys; json.dump({'names': sorted(os.environ)}, sys.stdout)"
    found = run_python(monkeypatch, tmp_path, names)
    assert not [name for name in found["names"] if "AWS" in name]


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE"])
def test_a_decoder_that_crashes_refuses_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    crash = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    refused = run_python(monkeypatch, tmp_path, crash)
    assert isinstance(refused, Refusal)
    assert "the decoder crashed, or reached a limit" in refused.reason


def test_work_that_takes_too_long_refuses_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sandbox, "TIMEOUT_SECONDS", 0.5)
    refused = run_python(monkeypatch, tmp_path, "import time; time.sleep(60)")
    assert isinstance(refused, Refusal)
    assert "takes longer than" in refused.reason


@pytest.mark.parametrize(
    "body", ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('x')"]
)
def test_a_process_that_is_stopped_from_outside_or_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str
) -> None:
    with pytest.raises(sandbox.StoppedError):
        run_python(monkeypatch, tmp_path, body)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits exist on Unix only")
def test_memory_and_files_are_limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(sandbox, "MAX_FILE_BYTES", 1000)
        sandbox.limit()
        with (tmp_path / "large").open("wb", buffering=0) as file:
            file.write(b"x" * 5000)
            file.write(b"x" * 5000)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGXFSZ


def test_a_clip_is_prepared_and_a_film_is_finished_in_processes_of_their_own(
    tmp_path: Path,
) -> None:
    clip = KINDS["phone mov"](tmp_path)
    made = Tools().prepare(clip, None, short_side=1080, max_seconds=30)
    assert isinstance(made, Prepared)
    assert made.footage.rotation
    assert made.sound
    film = tmp_path / "film.mp4"
    render = footage.write(tmp_path / "render.mp4", rate=24, size=(240, 320), voice=None)
    warnings = Tools().finish(render, made.sound, film, footage=made.footage, prompt="ink")
    assert warnings == ()
    assert footage.clicks(film)


def test_what_cannot_be_worked_on_is_refused_by_both(tmp_path: Path) -> None:
    text = tmp_path / "clip"
    text.write_bytes(b"text")
    refused = Tools().prepare(text, None, short_side=None, max_seconds=30)
    assert isinstance(refused, Refusal)
    film = Tools().finish(text, None, tmp_path / "film.mp4", footage=FOOTAGE, prompt="")
    assert isinstance(film, Refusal)


@pytest.mark.slow
def test_damage_anywhere_gives_a_clip_or_a_refusal(tmp_path: Path) -> None:
    kinds = ["plain mp4", "mkv", "avi", "mpeg ps", "interlaced mts", "wmv", "webm vp9"]
    contents = {kind: KINDS[kind](tmp_path).read_bytes() for kind in kinds}
    for seed in SEEDS:
        dice = random.Random(seed)
        kind = dice.choice(kinds)
        damaged = bytearray(contents[kind])
        for _ in range(dice.choice((1, 10, 300))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        folder = tmp_path / str(seed)
        folder.mkdir()
        clip = folder / "clip"
        clip.write_bytes(damaged[: dice.choice((len(damaged), dice.randrange(len(damaged))))])
        made = Tools().prepare(clip, None, short_side=1080, max_seconds=30)
        assert isinstance(made, Prepared | Refusal), f"seed {seed}, {kind}"

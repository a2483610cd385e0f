"""The page in a real browser, from disk and with links, with real clips."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retake.domain.job import State
from retake_cli.commands.gallery import Beside, Take, Video, render, write
from tests.support.browser import Browser
from tests.support.takes import HOSTILE, NOW, take

TIMES = "[...document.querySelectorAll('.playing video')].map(video => video.currentTime)"
CARDS = "[...document.querySelectorAll('.card')]"
VIDEOS = "[...document.querySelectorAll('video')]"
SHOWN = f"{CARDS}.filter(card => !card.hidden).map(card => card.dataset.clip)"
FOCUSED = "document.activeElement.dataset.clip"
# For each card, whether its two videos lie beside or below each other.
APART = f"""{CARDS}.map(card => {{
    const [one, other] = [...card.querySelectorAll('video')]
        .map(video => video.getBoundingClientRect());
    return other.x >= one.right || other.y >= one.bottom; }})"""
# The bytes by which a picture of a clip is larger than one of an empty stage.
CLIP_PICTURE_BYTES = 2000


def show(
    browser: Browser, folder: Path, takes: list[Take], width: int = 1280, height: int = 800
) -> None:
    """Open the page of some takes."""
    browser.open(write(render(takes, "Retake", NOW), folder).as_uri(), width, height)


def choose(browser: Browser, field: str, value: str) -> list[str]:
    """Set a filter as a person does; return the clips that are shown."""
    element = f"the({json.dumps(field)})"
    browser.run(
        f"{element}.value = {json.dumps(value)}; {element}.dispatchEvent(new Event('input'))"
    )
    shown: list[str] = browser.run(SHOWN)
    return shown


@contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    """Serve a folder, as a bucket serves signed links; yield its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_both_videos_play_in_step_and_pause(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    show(browser, folder, [take(**videos)])
    browser.click(".play")
    browser.until(f"{TIMES}.length === 2 && {TIMES}.every(at => at > 0.3)")
    before, after = browser.run(TIMES)
    assert abs(before - after) < 0.2
    browser.click(".play")
    assert browser.run(f"{VIDEOS}.every(video => video.paused)")
    assert not browser.run("document.querySelector('.playing')")
    assert browser.logged == []


def test_both_videos_start_again_together_at_the_end(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    show(browser, folder, [take(**videos)])
    after = "document.querySelector('.after video')"
    browser.run(f"rounds = 0; {after}.addEventListener('ended', () => rounds++)")
    browser.click(".play")
    browser.until(f"rounds > 0 && {TIMES}.every(at => at > 0.2 && at < 1.5)")


def test_the_slider_moves_the_border_between_the_videos(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    show(browser, folder, [take(**videos)])
    clip_path = "getComputedStyle(document.querySelector('.after')).clipPath"
    assert "50%" in browser.run(clip_path)
    browser.drag(".split", 0.5, 0.25)
    assert "25%" in browser.run(clip_path)
    line, stage = (
        f"document.querySelector('{name}').getBoundingClientRect()" for name in (".line", ".stage")
    )
    position = browser.run(f"({line}.x + 1 - {stage}.x) / {stage}.width")
    assert position == pytest.approx(0.25, abs=0.01)


def test_posters_are_shown_before_anything_plays(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    beside = Beside(None, folder)
    with_posters = {name: beside(f"one.{name}", {}, 0.7) for name in videos}
    assert all(video.poster for video in with_posters.values())
    show(browser, folder, [take(**with_posters)])
    browser.until(f"{VIDEOS}.every(video => video.poster && video.readyState === 0)")
    loaded = [url for url in browser.requested if url.endswith(".mp4")]
    assert loaded == [], "a video is not loaded while its poster is shown"
    assert_clip_is_visible(browser, folder)


def test_without_posters_the_videos_show_a_picture_before_anything_plays(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    show(browser, folder, [take(**videos)])
    browser.until(f"{VIDEOS}.every(video => video.readyState > 1 && video.currentTime > 0.6)")
    assert_clip_is_visible(browser, folder)


def assert_clip_is_visible(browser: Browser, folder: Path) -> None:
    """Compare the window with one that has an empty stage: the clip is colorful, the stage not."""
    browser.until("document.querySelector('.stage').offsetWidth > 0")
    shown = browser.picture(folder / "shown.png").stat().st_size
    show(browser, folder, [take()])
    empty = browser.picture(folder / "empty.png").stat().st_size
    assert shown > empty + CLIP_PICTURE_BYTES


def test_one_card_or_all_cards_show_their_videos_side_by_side(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    show(browser, folder, [take(0, **videos), take(1, **videos)])
    assert browser.run(APART) == [False, False]
    browser.click(".view")
    assert browser.run(APART) == [True, False]
    browser.click("#views")
    assert browser.run(APART) == [True, True]
    browser.click("#views")
    assert browser.run(APART) == [False, False]


def test_only_the_retake_is_heard_and_only_when_sound_is_on(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    show(browser, folder, [take(0, **videos), take(1, **videos)])
    heard = f"{VIDEOS}.filter(video => !video.muted).map(video => video.ariaLabel)"
    assert browser.run(heard) == []
    browser.click("#sound")
    assert browser.run(heard) == ["After", "After"]
    browser.press("m")
    assert browser.run(heard) == []


def test_the_keyboard_moves_plays_and_shows_side_by_side(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    takes = [take(number, f"{number}.mp4", prompt="sand", **videos) for number in range(5)]
    show(browser, folder, takes)
    browser.press("ArrowRight")
    assert browser.run(FOCUSED) == "0.mp4"
    moves = (
        ("ArrowRight", "1"),
        ("ArrowDown", "3"),
        ("ArrowLeft", "2"),
        ("ArrowUp", "0"),
        ("ArrowLeft", "0"),
    )
    for key, expected in moves:
        browser.press(key)
        assert browser.run(FOCUSED) == f"{expected}.mp4", key
    browser.press("s")
    assert browser.run("document.activeElement.classList.contains('side')")
    scrolled = browser.run("scrollY")
    browser.press(" ")
    browser.until(f"{TIMES}.length && {TIMES}.every(at => at > 0.1)")
    assert browser.run("scrollY") == scrolled
    browser.press("ArrowRight")
    browser.press(" ")
    playing = "[...document.querySelectorAll('.playing')].map(card => card.dataset.clip)"
    assert browser.run(playing) == ["1.mp4"]
    browser.press("/")
    browser.press("s")
    assert browser.run("the('text').value") == "s"
    browser.press("Escape")
    assert browser.run(FOCUSED) == "1.mp4"


def test_takes_can_be_filtered_and_sorted(browser: Browser, folder: Path) -> None:
    takes = [
        take(1, "b/10.mp4", mode="flex_2", prompt="Ink and water"),
        take(2, "b/9.mp4", took=5.0),
        take(3, "a.mp4", state=State.FAILED),
    ]
    show(browser, folder, takes)
    assert browser.run(SHOWN) == ["b/10.mp4", "b/9.mp4", "a.mp4"]
    assert choose(browser, "sort", "clip") == ["a.mp4", "b/9.mp4", "b/10.mp4"]
    assert choose(browser, "sort", "cost desc") == ["a.mp4", "b/9.mp4", "b/10.mp4"]
    assert choose(browser, "sort", "took desc") == ["a.mp4", "b/10.mp4", "b/9.mp4"]
    assert choose(browser, "text", "WATER ink") == ["b/10.mp4"]
    assert browser.run("the('shown').value") == "1 of 3"
    assert choose(browser, "text", "") == ["a.mp4", "b/10.mp4", "b/9.mp4"]
    assert choose(browser, "state", "FAILED") == ["a.mp4"]
    assert choose(browser, "mode", "flex_2") == []
    message = browser.run("!the('none').hidden && the('none').textContent")
    assert message == "No matching takes."


def test_hostile_texts_stay_text_and_nothing_is_requested_from_others(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    takes = [
        take(number, text, prompt=text, mode=text, message=text, do_now=text, **videos)
        for number, text in enumerate(HOSTILE)
    ]
    takes.append(take(99, HOSTILE[0], prompt=HOSTILE[1], state=State.FAILED))
    show(browser, folder, takes)
    assert browser.run(f"{CARDS}.length") == len(takes)
    assert browser.run("document.querySelector('.card .prompt').textContent") == HOSTILE[0]
    browser.run(
        "[...document.querySelectorAll('*')].forEach(each => {"
        " each.focus?.(); each.scrollIntoView() })"
    )
    browser.run("scrollTo(0, 0)")
    browser.click(".play")
    browser.until(f"{TIMES}.length && {TIMES}.every(at => at > 0)")
    assert browser.run("window.hit") is None
    assert browser.dialogs == []
    assert browser.requested
    others = {url for url in browser.requested if not url.startswith(f"{folder.as_uri()}/")}
    assert others == set()
    assert browser.logged == []


def test_the_policy_blocks_what_a_mistake_would_let_in(browser: Browser, folder: Path) -> None:
    with serving_files(folder) as url:
        show(browser, folder, [take()])
        elements = (
            f"<img src='{url}/x.png'><video src='{url}/x.mp4'></video>"
            "<svg onload='window.hit = 1'></svg>"
            "<a id=trap href='javascript:window.hit = 1'>x</a>"
        )
        browser.run(f"document.body.insertAdjacentHTML('beforeend', `{elements}`)")
        browser.run("the('trap').click()")
        fetched = browser.run(f"fetch('{url}/x').then(() => 'fetched', () => 'blocked')")
        assert fetched == "blocked"
    assert browser.run("window.hit") is None
    assert len(browser.logged) >= 4


def test_linked_videos_play_and_a_missing_one_is_reported(
    browser: Browser, folder: Path, tmp_path: Path
) -> None:
    with serving_files(folder) as url:
        links = {
            name: Video(f"{url}/media/one.{name}.mp4?X-Amz-Signature=1")
            for name in ("before", "after")
        }
        missing = take(1, before=links["before"], after=Video(f"{url}/media/gone.mp4"))
        show(browser, tmp_path, [take(0, **links), missing])
        browser.click(".play")
        browser.until(f"{TIMES}.length === 2 && {TIMES}.every(at => at > 0.3)")
        report = "document.querySelectorAll('.broken')[1].textContent"
        browser.until(f"{report}.startsWith('“After” cannot be played here')")
    media = [requested for requested in browser.requested if "/media/" in requested]
    assert {requested.partition("/media/")[0] for requested in media} == {url}


def test_three_hundred_takes_load_only_what_is_visible(
    browser: Browser, folder: Path, videos: dict[str, Video]
) -> None:
    takes = [take(number, f"{number}.mp4", **videos) for number in range(300)]
    show(browser, folder, takes, 390, 844)
    loaded = "[...document.querySelectorAll('video[src]')]"
    few = f"{loaded}.length > 0 && {loaded}.length < 20"
    ready = f"{loaded}.every(video => video.readyState > 1)"
    for part in (0, 0.5, 1):
        browser.run(f"scrollTo(0, document.body.scrollHeight * {part})")
        browser.until(f"{few} && {ready}")
    assert len(browser.run(SHOWN)) == 300
    assert choose(browser, "text", "299.mp4") == ["299.mp4"]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_nothing_is_wider_than_the_window(
    browser: Browser, folder: Path, videos: dict[str, Video], width: int, height: int
) -> None:
    long = "a" * 300
    takes = [
        take(0, f"{long}/{long}.mp4", prompt=long, mode="reimagine_3", **videos),
        take(1, state=State.FAILED, message=long),
    ]
    show(browser, folder, takes, width, height)
    assert browser.run("document.documentElement.scrollWidth") <= width

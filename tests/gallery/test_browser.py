"""The page in a real browser, from disk and with links, with real clips."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.gallery import Beside, Film, Take, render, write
from retake.rules.states import State

from .browser import Browser
from .conftest import HOSTILE, NOW, take

TIMES = "[...document.querySelectorAll('.playing video')].map(video => video.currentTime)"
SHOWN = "[...document.querySelectorAll('.card')].filter(card => !card.hidden).map(card => card.dataset.clip)"
AT = "document.activeElement.dataset.clip"


def show(browser: Browser, folder: Path, takes: list[Take], width: int = 1280, height: int = 800) -> None:
    browser.open(write(render(takes, "Retake", NOW), folder).as_uri(), width, height)


def choose(browser: Browser, field: str, value: str) -> list[str]:
    """Set a filter as a person does; gives the clips that are shown."""
    browser.run(f"the({json.dumps(field)}).value = {json.dumps(value)}; the({json.dumps(field)}).dispatchEvent(new Event('input'))")
    shown: list[str] = browser.run(SHOWN)
    return shown


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder, as a bucket serves signed links."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_both_players_play_in_step_and_pause(browser: Browser, folder: Path, films: dict[str, Film]) -> None:
    show(browser, folder, [take(**films)])
    browser.click(".play")
    browser.until(f"{TIMES}.length === 2 && {TIMES}.every(at => at > 0.3)")
    before, after = browser.run(TIMES)
    assert abs(before - after) < 0.2
    browser.click(".play")
    paused = "[...document.querySelectorAll('video')].every(video => video.paused)"
    assert browser.run(paused)
    assert not browser.run("document.querySelector('.playing')")
    assert browser.said == []


def test_they_begin_again_together_at_the_end(browser: Browser, folder: Path, films: dict[str, Film]) -> None:
    show(browser, folder, [take(**films)])
    browser.run("rounds = 0; document.querySelector('.after video').addEventListener('ended', () => rounds++)")
    browser.click(".play")
    browser.until(f"rounds > 0 && {TIMES}.every(at => at > 0.2 && at < 1.5)")


def test_the_slider_slides(browser: Browser, folder: Path, films: dict[str, Film]) -> None:
    show(browser, folder, [take(**films)])
    seen = "getComputedStyle(document.querySelector('.after')).clipPath"
    assert "50%" in browser.run(seen)
    browser.drag(".split", 0.5, 0.25)
    assert "25%" in browser.run(seen)
    line, stage = (f"document.querySelector('{name}').getBoundingClientRect()" for name in (".line", ".stage"))
    assert browser.run(f"({line}.x + 1 - {stage}.x) / {stage}.width") == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("poster", [True, False])
def test_there_is_a_picture_before_anything_plays(browser: Browser, folder: Path, films: dict[str, Film], poster: bool) -> None:
    if poster:
        beside = Beside(None, folder)
        films = {name: beside(f"one.{name}", {}, 0.7) for name in films}
        assert all(film.poster for film in films.values())
    show(browser, folder, [take(**films)])
    if poster:
        browser.until("[...document.querySelectorAll('video')].every(video => video.poster && video.readyState === 0)")
        assert not [url for url in browser.asked if url.endswith(".mp4")], "a video is loaded though its picture is there"
    else:
        browser.until("[...document.querySelectorAll('video')].every(video => video.readyState > 1 && video.currentTime > 0.6)")
    # The clip is colourful, the stage is not.
    browser.until("document.querySelector('.stage').offsetWidth > 0")
    one, other = browser.picture(folder / "shot.png"), folder / "empty.png"
    show(browser, folder, [take()])
    assert one.stat().st_size > browser.picture(other).stat().st_size + 2000


def test_side_by_side_for_one_and_for_all(browser: Browser, folder: Path, films: dict[str, Film]) -> None:
    show(browser, folder, [take(0, **films), take(1, **films)])
    apart = """[...document.querySelectorAll('.card')].map(card => {
        const [one, other] = [...card.querySelectorAll('video')].map(video => video.getBoundingClientRect());
        return other.x >= one.right || other.y >= one.bottom; })"""
    assert browser.run(apart) == [False, False]
    browser.click(".view")
    assert browser.run(apart) == [True, False]
    browser.click("#views")
    assert browser.run(apart) == [True, True]
    browser.click("#views")
    assert browser.run(apart) == [False, False]


def test_the_keyboard_moves_plays_and_lays_side_by_side(browser: Browser, folder: Path, films: dict[str, Film]) -> None:
    show(browser, folder, [take(number, f"{number}.mp4", prompt="sand", **films) for number in range(5)])
    browser.press("ArrowRight")
    assert browser.run(AT) == "0.mp4"
    for key, expected in (("ArrowRight", "1"), ("ArrowDown", "3"), ("ArrowLeft", "2"), ("ArrowUp", "0"), ("ArrowLeft", "0")):
        browser.press(key)
        assert browser.run(AT) == f"{expected}.mp4", key
    browser.press("s")
    assert browser.run("document.activeElement.classList.contains('side')")
    scrolled = browser.run("scrollY")
    browser.press(" ")
    browser.until(f"{TIMES}.length && {TIMES}.every(at => at > 0.1)")
    assert browser.run("scrollY") == scrolled
    browser.press("ArrowRight")
    browser.press(" ")
    assert browser.run("[...document.querySelectorAll('.playing')].map(card => card.dataset.clip)") == ["1.mp4"]
    browser.press("/")
    browser.press("s")
    assert browser.run("the('text').value") == "s"
    browser.press("Escape")
    assert browser.run(AT) == "1.mp4"


def test_filters_and_orders(browser: Browser, folder: Path) -> None:
    takes = [take(1, "b/10.mp4", mode="flex_2", prompt="Ink and water"), take(2, "b/9.mp4", took=5.0), take(3, "a.mp4", state=State.FAILED)]
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
    assert browser.run("!the('none').hidden && the('none').textContent") == "No take matches."


def test_hostile_texts_stay_texts_and_nothing_is_asked_of_others(browser: Browser, folder: Path, films: dict[str, Film]) -> None:
    takes = [take(number, text, prompt=text, mode=text, message=text, do_now=text, **films) for number, text in enumerate(HOSTILE)]
    show(browser, folder, [*takes, take(99, HOSTILE[0], prompt=HOSTILE[1], state=State.FAILED)])
    assert browser.run("document.querySelectorAll('.card').length") == len(HOSTILE) + 1
    assert browser.run("document.querySelector('.card .prompt').textContent") == HOSTILE[0]
    browser.run("[...document.querySelectorAll('*')].forEach(each => { each.focus?.(); each.scrollIntoView() })")
    browser.run("scrollTo(0, 0)")
    browser.click(".play")
    browser.until(f"{TIMES}.length && {TIMES}.every(at => at > 0)")
    assert browser.run("window.hit") is None
    assert browser.dialogs == []
    assert browser.asked
    assert {url for url in browser.asked if not url.startswith(folder.as_uri() + "/")} == set()
    assert browser.said == []


def test_the_policy_stops_what_a_mistake_would_let_in(browser: Browser, folder: Path) -> None:
    with served(folder) as url:
        show(browser, folder, [take()])
        browser.run(
            f"document.body.insertAdjacentHTML('beforeend', `<img src='{url}/x.png'><video src='{url}/x.mp4'></video>"
            "<svg onload='window.hit = 1'></svg><a id=trap href='javascript:window.hit = 1'>x</a>`); the('trap').click()"
        )
        assert browser.run(f"fetch('{url}/x').then(() => 'fetched', () => 'refused')") == "refused"
    assert browser.run("window.hit") is None
    assert len(browser.said) >= 4


def test_linked_videos_play_and_what_is_gone_is_said(browser: Browser, folder: Path, tmp_path: Path) -> None:
    with served(folder) as url:
        links = {name: Film(f"{url}/media/one.{name}.mp4?X-Amz-Signature=1") for name in ("before", "after")}
        show(browser, tmp_path, [take(0, **links), take(1, before=links["before"], after=Film(f"{url}/media/gone.mp4"))])
        browser.click(".play")
        browser.until(f"{TIMES}.length === 2 && {TIMES}.every(at => at > 0.3)")
        browser.until("document.querySelectorAll('.broken')[1].textContent.startsWith('“After” cannot be played here')")
    assert {url.partition("/media/")[0] for url in browser.asked if "/media/" in url} == {url}


def test_three_hundred_takes_load_only_what_is_seen(browser: Browser, folder: Path, films: dict[str, Film]) -> None:
    show(browser, folder, [take(number, f"{number}.mp4", **films) for number in range(300)], 390, 844)
    loaded = "document.querySelectorAll('video[src]').length"
    for part in (0, 0.5, 1):
        browser.run(f"scrollTo(0, document.body.scrollHeight * {part})")
        browser.until(f"{loaded} > 0 && {loaded} < 20 && [...document.querySelectorAll('video[src]')].every(video => video.readyState > 1)")
    assert len(browser.run(SHOWN)) == 300
    assert choose(browser, "text", "299.mp4") == ["299.mp4"]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_nothing_is_wider_than_the_window(browser: Browser, folder: Path, films: dict[str, Film], width: int, height: int) -> None:
    long = "a" * 300
    show(
        browser,
        folder,
        [take(0, f"{long}/{long}.mp4", prompt=long, mode="reimagine_3", **films), take(1, state=State.FAILED, message=long)],
        width,
    )
    assert browser.run("document.documentElement.scrollWidth") <= width

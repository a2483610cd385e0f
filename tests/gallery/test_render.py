"""The page as text: what is shown, that texts stay texts, and that nothing points elsewhere."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli.gallery import Film, render, write
from retake.rules.states import State

from .conftest import HOSTILE, NOW, take


class Page(HTMLParser):
    """What a browser would make of it: elements with their attributes, and the text outside style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} " if self._inside not in ("style", "script") else ""

    def every(self, name: str) -> list[str]:
        """Give all values of an attribute."""
        return [value for _, attributes in self.elements if (value := attributes.get(name))]


def test_a_card_says_what_became_of_the_clip() -> None:
    page = Page(render([take(took=71, rerun=2)], "Retake", NOW))
    words = " ".join(page.text.split())
    for expected in ("clip.mp4", "Delivered", "ink", "flex_1", "0.60 USD", "1 min 11 s", "23 Nov 2026, 09:40", "Rerun 2"):
        assert expected in words


def test_a_failure_gives_its_reason_its_cure_and_that_nothing_was_paid() -> None:
    failed = take(state=State.FAILED, message="The prompt was blocked.", do_now="Change it.", cost_usd=None)
    words = " ".join(Page(render([failed], "Retake", NOW)).text.split())
    for expected in ("Failed", "The prompt was blocked.", "Change it.", "Cost nothing"):
        assert expected in words


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_card(state: State) -> None:
    page = Page(render([take(state=state, mode=None, prompt=None, length=None, took=None, cost_usd=None, at=None)], "Retake", NOW))
    assert page.every("data-state") == [state]


def test_no_takes_are_a_page_as_well() -> None:
    assert "No clip has been dropped yet." in render([], "Retake", NOW)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_text_wherever_it_stands(text: str) -> None:
    plain, hostile = (
        Page(render([take(clip=words, prompt=words, mode=words, message=words, do_now=words, state=State.FAILED)], words, NOW))
        for words in ("plain", text)
    )
    assert [tag for tag, _ in plain.elements] == [tag for tag, _ in hostile.elements]
    assert [sorted(names) for _, names in plain.elements] == [sorted(names) for _, names in hostile.elements]
    if text.isprintable():
        assert hostile.text.count(text) >= 5


def test_signs_that_turn_or_are_none_are_shown_escaped_and_emoji_stay_whole(tmp_path: Path) -> None:
    family = "👨\u200d👩\u200d👧"
    path = write(render([take(prompt=f"a\u202eb \ud83d c\x00d {family}")], "Retake", NOW), tmp_path)
    assert rf"a\u202eb \ud83d c\u0000d {family}" in path.read_text("utf-8")


@pytest.mark.parametrize(
    "address",
    [
        *("javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x"),
        *("//evil.example/x.mp4", "/etc/passwd", "\\\\evil\\x", "file:///etc/passwd", "blob:x", "", ".:x", "http:evil.example"),
        *(
            "https://a.example/x y",
            "https://a.example;script-src *//x",
            "https://user@evil.example/x",
            'https://a.example/"x',
            "https://é.example/x",
        ),
    ],
)
def test_an_address_that_is_none_of_a_video_is_left_out(address: str) -> None:
    page = render([take(before=Film(address), after=Film("media/x.mp4", address))], "Retake", NOW)
    assert Page(page).every("data-src") == ["media/x.mp4"]
    assert Page(page).every("data-poster") == []


def test_what_is_seen_first_has_its_pictures_before_any_script_runs() -> None:
    takes = [take(number, after=Film("media/x.mp4", f"media/{number}.jpg")) for number in range(20)]
    assert Page(render(takes, "Retake", NOW)).every("poster") == [f"media/{number}.jpg" for number in range(8)]


def test_nothing_refers_to_anything_outside(films: dict[str, Film]) -> None:
    page = render([take(**films)], "Retake", NOW)
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.elements} & {"link", "iframe", "object", "embed", "base", "img", "a", "source"}
    for name in ("src", "href", "srcset", "action", "style", "onclick", "background"):
        assert not parsed.every(name), name
    assert not re.search(r"https?:|@import|url\(", page)


def test_the_policy_lets_in_the_videos_of_this_page_only() -> None:
    signed = Film("https://output.s3.eu-central-1.amazonaws.com/a.mp4?X-Amz-Signature=1&versionId=2")
    for films, allowed in (
        ({}, "'none'"),
        ({"before": Film("media/a.mp4")}, "'self' file:"),
        ({"after": signed}, "https://output.s3.eu-central-1.amazonaws.com"),
    ):
        policy = Page(render([take(**films)], "Retake", NOW)).every("content")[0]
        assert "default-src 'none'" in policy
        assert f"media-src {allowed};" in policy
        assert "unsafe" not in policy


def test_signed_links_say_when_they_end() -> None:
    assert "the videos are linked until 24 November, 09:40 UTC" in render([], "Retake", NOW, NOW + timedelta(days=1))

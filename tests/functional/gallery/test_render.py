"""The page as text: it shows every take, all text stays text, and nothing points elsewhere."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from retake.domain.job import State
from retake_cli.commands.gallery import Video, render, write
from tests.support.takes import HOSTILE, NOW, take

FOREIGN_ELEMENTS = {"link", "iframe", "object", "embed", "base", "img", "a", "source"}
LOADING_ATTRIBUTES = ("src", "href", "srcset", "action", "style", "onclick", "background")
UNSAFE_LINKS = (
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "//evil.example/x.mp4",
    "/etc/passwd",
    "\\\\evil\\x",
    "file:///etc/passwd",
    "blob:x",
    "",
    ".:x",
    "http:evil.example",
    "https://a.example/x y",
    "https://a.example;script-src *//x",
    "https://user@evil.example/x",
    'https://a.example/"x',
    "https://é.example/x",
)


class Page(HTMLParser):
    """What a browser makes of a page.

    Attributes:
        elements: the tags, with their attributes.
        text: the text outside style and script.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.text += f"{data} "

    @property
    def words(self) -> str:
        """Return the text with single spaces."""
        return " ".join(self.text.split())

    def values(self, name: str) -> list[str]:
        """Return all values of an attribute that are not empty."""
        values = (attributes.get(name) for _, attributes in self.elements)
        return [value for value in values if value]


def test_a_card_shows_what_became_of_the_clip() -> None:
    page = Page(render([take(took=71, rerun=2)], "Retake", NOW))
    for expected in (
        "clip.mp4",
        "Delivered",
        "ink",
        "flex_1",
        "0.60 USD",
        "1 min 11 s",
        "23 Nov 2026, 09:40",
        "Rerun 2",
    ):
        assert expected in page.words


def test_a_failure_shows_its_reason_its_fix_and_that_nothing_was_charged() -> None:
    failed = take(
        state=State.FAILED, message="The prompt was blocked.", do_now="Change it.", cost_usd=None
    )
    page = Page(render([failed], "Retake", NOW))
    for expected in ("Failed", "The prompt was blocked.", "Change it.", "Cost not charged"):
        assert expected in page.words


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_card(state: State) -> None:
    unknown = dict.fromkeys(("mode", "prompt", "length", "took", "cost_usd", "at"))
    page = Page(render([take(state=state, **unknown)], "Retake", NOW))
    assert page.values("data-state") == [state]


def test_a_page_without_takes_says_so() -> None:
    assert "No clips have been dropped yet." in render([], "Retake", NOW)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_text_wherever_it_is_shown(text: str) -> None:
    plain, hostile = (
        Page(
            render(
                [
                    take(
                        clip=words,
                        prompt=words,
                        mode=words,
                        message=words,
                        do_now=words,
                        state=State.FAILED,
                    )
                ],
                words,
                NOW,
            )
        )
        for words in ("plain", text)
    )
    assert [tag for tag, _ in plain.elements] == [tag for tag, _ in hostile.elements]
    names = [[sorted(each) for _, each in page.elements] for page in (plain, hostile)]
    assert names[0] == names[1]
    if text.isprintable():
        assert hostile.text.count(text) >= 5


def test_characters_that_turn_the_text_are_escaped_and_emoji_stay_whole(tmp_path: Path) -> None:
    family = "👨\u200d👩\u200d👧"
    prompt = f"a\u202eb \ud83d c\x00d {family}"
    path = write(render([take(prompt=prompt)], "Retake", NOW), tmp_path)
    assert rf"a\u202eb \ud83d c\u0000d {family}" in path.read_text("utf-8")


@pytest.mark.parametrize("link", UNSAFE_LINKS)
def test_a_link_that_is_not_that_of_a_video_is_left_out(link: str) -> None:
    unsafe = take(before=Video(link), after=Video("media/x.mp4", link))
    page = Page(render([unsafe], "Retake", NOW))
    assert page.values("data-src") == ["media/x.mp4"]
    assert page.values("data-poster") == []


def test_what_is_seen_first_has_its_posters_before_any_script_runs() -> None:
    takes = [
        take(number, after=Video("media/x.mp4", f"media/{number}.jpg")) for number in range(20)
    ]
    posters = Page(render(takes, "Retake", NOW)).values("poster")
    assert posters == [f"media/{number}.jpg" for number in range(8)]


def test_nothing_refers_to_anything_outside(videos: dict[str, Video]) -> None:
    page = render([take(**videos)], "Retake", NOW)
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.elements} & FOREIGN_ELEMENTS
    for name in LOADING_ATTRIBUTES:
        assert not parsed.values(name), name
    assert not re.search(r"https?:|@import|url\(", page)


@pytest.mark.parametrize(
    ("videos", "allowed"),
    [
        ({}, "'none'"),
        ({"before": Video("media/a.mp4")}, "'self' file:"),
        (
            {
                "after": Video(
                    "https://output.s3.eu-central-1.amazonaws.com/a.mp4"
                    "?X-Amz-Signature=1&versionId=2"
                )
            },
            "https://output.s3.eu-central-1.amazonaws.com",
        ),
    ],
)
def test_the_policy_allows_only_the_videos_of_the_page(
    videos: dict[str, Video], allowed: str
) -> None:
    policy = Page(render([take(**videos)], "Retake", NOW)).values("content")[0]
    assert "default-src 'none'" in policy
    assert f"media-src {allowed};" in policy
    assert "unsafe" not in policy


def test_signed_links_say_when_they_expire() -> None:
    page = render([], "Retake", NOW, NOW + timedelta(days=1))
    assert "links expire 24 November, 09:40 UTC" in page

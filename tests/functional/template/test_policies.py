"""Every permission is listed with its purpose, and the page matches the template."""

from collections import Counter

from tests.policies.permissions import PAGE, PROVEN, REASONED, page, permissions


def test_every_permission_is_listed_once_with_its_purpose() -> None:
    granted = Counter(permission.name for permission in permissions())
    twice = [name for name, times in granted.items() if times > 1]
    assert twice == [], "granted twice: neither can be shown to be needed"
    assert set(granted) == set(PROVEN) | set(REASONED)
    assert not set(PROVEN) & set(REASONED)


def test_the_page_matches_the_template() -> None:
    assert PAGE.read_text() == page(), "run `make policies`"

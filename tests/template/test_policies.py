"""Every permission is listed with what it is for, and the page says so."""

from collections import Counter

from tests.policies.permissions import PAGE, PROVEN, REASONED, page, permissions


def test_every_permission_is_listed_once_with_what_it_is_for() -> None:
    granted = Counter(permission.name for permission in permissions())
    assert [name for name, times in granted.items() if times > 1] == [], "granted twice: neither can be shown to be needed"
    assert set(granted) == set(PROVEN) | set(REASONED)
    assert not set(PROVEN) & set(REASONED)


def test_the_page_tells_the_template() -> None:
    assert PAGE.read_text() == page(), "run `make policies`"

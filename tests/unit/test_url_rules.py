"""Results come over https from public addresses; a loopback origin has its own allowance."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retake.segmind.url_rules import is_loopback_origin, may_connect, may_fetch

PUBLIC, LOCAL = "https://api.segmind.com", "http://127.0.0.1:8080"


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_results_may_come_from_public_addresses(address: str) -> None:
    assert may_connect(address, PUBLIC)
    assert may_connect(address, LOCAL)


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"),
        *("169.254.170.2", "0.0.0.0", "198.18.0.1", "192.0.2.1", "203.0.113.1"),  # noqa: S104
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("2001:db8::1", "100::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
        *("64:ff9b::a9fe:a9fe", "::a9fe:a9fe", "fec0::1"),
    ],
)
def test_results_never_come_from_private_addresses(address: str) -> None:
    assert not may_connect(address, PUBLIC)
    assert not may_connect(address, LOCAL)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_results_come_from_loopback_only_if_the_origin_is_loopback(address: str) -> None:
    assert not may_connect(address, PUBLIC)
    assert may_connect(address, LOCAL)


@given(st.ip_addresses())
def test_a_public_origin_never_allows_a_special_address(
    address: IPv4Address | IPv6Address,
) -> None:
    if may_connect(str(address), PUBLIC):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://localhost", "http://[::1]:9", "http://127.3.2.1"]
)
def test_an_origin_on_this_machine_is_loopback(url: str) -> None:
    assert is_loopback_origin(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1@evil.example",
        "https://localhost:80@evil.example/",
        "https://localhost.evil.example",
        "https://127.0.0.1.evil.example",
        "https://evil.example/127.0.0.1",
        "https://evil.example#@127.0.0.1",
        "https://2130706433",
        "https://0x7f000001",
        "https://10.0.0.1",
        "",
    ],
)
def test_an_origin_that_only_looks_like_this_machine_is_not_loopback(url: str) -> None:
    assert not is_loopback_origin(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://images.segmind.com/x",
        "ftp://h/x",
        "file:///etc/passwd",
        "https://",
        "//h/x",
        "x",
        "",
        "javascript:1",
    ],
)
def test_with_a_public_origin_only_https_is_fetched(url: str) -> None:
    assert not may_fetch(url, PUBLIC)


def test_http_is_fetched_only_if_the_origin_is_loopback() -> None:
    assert may_fetch("http://127.0.0.1:9/x", LOCAL)
    assert may_fetch("HTTPS://images.segmind.com/x", PUBLIC)
    assert not may_fetch("file:///x", LOCAL)


@pytest.mark.parametrize("url", ["https://[::1", "https://[x]/", "https://["])
def test_a_malformed_url_is_not_fetched(url: str) -> None:
    assert not may_fetch(url, PUBLIC)

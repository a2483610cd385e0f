"""Results that point inwards: however an address is spelled, nothing but a public one is ever connected to."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.adapters.segmind import ResultFiles, ResultUnavailable
from retake.rules.addresses import may_connect, may_fetch

from . import fuzz

PUBLIC = "https://api.segmind.com"
FILES = ResultFiles(PUBLIC)
INSIDE = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip
INSIDE_6 = [
    "::/8",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fd00:ec2::/32",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
PRIVATE_4 = st.sampled_from(INSIDE).flatmap(lambda net: st.ip_addresses(network=net)).map(str) | st.sampled_from(
    ["169.254.169.254", "169.254.170.2", "169.254.169.253", "127.0.0.1"]
)
PRIVATE_6 = st.sampled_from(INSIDE_6).flatmap(lambda net: st.ip_addresses(network=net)).map(str) | st.just("fd00:ec2::254")
EMBEDDED = ["::ffff:0:0", "::", "64:ff9b::", "64:ff9b:1::", "2002::", "2001::", "fe80::5efe:0:0", "::ffff:0:0:0"]


def spellings(address: str) -> list[str]:
    """Give an IPv4 address in the ways that resolvers understand."""
    number, parts = int(IPv4Address(address)), [int(part) for part in address.split(".")]
    return [
        address, str(number), hex(number), f"0{number:o}", ".".join(hex(part) for part in parts), ".".join(f"0{part:o}" for part in parts),
        ".".join(f"{part:03d}" for part in parts), f"{parts[0]}.{number & 0xFFFFFF}", f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        f"{address}.", f"[::ffff:{address}]", f"[::{address}]", f"[64:ff9b::{address}]", quote(address).replace(".", "%2e"),
        address.replace(".", "。"), "".join(chr(0xFF10 + int(sign)) if sign.isdigit() else sign for sign in address),
        address.replace("1", "①"), f"x@{address}", f"8.8.8.8@{address}", f"images.segmind.com:443@{address}",
        f"{address}#@images.segmind.com", f"{address}\\@8.8.8.8", f"{address}?@8.8.8.8",
        f"{address}%00.segmind.com", f"[::ffff:{address}%25eth0]",
    ]  # fmt: skip


@fuzz
@given(PRIVATE_4, st.sampled_from(EMBEDDED))
@example("169.254.169.254", "64:ff9b::")
def test_no_private_address_gets_through_inside_another(address: str, prefix: str) -> None:
    number = int(IPv4Address(address))
    within = str(IPv6Address(int(IPv6Address(prefix)) + (number << 80 if prefix == "2002::" else number)))
    for spelled in (address, within, f"{within}%eth0"):
        assert not may_connect(spelled, PUBLIC)


@fuzz
@given(PRIVATE_6)
@example("fd00:ec2::254")
@example("2002:a9fe:a9fe::1")
def test_no_private_ipv6_address_gets_through(address: str) -> None:
    assert not may_connect(address, PUBLIC)


@fuzz
@given(st.ip_addresses())
def test_what_gets_through_is_public_by_the_lists_of_iana(address: Any) -> None:
    address = getattr(address, "ipv4_mapped", None) or address
    if may_connect(str(address), PUBLIC):
        nets = [ip_network(net) for net in INSIDE + INSIDE_6]
        assert not any(address in net for net in nets if net.version == address.version)


def on_a_hostile_network(patch: pytest.MonkeyPatch) -> list[str]:
    """Make a network on which every name is private, and nothing answers; gives the addresses that are connected to."""
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        try:
            return resolve(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (socket.gaierror, UnicodeError):
            return resolve("10.0.0.7", 443, type=socket.SOCK_STREAM)

    def connect(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        asked.append(address[0])
        raise OSError("nobody there")

    patch.setattr(socket, "getaddrinfo", look_up)
    patch.setattr(socket, "create_connection", connect)
    return asked


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return on_a_hostile_network(monkeypatch)


def refused(url: str) -> None:
    with pytest.raises(ResultUnavailable) as told:
        FILES.open(url)
    assert len(str(told.value)) <= 500
    str(told.value).encode()


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "192.168.0.1", "0.0.0.0"])  # noqa: S104
def test_no_spelling_of_a_private_address_is_connected_to(connected: list[str], address: str) -> None:
    for host in spellings(address):
        refused(f"https://{host}/out.mp4")
        refused(f"https://{host}:8443/")
        refused(f"http://{host}/latest/meta-data")
    assert set(connected) <= {"8.8.8.8"}  # the host of those in which the private one only is a user's name


def test_a_public_address_is_connected_to(connected: list[str]) -> None:
    for host in ("8.8.8.8", "134744072", "[2606:4700::1111]", "127.0.0.1@8.8.8.8"):
        refused(f"https://{host}/out.mp4")
    assert {str(ip_address(address)) for address in connected} == {"8.8.8.8", "2606:4700::1111"}


PIECES = st.sampled_from(
    [
        "http", "https", "file", "ftp", "gopher", "HTTPS", ":", "://", "//", "/", "\\", "@", "#", "?", "[", "]",
        "::1", "127.0.0.1", "10.0.0.1",
        "169.254.169.254", "8.8.8.8", "localhost", "xn--", "xn--a", "%", "%00", "%2f", "\0", "\t", "\n", " ", ".", "..", "\u202e", "é",
        "①", "。",
        "\ud800", ":0", ":99999", ":-1", ":x", "x" * 70, "x." * 150, "9" * 5000,
    ]
)  # fmt: skip
URLS = st.lists(PIECES, max_size=9).map("".join) | st.text(st.characters()).map(lambda text: f"https://{text}")


@fuzz
@given(URLS)
@example("https://xn--a/")
@example("https://8.8.8.8:99999/")
@example("https://8.8.8.8:" + "9" * 5000)
def test_any_text_as_an_address_is_unavailable_and_leads_nowhere_inside(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asked = on_a_hostile_network(patch)
        assert may_fetch(url, PUBLIC) in (True, False)
        refused(url)
        assert all(may_connect(address, PUBLIC) for address in asked)

"""Results that point inward: however a URL is spelled, only public addresses are connected to."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retake.segmind.download import ResultFiles, ResultUnavailableError
from retake.segmind.url_rules import may_connect, may_fetch

from . import fuzz

ORIGIN = "https://api.segmind.com"
FILES = ResultFiles(base_url=ORIGIN)
PRIVATE_NETWORKS_4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
]
PRIVATE_NETWORKS_6 = [
    *("::/8", "64:ff9b:1::/48", "100::/64", "2001:db8::/32", "2002::/16", "fc00::/7"),
    *("fd00:ec2::/32", "fe80::/10", "fec0::/10", "ff00::/8"),
]
PRIVATE_4 = st.sampled_from(PRIVATE_NETWORKS_4).flatmap(
    lambda network: st.ip_addresses(network=network)
).map(str) | st.sampled_from(["169.254.169.254", "169.254.170.2", "169.254.169.253", "127.0.0.1"])
PRIVATE_6 = st.sampled_from(PRIVATE_NETWORKS_6).flatmap(
    lambda network: st.ip_addresses(network=network)
).map(str) | st.just("fd00:ec2::254")
EMBEDDING_PREFIXES = [
    *("::ffff:0:0", "::", "64:ff9b::", "64:ff9b:1::", "2002::", "2001::", "fe80::5efe:0:0"),
    "::ffff:0:0:0",
]


def spellings(address: str) -> list[str]:
    """Return the spellings of an IPv4 address that resolvers understand, and tricks around it."""
    number = int(IPv4Address(address))
    parts = [int(part) for part in address.split(".")]
    full_width = "".join(
        chr(0xFF10 + int(character)) if character.isdigit() else character for character in address
    )
    return [
        address,
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(hex(part) for part in parts),
        ".".join(f"0{part:o}" for part in parts),
        ".".join(f"{part:03d}" for part in parts),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        f"{address}.",
        f"[::ffff:{address}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        quote(address).replace(".", "%2e"),
        address.replace(".", "。"),
        full_width,
        address.replace("1", "①"),
        f"x@{address}",
        f"8.8.8.8@{address}",
        f"images.segmind.com:443@{address}",
        f"{address}#@images.segmind.com",
        f"{address}\\@8.8.8.8",
        f"{address}?@8.8.8.8",
        f"{address}%00.segmind.com",
        f"[::ffff:{address}%25eth0]",
    ]


@fuzz
@given(PRIVATE_4, st.sampled_from(EMBEDDING_PREFIXES))
@example("169.254.169.254", "64:ff9b::")
def test_no_private_address_gets_through_inside_another(address: str, prefix: str) -> None:
    number = int(IPv4Address(address))
    embedded = number << 80 if prefix == "2002::" else number
    within = str(IPv6Address(int(IPv6Address(prefix)) + embedded))
    for spelled in (address, within, f"{within}%eth0"):
        assert not may_connect(spelled, ORIGIN)


@fuzz
@given(PRIVATE_6)
@example("fd00:ec2::254")
@example("2002:a9fe:a9fe::1")
def test_no_private_ipv6_address_gets_through(address: str) -> None:
    assert not may_connect(address, ORIGIN)


@fuzz
@given(st.ip_addresses())
def test_what_gets_through_is_public_by_the_lists_of_iana(address: Any) -> None:
    address = getattr(address, "ipv4_mapped", None) or address
    if may_connect(str(address), ORIGIN):
        networks = [ip_network(text) for text in PRIVATE_NETWORKS_4 + PRIVATE_NETWORKS_6]
        same_version = [network for network in networks if network.version == address.version]
        assert not any(address in network for network in same_version)


def patch_network(patch: pytest.MonkeyPatch) -> list[str]:
    """Put a hostile network in place: every name is private, and nobody responds.

    Returns:
        The addresses that are connected to; the list grows.
    """
    connected: list[str] = []
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        try:
            flags = socket.AI_NUMERICHOST
            return resolve(host, port, type=socket.SOCK_STREAM, flags=flags)
        except (socket.gaierror, UnicodeError):
            return resolve("10.0.0.7", 443, type=socket.SOCK_STREAM)

    def create_connection(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        connected.append(address[0])
        raise OSError("nobody responds")

    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    patch.setattr(socket, "create_connection", create_connection)
    return connected


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return patch_network(monkeypatch)


def check_unavailable(url: str) -> None:
    with pytest.raises(ResultUnavailableError) as raised:
        FILES.open(url)
    reason = str(raised.value)
    assert len(reason) <= 500
    reason.encode()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "10.1.2.3", "192.168.0.1", "0.0.0.0"],  # noqa: S104
)
def test_no_spelling_of_a_private_address_is_connected_to(
    connected: list[str], address: str
) -> None:
    for host in spellings(address):
        check_unavailable(f"https://{host}/out.mp4")
        check_unavailable(f"https://{host}:8443/")
        check_unavailable(f"http://{host}/latest/meta-data")
    # That is the host where the private address is only the name of a user.
    assert set(connected) <= {"8.8.8.8"}


def test_a_public_address_is_connected_to(connected: list[str]) -> None:
    for host in ("8.8.8.8", "134744072", "[2606:4700::1111]", "127.0.0.1@8.8.8.8"):
        check_unavailable(f"https://{host}/out.mp4")
    assert {str(ip_address(address)) for address in connected} == {"8.8.8.8", "2606:4700::1111"}


URL_PIECES = st.sampled_from(
    [
        *("http", "https", "file", "ftp", "gopher", "HTTPS", ":", "://", "//", "/", "\\", "@"),
        *("#", "?", "[", "]", "::1", "127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8"),
        *("localhost", "xn--", "xn--a", "%", "%00", "%2f", "\0", "\t", "\n", " ", ".", ".."),
        *("\u202e", "é", "①", "。", "\ud800", ":0", ":99999", ":-1", ":x", "x" * 70, "x." * 150),
        "9" * 5000,
    ]
)
URLS = st.lists(URL_PIECES, max_size=9).map("".join) | st.text(st.characters()).map(
    lambda text: f"https://{text}"
)


@fuzz
@given(URLS)
@example("https://xn--a/")
@example("https://8.8.8.8:99999/")
@example("https://8.8.8.8:" + "9" * 5000)
def test_any_text_as_a_url_is_unavailable_and_never_leads_inside(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        connected = patch_network(patch)
        assert may_fetch(url, ORIGIN) in (True, False)
        check_unavailable(url)
        assert all(may_connect(address, ORIGIN) for address in connected)

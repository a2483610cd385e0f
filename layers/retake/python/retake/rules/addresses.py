"""Where a result may be fetched from: over https, from public addresses only."""

from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_GLOBAL_UNICAST = ip_network("2000::/3")


def origin_is_loopback(base_url: str) -> bool:
    """Tell whether the configured Segmind origin is this very machine, as it is beside the embedded cloud."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def may_fetch(url: str, base_url: str) -> bool:
    """Tell whether a result's URL has a scheme that may be fetched: https, or http when the configured origin is loopback itself."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and origin_is_loopback(base_url)))


def may_connect(address: str, base_url: str) -> bool:
    """Tell whether a result may be fetched from an IP address: a public one, or loopback when the configured origin is so itself."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return origin_is_loopback(base_url)
    if isinstance(ip, IPv6Address) and (ip not in _GLOBAL_UNICAST or ip.sixtofour):
        return False  # among them are those that carry an IPv4 address within them
    return ip.is_global and not ip.is_multicast

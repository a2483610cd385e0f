"""Which URLs a result may be fetched from: https, and public addresses only."""

from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_GLOBAL_UNICAST = ip_network("2000::/3")


def is_loopback_origin(base_url: str) -> bool:
    """Tell whether the configured Segmind origin is on this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def may_fetch(url: str, base_url: str) -> bool:
    """Tell whether a result's URL may be fetched.

    It must use https; http is allowed when the configured origin is loopback itself.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = parts.scheme == "http" and is_loopback_origin(base_url)
    return bool(parts.hostname) and (parts.scheme == "https" or plain)


def may_connect(address: str, base_url: str) -> bool:
    """Tell whether a result may be fetched from an IP address.

    It must be public; loopback is allowed when the configured origin is loopback itself.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return is_loopback_origin(base_url)
    if isinstance(ip, IPv6Address) and (ip not in _GLOBAL_UNICAST or ip.sixtofour):
        return False  # among the others are those that embed an IPv4 address
    return ip.is_global and not ip.is_multicast

"""Where things are in a network: addresses to listen on, hosts, networks, URLs, and what of it can reach what.

Knows no table of the file, and asks no resolver: what a host name stands for, only the operator knows.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
_HTTP_URL = re.compile(
    r"https?://(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(?:/[^\s?#]*)?", re.ASCII
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where a PBX stands: on this machine or in a private network (RFC 1918, RFC 4193, link-local).
PRIVATE_NETWORKS = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
]
_LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: an IP address or host name, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read "127.0.0.1:4573" or "[::1]:4573"; raise ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573")
    return Address(host, int(port))


def is_open_to_others(text: str) -> bool:
    try:
        address = ipaddress.ip_address(parse_address(text).host)
    except ValueError:
        return False
    return address.is_unspecified or address.is_global


def is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def http_url(text: str) -> str:
    match = _HTTP_URL.fullmatch(text)
    if match is None or not is_host(match[1].strip("[]")) or int(match[2] or 0) > 65535:
        raise ValueError("must be an http:// or https:// address without user name, query or fragment")
    return text.rstrip("/")


def is_plain_http_elsewhere(url: str) -> bool:
    """Return whether what is sent to *url* can be read on the way."""
    return url.startswith("http:") and not is_plain_http_here(url)


def is_plain_http_here(url: str) -> bool:
    """Return whether *url* is of a program on this machine that speaks without TLS."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    return scheme == "http" and re.fullmatch(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?", host) is not None


def overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def is_here(host: str) -> bool:
    """Return whether a connection to *host* stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_near(host: str) -> bool:
    """Return whether *host* is on this machine or in a private network; so is every name of one word, such as of a container."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # What begins with a digit, the resolver may take for an address.
        return host[:1].isalpha() and "." not in host
    return any(address in ipaddress.ip_network(text) for text in PRIVATE_NETWORKS)


def meet(one: Address, other: Address) -> bool:
    """Return whether two sockets could not listen at both; port 0 is whichever is free."""
    if one.port != other.port or not one.port:
        return False
    if one.host == other.host:
        return True
    try:
        ips = ipaddress.ip_address(one.host), ipaddress.ip_address(other.host)
    except ValueError:
        return False
    # A socket for all of IPv6 is opened without IPv4.
    return ips[0].version == ips[1].version and any(ip.is_unspecified for ip in ips)


def can_reach(network: Network, listening: str) -> bool:
    """Return whether a connection from *network* can arrive at the address *listening*; of a host name, who knows."""
    on_this_machine = any(network.overlaps(loopback) for loopback in _LOOPBACK)
    if listening == "localhost":
        return on_this_machine
    try:
        address = ipaddress.ip_address(listening)
    except ValueError:
        return True
    if network.version != address.version:
        return False
    if address.is_loopback:
        return on_this_machine
    return address.is_unspecified or not network.is_loopback

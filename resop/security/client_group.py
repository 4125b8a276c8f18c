"""Group client addresses: an IPv4 address, or a whole /64 network of IPv6, is one client."""

from __future__ import annotations

import functools
import ipaddress
import re

IPV6_PREFIX_BITS = 64
"""A customer usually gets a whole network of this size, and may use any address in it."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]+)\](:\d+)?|(?P<v4>\d+\.\d+\.\d+\.\d+):\d+")


@functools.lru_cache(maxsize=4096)
def client_group(host: str) -> str:
    """Return the text by which the clients at an address are counted together.

    An IPv4 address written as IPv6 (mapped, or translated by NAT64) is that IPv4 address; a port
    that a proxy added is ignored.
    """
    found = _WITH_PORT.fullmatch(host)
    text = (found["v6"] or found["v4"]) if found else host
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return host  # a proxy passes on whatever it received
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address in _NAT64:
        return str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))

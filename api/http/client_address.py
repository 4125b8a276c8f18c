"""Group client addresses: an IPv4 address, or a whole /64 network of IPv6, is one client."""

from __future__ import annotations

import functools
import ipaddress

IPV6_PREFIX_BITS = 64
"""A customer usually gets a whole network of this size, and may use any address in it."""


@functools.lru_cache(maxsize=4096)
def client_group(host: str) -> str:
    """Return the text by which the clients at an address are counted together."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host  # a proxy passes on whatever it received
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))


class TrustedProxies:
    """The addresses of TRUSTED_PROXIES; each of them stands for many clients."""

    def __init__(self, text: str) -> None:
        parts = {part.strip() for part in text.split(",") if part.strip()}
        self._all = "*" in parts
        self._networks = [network for part in parts if (network := _network(part)) is not None]
        self._contains = functools.lru_cache(maxsize=4096)(self._look_up)

    def __contains__(self, host: str) -> bool:
        return self._all or self._contains(host)

    def _look_up(self, host: str) -> bool:
        network = _network(host)
        return network is not None and any(
            network.version == each.version and network[0] in each for each in self._networks
        )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None

"""Recognise the trusted proxies by their addresses."""

from __future__ import annotations

import functools
import ipaddress


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

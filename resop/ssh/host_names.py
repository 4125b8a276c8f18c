"""The names of a login node in known_hosts, which ssh changes before it looks them up."""

from __future__ import annotations

import functools
import socket
from dataclasses import dataclass

from resop.config.host_address import name_in_dns

SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class HostNames:
    """The spellings of one login node's name; the first one is ssh's."""

    plain: str
    """The name in certificates: without port and final dot."""
    with_port: tuple[str, ...]
    """`[name]:port`, or the names alone for port 22."""
    without_port: tuple[str, ...]
    """The names that count where there are none with the port."""


@functools.cache
def host_names(address: str, port: int) -> HostNames:
    """Return the names of the login node at `address`, a host name or an IP address."""
    written = _numeric(address)
    names = [written] if written else _spellings(address)
    with_port = [name if port == SSH_PORT else f"[{name}]:{port}" for name in names]
    return HostNames(names[-1], tuple(with_port), tuple(names))


def _spellings(name: str) -> list[str]:
    """Return a host name in lower case, also as in DNS, and without the dot that ends it."""
    lower = name.lower()
    spellings = [lower, name_in_dns(lower)]
    spellings += [each.removesuffix(".") for each in spellings]
    return list(dict.fromkeys(spellings))


def _numeric(address: str) -> str | None:
    """Return an IP address as ssh writes it, `::1` for `0:0::1`; None for a host name."""
    try:
        *_, place = socket.getaddrinfo(
            address, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        return socket.getnameinfo(place, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    except OSError:  # also for a zone that this machine does not have
        return None

"""Where a notification may go: HTTPS addresses of hosts that the site names, and public ones."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

LONGEST_ADDRESS = 2000
HTTPS_PORT = 443

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# What ends in a number is an IP address to those who resolve it, in whatever form: 0x7f.1
_NAME = rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}"
_HOST = re.compile(_NAME, re.IGNORECASE)
_ENTRY = re.compile(rf"((?:\*\.)?{_NAME})(?::([0-9]{{1,5}}))?", re.IGNORECASE)
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ... and no backslash, which some take for a slash

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: what maps IPv4 is outside
_SIX_TO_FOUR = IPv6Network("2002::/16")  # and here inside (RFC 3056)


class WebhookHost(NamedTuple):
    """An address that was checked, in its parts."""

    host: str
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        return self.host if self.port == HTTPS_PORT else f"{self.host}:{self.port}"


class WebhookHosts:
    """The hosts that a site allows; none are where notifications are off."""

    def __init__(self, listed: str) -> None:
        """`listed` is `NAME[:PORT]` again and again; `*.NAME` are all names below it.

        Raises ValueError for anything else.
        """
        self._allowed: set[tuple[str, int]] = set()
        for entry in listed.replace(",", " ").split():
            found = _ENTRY.fullmatch(entry)
            if found is None or not 0 < int(found[2] or HTTPS_PORT) < 65536:
                raise ValueError(f"{entry!r} is not of the form NAME, NAME:PORT or *.NAME")
            self._allowed.add((found[1].lower(), int(found[2] or HTTPS_PORT)))

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def receiver(self, address: str) -> WebhookHost:
        """The parts of an address; ValueError says why nothing may be sent there."""
        if not self:
            raise ValueError("notifications are off: the site sets no NOTIFY_HOSTS")
        if len(address) > LONGEST_ADDRESS or not _PRINTABLE.fullmatch(address):
            raise ValueError(
                f"has at most {LONGEST_ADDRESS} printable ASCII characters, and no backslash"
            )
        try:
            parts = urlsplit(address)
            port = parts.port or HTTPS_PORT
        except ValueError as fault:
            raise ValueError(f"is not an address: {fault}") from None
        if parts.scheme != "https":
            raise ValueError("begins with https://")
        if "@" in parts.netloc:
            raise ValueError("holds no user name and no password")
        if "#" in address:
            raise ValueError("has no fragment (#)")
        host = parts.hostname or ""
        if not _HOST.fullmatch(host):
            raise ValueError("names a host by its name, not by an IP address")
        if not self._allows(host, port):
            raise ValueError(f"{host}:{port} is not among the hosts that the site allows")
        return WebhookHost(
            host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        )

    def _allows(self, host: str, port: int) -> bool:
        above = [f"*.{host[dot + 1 :]}" for dot, sign in enumerate(host) if sign == "."]
        return any((name, port) in self._allowed for name in (host, *above))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open Internet: no loopback, private or multicast one."""
    found: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(found, IPv6Address) and (found not in _GLOBAL_UNICAST or found in _SIX_TO_FOUR):
        return False
    return found.is_global and not found.is_multicast

"""Decide where webhooks may go, HTTPS addresses of NOTIFY_HOSTS, and read their signing key."""

from __future__ import annotations

import base64
import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from resop.types import Secret

MAX_ADDRESS_CHARACTERS = 2000
HTTPS_PORT = 443
SIGNING_KEY_BYTES = range(24, 65)  # https://www.standardwebhooks.com

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A resolver takes a name that ends in a number for an IP address, such as 0x7f.1.
_NAME = rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}"
_HOST = re.compile(_NAME, re.IGNORECASE)
_ENTRY = re.compile(rf"((?:\*\.)?{_NAME})(?::([0-9]{{1,5}}))?", re.IGNORECASE)
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # without the backslash, which some take for a slash

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291; addresses that map IPv4 are outside
_SIX_TO_FOUR = IPv6Network("2002::/16")  # but these are inside (RFC 3056)


class WebhookHost(NamedTuple):
    """The parts of a checked address."""

    host: str
    port: int
    target: str
    """The path and the query."""

    @property
    def authority(self) -> str:
        """The host and the port as in the Host header."""
        return self.host if self.port == HTTPS_PORT else f"{self.host}:{self.port}"


class WebhookHosts:
    """The hosts that webhooks may go to; false if webhooks are off."""

    def __init__(self, listed: str) -> None:
        """Read `listed`, a list of `NAME[:PORT]` and `*.NAME[:PORT]` (all names below NAME).

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
        """Check an address. Raises ValueError with the reason why nothing may be sent there."""
        if not self:
            raise ValueError("webhooks are off on this service: its NOTIFY_HOSTS names no host")
        if len(address) > MAX_ADDRESS_CHARACTERS or not _PRINTABLE.fullmatch(address):
            raise ValueError(
                f"must have at most {MAX_ADDRESS_CHARACTERS} printable ASCII characters, "
                "and no backslash"
            )
        try:
            parts = urlsplit(address)
            port = parts.port or HTTPS_PORT
        except ValueError as fault:
            raise ValueError(f"is not an address: {fault}") from None
        if parts.scheme != "https":
            raise ValueError("must begin with https://")
        if "@" in parts.netloc:
            raise ValueError("must not contain a user name or a password")
        if "#" in address:
            raise ValueError("must not have a fragment (#)")
        host = parts.hostname or ""
        if not _HOST.fullmatch(host):
            raise ValueError("must name the host by its name, not by an IP address")
        if not self._allows(host, port):
            raise ValueError(f"{host}:{port} is not among the hosts that NOTIFY_HOSTS allows")
        return WebhookHost(
            host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        )

    def _allows(self, host: str, port: int) -> bool:
        above = [f"*.{host[dot + 1 :]}" for dot, sign in enumerate(host) if sign == "."]
        return any((name, port) in self._allowed for name in (host, *above))


def is_public(address: str) -> bool:
    """Return True for a public IP address: not loopback, private, link-local or multicast."""
    found: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(found, IPv6Address) and (found not in _GLOBAL_UNICAST or found in _SIX_TO_FOUR):
        return False
    return found.is_global and not found.is_multicast


def webhook_key(secret: Secret) -> bytes:
    """Return the signing key in NOTIFY_SECRET. Raises ValueError if it is not a valid key."""
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not text.startswith("whsec_") or len(key) not in SIGNING_KEY_BYTES:
        raise ValueError(
            "NOTIFY_SECRET must be whsec_ and 24 to 64 random bytes in base64: "
            "create one with: echo whsec_$(openssl rand -base64 32)"
        )
    return key

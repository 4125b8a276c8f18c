"""Check the address of a login node: a host name or an IP address, as ssh takes it."""

from __future__ import annotations

import ipaddress
import re

_NOT_IN_NAMES = re.compile(r"[\s\x00-\x1f\x7f/\\@?#\[\]\"'<>|,;]")
_WITH_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*):(?P<port>\d+)")


def login_node_address(text: str) -> str:
    """Return the address without the brackets that an IPv6 address may have.

    Raises ValueError for what is no host name or IP address, such as `user@host`.
    """
    text = text.strip()
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if is_ip_address(inner):
        return inner
    if found := _WITH_PORT.fullmatch(text):
        raise ValueError(
            f"must be without the port: {found['host']} here, and {found['port']} as the SSH port"
        )
    if not text or ":" in text or _NOT_IN_NAMES.search(text):
        raise ValueError(
            "must be the login node's address: a host name such as login.hpc.example, or an IP "
            "address, without user, port and path"
        )
    try:
        name_in_dns(text)
    except UnicodeError as fault:
        raise ValueError(f"is not the name of a host: {_reason(fault)}") from None
    return text


def is_ip_address(text: str) -> bool:
    """Return whether a text is an IPv4 or IPv6 address, which may have a zone (`fe80::1%eth0`)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def name_in_dns(name: str) -> str:
    """Return a host name as DNS knows it: `münchen.example` is `xn--mnchen-3ya.example`.

    Raises UnicodeError for a name that DNS cannot have.
    """
    return name.encode("idna").decode("ascii")


def _reason(fault: UnicodeError) -> str:
    return str(fault.__cause__ or fault)

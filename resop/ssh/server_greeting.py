"""Collect what a server says before encryption: lines, its version, its host key algorithms.

RFC 4253: 4.2 (lines before the version), 6 (packets), 7.1 (SSH_MSG_KEXINIT).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from enum import Enum

MAX_BYTES = 1 << 16
MAX_TEXT = 200

_VERSION = re.compile(rb"^(SSH-[^\r\n]*)(?:\r?\n|\r?\Z)", re.MULTILINE)
_KEXINIT = 20
_HEADER = struct.Struct("!IBB")
"""Packet length, padding length, and the first byte of the payload: the type of the message."""
_COOKIE_SIZE = 16


class Stage(Enum):
    """How far a connection has come."""

    RESOLVE = "its host name is being resolved"
    CONNECT = "TCP connects"
    SSH = "there is a TCP connection"


class ServerGreeting:
    """Collects the first bytes that a server sends."""

    def __init__(self) -> None:
        self.stage = Stage.RESOLVE
        self._data = bytearray()

    def feed(self, data: bytes) -> bool:
        """Take what has arrived; return True once nothing more is needed."""
        self._data += data[: MAX_BYTES - len(self._data)]
        return len(self._data) == MAX_BYTES or self._kexinit() is not None

    @property
    def version(self) -> str:
        """The line that begins with `SSH-`; empty if there is none."""
        found = _VERSION.search(self._data)
        return found[1].decode("utf-8", "replace") if found else ""

    @property
    def text(self) -> str:
        """The text before the version, as printable ASCII on one line and shortened."""
        found = _VERSION.search(self._data)
        before = self._data[: found.start()] if found else self._data
        words = before.decode("utf-8", "replace").split()
        return ascii(" ".join(words)[:MAX_TEXT])[1:-1]

    @property
    def host_key_algorithms(self) -> list[str]:
        """The algorithms of the server's host keys; empty if it has not named them."""
        content = self._kexinit()
        lists = list(_name_lists(content)) if content else []
        return lists[1] if len(lists) > 1 else []

    def _kexinit(self) -> bytes | None:
        """Return the content of KEXINIT after its cookie, if it has arrived."""
        found = _VERSION.search(self._data)
        packet = self._data[found.end() :] if found else b""
        if len(packet) < _HEADER.size:
            return None
        size, padding, kind = _HEADER.unpack_from(packet)
        end = 4 + size - padding
        if kind != _KEXINIT or len(packet) < end:
            return None
        return bytes(packet[_HEADER.size + _COOKIE_SIZE : end])


def _name_lists(content: bytes) -> Iterator[list[str]]:
    at = 0
    while len(content) >= at + 4:
        (size,) = struct.unpack_from("!I", content, at)
        yield content[at + 4 : at + 4 + size].decode("ascii", "replace").split(",")
        at += 4 + size

"""Digests of what is sent and received, as RFC 9530 writes them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any, Literal

from starlette.datastructures import Headers

from resop.errors import DigestMismatch, InvalidOptions

Algorithm = Literal["sha256", "sha512"]
NAMES: dict[str, Algorithm] = {"sha-256": "sha256", "sha-512": "sha512"}
_DIGEST = re.compile(r"([a-z0-9-]+)=:([A-Za-z0-9+/=]*):")

Digests = dict[Algorithm, bytes]


class Hashes:
    """Digests in the making, by the names of their algorithms."""

    def __init__(self, *algorithms: Algorithm) -> None:
        self._running: dict[Algorithm, Any] = {each: hashlib.new(each) for each in algorithms}

    def update(self, content: bytes) -> None:
        """Take in what comes next."""
        for each in self._running.values():
            each.update(content)

    async def taking_in(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same content, taken in as it passes."""
        async for piece in content:
            self.update(piece)
            yield piece

    def digests(self) -> Digests:
        """Of all that was taken in."""
        return {name: each.digest() for name, each in self._running.items()}


def expected(headers: Headers, header: str) -> Digests:
    """The digests that Content-Digest or Repr-Digest announces; empty without that header.

    InvalidOptions where there is none among them that can be checked.
    """
    given = headers.get(header)
    if given is None:
        return {}
    try:
        found: Digests = {
            NAMES[name]: base64.b64decode(value, validate=True)
            for name, value in _DIGEST.findall(given)
            if name in NAMES
        }
    except binascii.Error:
        found = {}
    if not found:
        fault = f"has none of {', '.join(NAMES)}, written as sha-256=:BASE64:"
        raise InvalidOptions([{"field": header, "message": fault}])
    return found


def check_digests(wanted: Digests, made: Digests) -> None:
    """DigestMismatch where one that is wanted is another one."""
    for algorithm, digest in wanted.items():
        if made[algorithm] != digest:
            raise DigestMismatch(received=made[algorithm].hex(), algorithm=algorithm)


def as_header(digests: Digests) -> str:
    """As a field of RFC 9530."""
    by_algorithm = {algorithm: name for name, algorithm in NAMES.items()}
    return ", ".join(
        f"{by_algorithm[each]}=:{base64.b64encode(digest).decode()}:"
        for each, digest in digests.items()
    )

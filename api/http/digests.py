"""Digests of uploaded and downloaded content, in the header fields of RFC 9530."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Literal

from starlette.datastructures import Headers

from resop.errors import DigestMismatch, InvalidOptions

Algorithm = Literal["sha256", "sha512"]
DIGEST_ALGORITHMS: dict[str, Algorithm] = {"sha-256": "sha256", "sha-512": "sha512"}
"""The supported algorithms by their names in RFC 9530."""

Digests = dict[Algorithm, bytes]


class Hasher:
    """Computes several digests of one content."""

    def __init__(self, *algorithms: Algorithm) -> None:
        self._hashes: dict[Algorithm, Any] = {each: hashlib.new(each) for each in algorithms}

    def update(self, content: bytes) -> None:
        """Add content."""
        for each in self._hashes.values():
            each.update(content)

    async def pass_through(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks of the content unchanged, adding each of them."""
        async for chunk in content:
            self.update(chunk)
            yield chunk

    def digests(self) -> Digests:
        """Return the digests of everything that was added."""
        return {name: each.digest() for name, each in self._hashes.items()}


def announced_digests(headers: Headers, name: str) -> Digests:
    """Return the digests in Content-Digest or Repr-Digest; empty without that header.

    Raises InvalidOptions if the header contains no supported digest.
    """
    header = headers.get(name)
    if header is None:
        return {}
    found: Digests = {}
    try:
        for member in header.split(","):
            algorithm, _, value = member.strip().partition("=")
            if algorithm in DIGEST_ALGORITHMS and value[:1] == value[-1:] == ":":
                digest = base64.b64decode(value[1:-1], validate=True)
                found[DIGEST_ALGORITHMS[algorithm]] = digest
    except ValueError:  # not base64, or not even ASCII
        found = {}
    if not found:
        message = (
            f"must contain a digest by {' or '.join(DIGEST_ALGORITHMS)}, as in sha-256=:BASE64:"
        )
        raise InvalidOptions.of(name, message)
    return found


def check_digests(announced: Digests, computed: Digests) -> None:
    """Raise DigestMismatch if an announced digest differs from the computed one."""
    for algorithm, digest in announced.items():
        if computed[algorithm] != digest:
            raise DigestMismatch(received=computed[algorithm].hex(), algorithm=algorithm)


def digest_header(digests: Digests) -> str:
    """Return digests as the value of a header field (RFC 9530)."""
    names = {algorithm: name for name, algorithm in DIGEST_ALGORITHMS.items()}
    return ", ".join(
        f"{names[algorithm]}=:{base64.b64encode(digest).decode()}:"
        for algorithm, digest in digests.items()
    )

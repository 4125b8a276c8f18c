"""Sign messages that may be read by others: nobody without SECRET_KEY can make or redirect one.

A signed message can be repeated. It must mean nothing the second time.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from resop.security.message_encryption import RefusedMessage

_SIGNATURE_BYTES = 32


class MessageSigner:
    """Signs messages and checks signatures (HMAC-SHA256). May be used by several threads."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Set up; `keys` are `Encryptor.queue_keys`: the first signs, all of them check."""
        self._keys = keys

    def sign(self, queue: str, content: bytes) -> bytes:
        """Return `content` after its signature (hex), which is for one queue."""
        return _signature(self._keys[0], queue, content).hex().encode() + content

    def check(self, queue: str, signed: bytes) -> bytes:
        """Return the signed content. Raises RefusedMessage if it was not signed for this queue."""
        signature, content = signed[: 2 * _SIGNATURE_BYTES], signed[2 * _SIGNATURE_BYTES :]
        for key in self._keys:
            expected = _signature(key, queue, content).hex().encode()
            if hmac.compare_digest(expected, signature):
                return content
        raise RefusedMessage("this service did not send it to this queue")


def _signature(key: bytes, queue: str, content: bytes) -> bytes:
    # No name of a queue contains a NUL.
    return hmac.digest(key, queue.encode() + b"\0" + content, "sha256")

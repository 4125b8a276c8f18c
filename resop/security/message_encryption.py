"""Encrypt messages: nobody without SECRET_KEY can read, forge, redirect or repeat them.

An encrypted message consists of

    sender (16 bytes)  number (8 bytes)  AES-256-GCM(time (8 bytes), content)

Each sender has a random name, a key derived from the service's and that name, and numbers its
messages. The number is the nonce, so no key ever meets the same nonce twice. The channel is
authenticated with the content. A receiver accepts each number of a sender once, and no message
whose time is far from its own clock: it cannot know which older messages an earlier process saw.
"""

from __future__ import annotations

import hmac
import itertools
import secrets
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resop.clock import unix_time

MAX_AGE_SECONDS = 300.0
"""How far a message's time may be from the receiver's clock, in either direction."""
WINDOW = 4096
"""A sender's message may arrive after at most as many later ones: its threads have connections
of their own."""

_HEADER = struct.Struct(">16sQ")
_TIME = struct.Struct(">d")
OVERHEAD_BYTES = _HEADER.size + _TIME.size + 16
"""By how much an encrypted message is longer than its content."""
_WINDOW_MASK = (1 << WINDOW) - 1


class RefusedMessage(ValueError):
    """A message that a receiver does not accept; the text says why, without its content."""


class MessageEncryptor:
    """Encrypts the messages of one sender. May be used by several threads."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Set up a sender with a new name; `keys` are `Encryptor.message_keys`."""
        self._name = secrets.token_bytes(16)
        self._cipher = _cipher(keys[0], self._name)
        self._numbers = itertools.count(1)

    def encrypt(self, channel: str, content: bytes) -> bytes:
        """Return `content`, encrypted for one channel."""
        header = _HEADER.pack(self._name, next(self._numbers))
        content = _TIME.pack(unix_time()) + content
        return header + self._cipher.encrypt(_nonce(header), content, channel.encode())


@dataclass(slots=True)
class _Sender:
    """A sender as a receiver knows it."""

    cipher: AESGCM
    forget_at: float
    """time.monotonic"""
    newest: int = 0
    """The highest number accepted so far."""
    seen: int = 0
    """Bit n is set if the number `newest - n` was accepted."""

    def accept(self, number: int) -> bool:
        """Return False if a number was accepted before, or is too old to know."""
        ahead = number - self.newest
        if ahead > 0:
            self.seen = (self.seen << min(ahead, WINDOW) | 1) & _WINDOW_MASK
            self.newest = number
            return True
        bit = 1 << min(-ahead, WINDOW)
        if bit > _WINDOW_MASK or self.seen & bit:
            return False
        self.seen |= bit
        return True


class MessageDecryptor:
    """Decrypts the messages that one receiver gets, each of them once. For one thread."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Set up; `keys` are `Encryptor.message_keys`."""
        self._keys = keys
        self._senders: dict[bytes, _Sender] = {}

    def decrypt(self, channel: str, encrypted: bytes) -> bytes:
        """Return the content of a message. Raises RefusedMessage unless it is new and genuine."""
        if len(encrypted) < _HEADER.size:
            raise RefusedMessage("this service did not send it")
        name, number = _HEADER.unpack_from(encrypted)
        sender = self._senders.get(name)
        ciphers = [sender.cipher] if sender else [_cipher(key, name) for key in self._keys]
        cipher, content = _decrypt(ciphers, channel, encrypted)
        age = unix_time() - _TIME.unpack_from(content)[0]
        if abs(age) > MAX_AGE_SECONDS:
            raise RefusedMessage(
                f"by the clock of this machine it is {age:.0f} s old: it was repeated, or the "
                "clocks of the machines differ"
            )
        sender = sender or self._add(name, cipher)
        # Whatever this sender has sent until now is then refused by its time.
        sender.forget_at = time.monotonic() + 2 * MAX_AGE_SECONDS
        if not sender.accept(number):
            raise RefusedMessage("it was repeated")
        return content[_TIME.size :]

    def _add(self, name: bytes, cipher: AESGCM) -> _Sender:
        """Remember a new sender, and forget all that have sent nothing for long."""
        now = time.monotonic()
        self._senders = {each: it for each, it in self._senders.items() if it.forget_at > now}
        self._senders[name] = sender = _Sender(cipher, now)
        return sender


def _decrypt(ciphers: Sequence[AESGCM], channel: str, encrypted: bytes) -> tuple[AESGCM, bytes]:
    """Return the cipher that decrypts a message, and its time and content."""
    nonce, ciphertext = _nonce(encrypted), encrypted[_HEADER.size :]
    for cipher in ciphers:
        try:
            return cipher, cipher.decrypt(nonce, ciphertext, channel.encode())
        except (InvalidTag, ValueError):
            continue
    raise RefusedMessage("this service did not send it on this channel")


def _cipher(key: bytes, name: bytes) -> AESGCM:
    """Derive a sender's key; HMAC is the key derivation of RFC 5869 for a key that is uniform."""
    return AESGCM(hmac.digest(key, name, "sha256"))


def _nonce(header: bytes) -> bytes:
    """Return the number of a message as a nonce of 12 bytes."""
    return bytes(4) + header[_HEADER.size - 8 : _HEADER.size]

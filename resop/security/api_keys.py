"""The text of an API key: `resop_`, then id and secret, then a checksum, all in base 62.

Scanners for leaked secrets recognize it by `resop_[0-9A-Za-z]{71}` and by its checksum, which also
finds a key that was copied incompletely, before the database is asked. What is stored is a digest
of the secret. The key share that decrypts the cluster key is derived from the secret, and is
stored nowhere.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from resop.errors import TokenRefused
from resop.security.tokens import KEY_SHARE_BYTES

PREFIX = "resop_"
SECRET_BYTES = 32
_ID_BYTES = 16
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CONTENT_DIGITS = 65
"""The length of id and secret: 384 bits."""
_CHECKSUM_DIGITS = 6
_SHAPE = re.compile(
    f"{PREFIX}([0-9A-Za-z]{{{_CONTENT_DIGITS}}})([0-9A-Za-z]{{{_CHECKSUM_DIGITS}}})"
)


@dataclass(frozen=True, slots=True)
class ApiKeyText:
    """An API key as its owner holds it."""

    id: str
    """The id of the key, which is also that of its credential."""
    secret: bytes

    def __repr__(self) -> str:
        return f"ApiKeyText({self.id!r})"

    @classmethod
    def new(cls, key_id: str) -> ApiKeyText:
        """Return a new key with a random secret; `key_id` is a UUID."""
        return cls(key_id, secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> ApiKeyText:
        """Return the key with this text. Raises TokenRefused if it is none."""
        shape = _SHAPE.fullmatch(text)
        if shape is None or _checksum(shape[1]) != shape[2]:
            raise TokenRefused("this is not a complete API key: copy it again")
        try:
            content = _number(shape[1]).to_bytes(_ID_BYTES + SECRET_BYTES)
        except OverflowError:
            raise TokenRefused("this is not an API key of this service") from None
        return cls(str(UUID(bytes=content[:_ID_BYTES])), content[_ID_BYTES:])

    @property
    def text(self) -> str:
        """The key as its owner sees it, once."""
        content = _base62(int.from_bytes(UUID(self.id).bytes + self.secret), _CONTENT_DIGITS)
        return f"{PREFIX}{content}{_checksum(content)}"

    @property
    def digest(self) -> str:
        """The digest of the secret for the database, hex; the secret has 256 random bits."""
        return hashlib.sha256(b"resop api key " + self.secret).hexdigest()

    @property
    def key_share(self) -> str:
        """The part of the credential's key that the database does not hold, hex."""
        derivation = HKDF(SHA256(), KEY_SHARE_BYTES, None, b"resop api key share")
        return derivation.derive(self.secret).hex()


def _checksum(content: str) -> str:
    return _base62(zlib.crc32(f"{PREFIX}{content}".encode()), _CHECKSUM_DIGITS)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _number(text: str) -> int:
    number = 0
    for digit in text:
        number = number * len(_DIGITS) + _DIGITS.index(digit)
    return number

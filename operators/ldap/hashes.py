"""Passwords and their hashes, as OpenLDAP keeps them in userPassword (RFC 2307)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from typing import Annotated, Literal

from pydantic import Field

from operators.linux_user import hashes as crypt
from operators.linux_user.hashes import Password
from resop import Secret, Shell
from resop.errors import InvalidOptions

SHA1_BYTES = 20
SALT_BYTES = 16

Scheme = Annotated[
    Literal["SSHA", "CRYPT"],
    Field(description="SSHA: salted SHA-1; CRYPT: SHA-512, 5000 rounds, of the server's crypt(3)"),
]


NewPassword = Annotated[Password, Field(description="the new password")]


def ssha(password: Secret, salt: bytes) -> Secret:
    """`{SSHA}` and base64 of SHA-1(password + salt) + salt."""
    digest = hashlib.sha1(password.get_secret_value().encode() + salt).digest()  # noqa: S324
    return Secret("{SSHA}" + base64.b64encode(digest + salt).decode())


def ssha_salt(stored: str) -> str:
    """The salt of an SSHA hash, in base64; ValueError when it is none."""
    try:
        kept = base64.b64decode(stored.removeprefix("{SSHA}"), validate=True)
    except ValueError:
        kept = b""
    if not stored.startswith("{SSHA}") or len(kept) <= SHA1_BYTES:
        raise ValueError("not an SSHA hash: {SSHA} and base64 are expected")
    return base64.b64encode(kept[SHA1_BYTES:]).decode()


def hashed(shell: Shell, password: Secret, scheme: Scheme, salt: str | None = None) -> Secret:
    """A password as userPassword keeps it.

    `salt` is base64 for SSHA, of `./0-9A-Za-z` for CRYPT; a random one when not given.
    """
    if scheme == "SSHA":
        return ssha(password, _bytes(salt) if salt else secrets.token_bytes(SALT_BYTES))
    if salt and not re.fullmatch("[./0-9A-Za-z]{1,16}", salt):
        raise InvalidOptions([{"field": "salt", "message": "not 1 to 16 of ./0-9A-Za-z"}])
    crypted = crypt.hashed(shell, password, salt=salt)
    return Secret("{CRYPT}" + crypted.get_secret_value())


def _bytes(salt: str) -> bytes:
    try:
        return base64.b64decode(salt, validate=True)
    except binascii.Error:
        raise InvalidOptions([{"field": "salt", "message": "not base64"}]) from None

"""Passwords and their hashes, as OpenLDAP keeps them in userPassword (RFC 2307)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from resop import Secret, Shell
from resop.errors import InvalidOptions

SHA1_BYTES = 20
SALT_BYTES = 16
LONGEST = 255
"""In bytes: openssl passwd cuts what is longer."""

Scheme = Annotated[
    Literal["SSHA", "CRYPT"],
    Field(description="SSHA: salted SHA-1; CRYPT: SHA-512, 5000 rounds, of the server's crypt(3)"),
]


def _checked(password: Secret) -> Secret:
    text = password.get_secret_value()
    if not text.isprintable():
        raise ValueError("contains a control character")
    if len(text.encode("utf-8", "replace")) > LONGEST:
        raise ValueError(f"has more than {LONGEST} bytes")
    return password


NewPassword = Annotated[
    Secret, Field(min_length=1, description="the new password"), AfterValidator(_checked)
]


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
    # On the cluster, since Python has no crypt(3) of its own any more.
    flags = ["-salt", salt] if salt else []
    result = shell.run("openssl", "passwd", "-6", *flags, "-stdin", input=[password, "\n"])
    return Secret("{CRYPT}" + result.stdout.strip())


def _bytes(salt: str) -> bytes:
    try:
        return base64.b64decode(salt, validate=True)
    except binascii.Error:
        raise InvalidOptions([{"field": "salt", "message": "not base64"}]) from None

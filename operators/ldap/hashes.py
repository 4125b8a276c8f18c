"""Passwords and their hashes, as OpenLDAP keeps them in userPassword (RFC 2307)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import Annotated, Literal

from pydantic import Field

from operators.linux_user import hashes as crypt
from operators.linux_user.hashes import Password
from resop import Secret, Shell

SHA1_BYTES = 20
SALT_BYTES = 16

Scheme = Annotated[
    Literal["SSHA", "CRYPT"],
    Field(description="SSHA: salted SHA-1; CRYPT: SHA-512, 5000 rounds, of the server's crypt(3)"),
]


NewPassword = Annotated[Password, Field(description="the new password")]


def ssha(password: Secret, salt: bytes) -> Secret:
    """`{SSHA}` and base64 of SHA-1(password + salt) + salt."""
    digest = hashlib.sha1(password.get_secret_value().encode() + salt).digest()  # noqa: S324 # nosec B324 # what {SSHA} is
    return Secret("{SSHA}" + base64.b64encode(digest + salt).decode())


def ssha_salt(stored: str) -> str | None:
    """The salt of an SSHA hash, in base64; None for anything else."""
    kept = _decoded(stored.removeprefix("{SSHA}")) or b""
    if not stored.startswith("{SSHA}") or len(kept) <= SHA1_BYTES:
        return None
    return base64.b64encode(kept[SHA1_BYTES:]).decode()


def hashed(shell: Shell, password: Secret, scheme: Scheme, salt: str | None = None) -> Secret:
    """A password as userPassword keeps it.

    `salt` is base64 for SSHA, of `./0-9A-Za-z` for CRYPT; a random one when not given.
    """
    if scheme == "SSHA":
        return ssha(password, _bytes(shell, salt) if salt else secrets.token_bytes(SALT_BYTES))
    if salt and not re.fullmatch("[./0-9A-Za-z]{1,16}", salt):
        shell.fail("the salt is not 1 to 16 of ./0-9A-Za-z")
    crypted = crypt.hashed(shell, password, salt=salt)
    return Secret("{CRYPT}" + crypted.get_secret_value())


def _bytes(shell: Shell, salt: str) -> bytes:
    decoded = _decoded(salt)
    return shell.fail("the salt is not base64") if decoded is None else decoded


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None

"""Hash passwords for OpenLDAP's userPassword (RFC 2307)."""

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

HashScheme = Annotated[
    Literal["SSHA", "CRYPT"],
    Field(description="SSHA: salted SHA-1; CRYPT: SHA-512, 5000 rounds (crypt(3))"),
]


NewPassword = Annotated[Password, Field(description="new password")]


def ssha(password: Secret, salt: bytes) -> Secret:
    """Return `{SSHA}` and the base64 of SHA-1(password + salt) + salt."""
    digest = hashlib.sha1(password.get_secret_value().encode() + salt).digest()  # noqa: S324 # nosec B324 # what {SSHA} is
    return Secret("{SSHA}" + base64.b64encode(digest + salt).decode())


def ssha_salt(stored: str) -> str | None:
    """Return the salt of an SSHA hash in base64; None for anything else."""
    decoded = _decode_base64(stored.removeprefix("{SSHA}")) or b""
    if not stored.startswith("{SSHA}") or len(decoded) <= SHA1_BYTES:
        return None
    return base64.b64encode(decoded[SHA1_BYTES:]).decode()


def hash_password(
    shell: Shell, password: Secret, scheme: HashScheme, salt: str | None = None
) -> Secret:
    """Hash a password for userPassword.

    `salt` is base64 for SSHA, and up to 16 of `./0-9A-Za-z` for CRYPT; random unless given.
    """
    if scheme == "SSHA":
        return ssha(password, _salt_bytes(shell, salt) if salt else secrets.token_bytes(SALT_BYTES))
    if salt and not re.fullmatch("[./0-9A-Za-z]{1,16}", salt):
        shell.fail("salt must be 1 to 16 letters, digits, '.' or '/' with scheme CRYPT")
    crypted = crypt.hash_password(shell, password, salt=salt)
    return Secret("{CRYPT}" + crypted.get_secret_value())


def _salt_bytes(shell: Shell, salt: str) -> bytes:
    decoded = _decode_base64(salt)
    return shell.fail("salt must be base64 with scheme SSHA") if decoded is None else decoded


def _decode_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None

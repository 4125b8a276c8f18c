"""Hash passwords for crypt(5), with openssl on the cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from resop import Secret, Shell

MAX_PASSWORD_BYTES = 255
"""openssl passwd truncates longer passwords."""
METHOD_FLAGS = {"sha512": "-6", "sha256": "-5", "md5": "-1"}

HashMethod = Literal["sha512", "sha256", "md5"]


def _check_password(password: Secret) -> Secret:
    text = password.get_secret_value()
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    if len(text.encode("utf-8", "replace")) > MAX_PASSWORD_BYTES:
        raise ValueError(f"must have at most {MAX_PASSWORD_BYTES} bytes")
    return password


Password = Annotated[Secret, Field(min_length=1), AfterValidator(_check_password)]
"""A password that every tool accepts unchanged: one line of at most 255 bytes."""


def hash_password(
    shell: Shell, password: Secret, method: HashMethod = "sha512", salt: str | None = None
) -> Secret:
    """Return a password's hash as `$6$salt$hash`; the salt is random unless given."""
    flags = ["-salt", salt] if salt else []
    argv = ("openssl", "passwd", METHOD_FLAGS[method], *flags, "-stdin")
    result = shell.run(*argv, input=[password, "\n"], secret_output=True, reads=True)
    return Secret(result.stdout.strip())

"""Hashes of passwords in the form of crypt(5), made by openssl on the cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from resop import Secret, Shell

LONGEST = 255
"""In bytes: openssl passwd cuts what is longer."""
FLAGS = {"sha512": "-6", "sha256": "-5", "md5": "-1"}

Method = Literal["sha512", "sha256", "md5"]


def _checked(password: Secret) -> Secret:
    text = password.get_secret_value()
    if not text.isprintable():
        raise ValueError("contains a control character")
    if len(text.encode("utf-8", "replace")) > LONGEST:
        raise ValueError(f"has more than {LONGEST} bytes")
    return password


Password = Annotated[Secret, Field(min_length=1), AfterValidator(_checked)]
"""A password that every tool takes as it is: one line, of at most 255 bytes."""


def hashed(
    shell: Shell, password: Secret, method: Method = "sha512", salt: str | None = None
) -> Secret:
    """`$6$salt$hash` of a password; a random salt when none is given."""
    flags = ["-salt", salt] if salt else []
    argv = ("openssl", "passwd", FLAGS[method], *flags, "-stdin")
    made = shell.run(*argv, input=[password, "\n"], secret_output=True)
    return Secret(made.stdout.strip())

"""First passwords of new users: given by the caller, or generated.

A generated password is in the answer to the request, and masked everywhere else.

Setting: GENERATED_PASSWORD_LENGTH (default 16).
"""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field

from resop import Secret, Shell

LETTERS_AND_DIGITS = ("abcdefghijkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789")
"""Without characters that look alike: people type a first password from a letter."""
SIGNS = "-_.+="
"""Signs that no tool between the service and the login takes for its own."""
MIN_LENGTH, DEFAULT_LENGTH, MAX_LENGTH = 12, 16, 128

GeneratePassword = Annotated[
    bool,
    Field(description="generate the password; only the answer to this request shows it, once"),
]


def first_password(shell: Shell, given: Secret | None, generate: bool) -> Secret:
    """Return the password of a new user: the given one, or a generated one.

    Raises OperationFailed for a given one if one is to be generated, before anything is changed.
    """
    if given is not None and generate:
        shell.fail("give a password, or let one be generated with generate_password, not both")
    return given if given is not None else generate_password(shell)


def generate_password(shell: Shell) -> Secret:
    """Return a random password with lower case, upper case, digits and signs.

    Raises OperationFailed for a setting that is no length.
    """
    text = shell.setting("GENERATED_PASSWORD_LENGTH", str(DEFAULT_LENGTH))
    length = int(text) if text.isascii() and text.isdecimal() else 0
    if not MIN_LENGTH <= length <= MAX_LENGTH:
        shell.fail(
            f"the setting GENERATED_PASSWORD_LENGTH must be {MIN_LENGTH} to {MAX_LENGTH}, "
            f"not {text!r}"
        )
    while not _has_all_kinds(password := _random_text(length)):
        pass
    return Secret(password)


def _random_text(length: int) -> str:
    letters = "".join(LETTERS_AND_DIGITS)
    others = (secrets.choice(letters + SIGNS) for _ in range(length - 2))
    # No sign at either end, where it could be taken for an option or for punctuation.
    return "".join([secrets.choice(letters), *others, secrets.choice(letters)])


def _has_all_kinds(text: str) -> bool:
    return all(set(kind) & set(text) for kind in (*LETTERS_AND_DIGITS, SIGNS))

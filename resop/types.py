"""Types for an operation's options: what they accept is checked before a task is queued."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, SecretStr, StringConstraints
from pydantic_core import CoreSchema, core_schema

MASK = "********"

MAX_ARGUMENT_BYTES = 131_071
"""The longest single argument Linux passes to a program (MAX_ARG_STRLEN - 1; execve(2))."""


class ActionKind(StrEnum):
    """The two kinds of actions."""

    COMMAND = "command"
    OPERATION = "operation"


class Secret(SecretStr):
    """Text that is shown as `********` everywhere and reaches a command by standard input only.

    `get_secret_value()` gives the text.
    """


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """The sentence that a request gets for a value the annotated type refuses.

    It stands after the constraint that it explains, as in
    `Annotated[str, Field(pattern="^[A-Z]+$"), ErrorMessage("must be capital letters")]`.
    """

    text: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the annotated type's schema with this message for each of its errors."""
        return core_schema.custom_error_schema(
            handler(source),
            custom_error_type="explained",
            custom_error_message=self.text,
        )


def argument_fault(text: str) -> str | None:
    """Say why `text` cannot be an argument of a command, or None when it can."""
    if "\x00" in text:
        return "contains a NUL character, which no command line can carry"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is not a Unicode character"
    if size > MAX_ARGUMENT_BYTES:
        return f"has {size} bytes; an argument has at most {MAX_ARGUMENT_BYTES}: use stdin for more"
    return None


def _checked_argument(text: str) -> str:
    if fault := argument_fault(text):
        raise ValueError(fault)
    return text


_CHECKED = AfterValidator(_checked_argument)

Argument = Annotated[str, _CHECKED]
"""Any text that can stand on a command line: no NUL, at most 131,071 bytes of UTF-8."""


def argument_like(pattern: str, message: str) -> Any:
    """Return the type of an Argument that `pattern` (Rust's regex) matches from end to end.

    `message` is what a request with another value is answered.
    """
    return Annotated[str, Field(pattern=f"^(?:{pattern})$"), ErrorMessage(message), _CHECKED]


Username = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$"),
    ErrorMessage(
        "must be a POSIX user name: up to 32 of a-z, 0-9, '_', '.' and '-', "
        "beginning with a letter or '_'"
    ),
    Field(description="POSIX user name"),
]
"""A user name as useradd(8) and LDAP's posixAccount accept it, dots allowed."""

FileMode = Annotated[
    str,
    Field(
        pattern="^0?[0-7]{3}$",
        coerce_numbers_to_str=True,
        description="permissions in octal, such as 0640",
    ),
    ErrorMessage("must be permissions as three octal digits, such as 0640"),
]
"""Permissions of a file as chmod(1) takes them; no setuid, setgid or sticky bit."""

RemotePath = Annotated[
    str,
    # Before the check: behind a function, a limit would be missing in the JSON schema.
    StringConstraints(min_length=1, max_length=4096),
    _CHECKED,
    Field(description="path on the cluster; a relative one starts at the home folder"),
]

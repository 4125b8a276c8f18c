"""Types for an action's options: a value is checked before the task is queued.

Each type says in one sentence what it accepts; a request with another value is answered with that
sentence. `ErrorMessage` does the same for another type.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    StringConstraints,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MASK = "********"

MAX_ARGUMENT_BYTES = 131_071
"""The longest single argument Linux passes to a program (MAX_ARG_STRLEN - 1; execve(2))."""

MAX_COMMAND_BYTES = 130_000
"""The longest line for a login shell, which gets it as one argument, with a few words before it."""

MAX_SECRET_BYTES = 4096
"""The longest secret that a request may send, unless its type says otherwise."""


KindCode = Literal["cmd", "opn"]
"""The kind of an action in a URL path."""


class ActionKind(StrEnum):
    """The two kinds of actions."""

    COMMAND = "command"
    OPERATION = "operation"

    @property
    def code(self) -> KindCode:
        """The kind in a URL path: `cmd` or `opn`."""
        return "cmd" if self is ActionKind.COMMAND else "opn"


class Secret(SecretStr):
    """Text that is shown as `********` everywhere and reaches a program by standard input only.

    As the type of an option, it makes the option a password field:

        @operation
        def unlock(shell: Shell, password: Secret) -> None:
            shell.run("kinit", shell.username, input=password)

    `get_secret_value()` returns the text. A Secret among the arguments, `cwd` or `env` of a step
    raises OperationFault: every user of the login node can read them.

    A request may send at most `max_bytes` of UTF-8. Where secrets are longer, declare a type:

        class PrivateKey(Secret):
            max_bytes = 16_384
    """

    max_bytes: ClassVar[int] = MAX_SECRET_BYTES

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of SecretStr with the limit."""
        schema = super().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_after_validator_function(cls._check_size, schema)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema with the limit; a character has one byte or more."""
        return {**handler(schema), "maxLength": cls.max_bytes}

    @classmethod
    def _check_size(cls, secret: Self) -> Self:
        text = secret.get_secret_value()
        if len(text) > cls.max_bytes or len(text.encode("utf-8", "replace")) > cls.max_bytes:
            raise PydanticCustomError(
                "secret_too_long",
                "must have at most {max_bytes} bytes",
                {"max_bytes": cls.max_bytes},
            )
        return secret


Outcome = Literal["created", "changed", "unchanged"]
"""The outcome of an operation that ensures something, with the same words in all operators."""


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name that requests may use for the annotated option.

    Such as the name that it had in an earlier version:

        def run(shell: Shell, command: Annotated[str, Alias("input")]) -> str: ...

    Every option also has an alias with '-' in place of '_', and the other way round.
    """

    name: str


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """The sentence that a request gets for a value that the annotated type refuses.

    Put it after the constraint that it explains; it follows the name of the option:

        Account = Annotated[
            str, Field(pattern="^[a-z]+$"), ErrorMessage("must be lower-case letters")
        ]

    With this type for the option `account`, the answer is "account: must be lower-case letters".
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


def command_line_fault(text: str) -> str | None:
    """Return why `text` cannot be a line for a login shell, or None if it can."""
    return argument_fault(text, "a command line", MAX_COMMAND_BYTES)


def argument_fault(
    text: str, name: str = "an argument", limit: int = MAX_ARGUMENT_BYTES
) -> str | None:
    """Return why `text` cannot be an argument of a program, or None if it can.

    With another `name` and `limit` (bytes), return why it cannot be that.
    """
    if "\x00" in text:
        return "contains a NUL character, which no command line can carry"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is not a Unicode character"
    if size > limit:
        return f"has {size} bytes, but {name} can have at most {limit}: use stdin for more"
    return None


def _check_argument(text: str) -> str:
    if fault := argument_fault(text):
        raise ValueError(fault)
    return text


def _check_command_line(text: str) -> str:
    if fault := command_line_fault(text):
        raise ValueError(fault)
    return text


_CHECKED = AfterValidator(_check_argument)

Argument = Annotated[str, _CHECKED]
"""Text that a command line can carry: no NUL character, at most 131,071 bytes of UTF-8."""


CommandLine = Annotated[str, AfterValidator(_check_command_line)]
"""A line for the login shell: no NUL character, at most 130,000 bytes of UTF-8."""


def argument_like(pattern: str, message: str) -> Any:
    """Return the type of an Argument that `pattern` (Rust's regex) matches from end to end.

    `message` is the error message for any other value.
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
"""A user name that useradd(8) and LDAP's posixAccount accept; dots are allowed."""

FileMode = Annotated[
    str,
    Field(
        pattern="^0?[0-7]{3}$",
        coerce_numbers_to_str=True,
        description="permissions in octal, such as 0640",
    ),
    ErrorMessage("must be permissions as three octal digits, such as 0640"),
]
"""Permissions of a file, in octal as chmod(1) takes them, without setuid, setgid or sticky bit."""

RemotePath = Annotated[
    str,
    # Before the check: behind a function, a limit would be missing in the JSON schema.
    StringConstraints(min_length=1, max_length=4096),
    ErrorMessage("must be a path on the cluster: 1 to 4096 characters"),
    _CHECKED,
    Field(description="path on the cluster; a relative path starts at the home folder"),
]
"""A path on the cluster of 1 to 4096 characters; relative to the user's home folder."""

"""One step: what is to be run on the cluster, with which input, and what it answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from pydantic import SecretStr

from resop.errors import (
    InvalidOptions,
    OperationFault,
)
from resop.limits import OUTPUT_LIMIT
from resop.steps.quoting import DirectExec, display, login_shell_line
from resop.types import argument_fault

ArgValue = str | int | float | PurePath
Text = str | bytes | SecretStr
Input = Text | Sequence[Text]
"""A standard input, in one piece or in several; each Secret among them is hidden by itself."""

UNDO_SECONDS = 60.0
SECRET_IN_ARGV = (
    "a secret may not stand on a command line, where every user of the login node can read it: "  # noqa: S105
    "pass it with input="
)


@dataclass(frozen=True, slots=True)
class StepRequest:
    """One remote command as it is to be run."""

    line: str
    """What the login shell reads."""
    display: str
    """What a person would type; secrets are masked by the door."""
    input: bytes | None = None
    """Standard input; None closes it at once."""
    secrets: tuple[str, ...] = ()
    timeout: float | None = None
    """Time limit in seconds; what is left of the task's own when None."""
    max_output: int = OUTPUT_LIMIT
    """Bytes kept of each output stream; the rest is read and dropped."""
    raw: bool = False
    """Whether standard output stays bytes; it is not recorded then."""
    undo: bool = False
    """An undo step still runs when the task's own time is over."""
    program: DirectExec | None = None
    """What `line` runs, where it is one program with its arguments and no shell is needed."""
    secret_output: bool = False
    """Whether the record is to keep nothing of what it prints."""


def step_request(
    argv: Iterable[ArgValue | SecretStr],
    given: Input | None,
    timeout: float | None,
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    max_output: int = OUTPUT_LIMIT,
    raw: bool = False,
    undo: bool = False,
) -> StepRequest:
    """The step that runs one program with these arguments and this standard input.

    Raises OperationFault for a Secret among the arguments.
    """
    words = _words(argv)
    if any(isinstance(word, SecretStr) for word in (cwd, *(env or {}).values())):
        raise OperationFault(SECRET_IN_ARGV)
    line = login_shell_line(words, cwd=cwd, env=env)
    program = DirectExec(words, cwd, env or {})
    return StepRequest(
        line, display(words), *_encode_stdin(given), timeout, max_output, raw, undo, program
    )


def script_request(line: str, given: Input | None, timeout: float | None) -> StepRequest:
    """The step that gives a line to the user's shell; InvalidOptions when it cannot be sent."""
    _words([line])
    if fault := argument_fault(line):
        raise InvalidOptions([{"field": "command line", "message": fault}])
    return StepRequest(line, line, *_encode_stdin(given), timeout)


def _encode_stdin(given: Input | None) -> tuple[bytes | None, tuple[str, ...]]:
    """A standard input as bytes, and the secrets in it."""
    if given is None:
        return None, ()
    parts: Sequence[Text] = [given] if isinstance(given, str | bytes | SecretStr) else given
    secrets = tuple(part.get_secret_value() for part in parts if isinstance(part, SecretStr))
    return b"".join(map(_encoded, parts)), secrets


def _encoded(part: Text) -> bytes:
    if isinstance(part, SecretStr):
        part = part.get_secret_value()
    return part.encode() if isinstance(part, str) else part


def _words(argv: Iterable[ArgValue | SecretStr]) -> list[str]:
    words = []
    for word in argv:
        if isinstance(word, SecretStr):
            raise OperationFault(SECRET_IN_ARGV)
        if not isinstance(word, str | int | float | PurePath):
            kind = type(word).__name__
            raise OperationFault(f"an argument is text, a number or a path, not {kind}")
        words.append(str(word))
    if not words:
        raise OperationFault("run() needs at least the program's name")
    return words

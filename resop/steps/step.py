"""Describe one step: the command line for the cluster, its standard input and its limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from pydantic import SecretStr

from resop.errors import InvalidOptions, OperationFault
from resop.limits import OUTPUT_LIMIT
from resop.steps.quoting import DirectExec, display, login_shell_line
from resop.types import command_line_fault

ArgValue = str | int | float | PurePath
"""An argument of a program; numbers and paths become text."""
InputPart = str | bytes | SecretStr
Input = InputPart | Sequence[InputPart]
"""A standard input, in one part or in several; each Secret among them is masked by itself."""

UNDO_SECONDS = 60.0
"""The time limit of an undo step."""
SECRET_IN_ARGV = (
    "a secret must not be in a command line, where every user of the login node can read it: "  # noqa: S105
    "pass it with input="
)


@dataclass(frozen=True, slots=True)
class StepRequest:
    """One remote command, ready to be run."""

    line: str
    """The line for the login shell."""
    display: str
    """The command line for people; the executor masks secrets in it."""
    input: bytes | None = None
    """Standard input; None closes it at once."""
    secrets: tuple[str, ...] = ()
    """The secrets in the input, to be masked."""
    timeout: float | None = None
    """The time limit in seconds; None for the rest of the task's time."""
    max_output: int = OUTPUT_LIMIT
    """How many bytes of each output stream to keep; the rest is read and dropped."""
    raw: bool = False
    """True if standard output stays bytes; it is not recorded then."""
    undo: bool = False
    """True for an undo step, which runs even when the task's time is over."""
    program: DirectExec | None = None
    """The program of `line`, if the step is one program that needs no shell."""
    secret_output: bool = False
    """True if the output must not be recorded."""
    reads: bool = False
    """True if the step changes nothing: only such a step is run in a dry run."""
    summary: str = ""
    """The purpose of the step, in words for a dry run."""


def step_request(
    argv: Iterable[ArgValue | SecretStr],
    input: Input | None,
    timeout: float | None,
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    max_output: int = OUTPUT_LIMIT,
    raw: bool = False,
    undo: bool = False,
    launcher: Iterable[str] = (),
    comment: str = "",
    reads: bool = False,
    summary: str = "",
) -> StepRequest:
    """Return the step that runs one program with these arguments.

    `launcher` is a command line that prepares the program's environment and then runs what
    follows it; like `env`, it is not displayed. `comment` is displayed after the command line.

    Raises OperationFault for a Secret among the arguments, `cwd` or `env`, and InvalidOptions for
    text that no command line can carry.
    """
    arguments = _to_arguments(argv)
    if any(isinstance(value, SecretStr) for value in (cwd, *(env or {}).values())):
        raise OperationFault(SECRET_IN_ARGV)
    launched = [*launcher, *arguments]
    return StepRequest(
        login_shell_line(launched, cwd=cwd, env=env),
        f"{display(arguments)}  # {comment}" if comment else display(arguments),
        *encode_stdin(input),
        timeout,
        max_output,
        raw,
        undo,
        DirectExec(launched, cwd, env or {}),
        reads=reads,
        summary=summary or comment,
    )


def script_request(
    line: str, input: Input | None, timeout: float | None, *, reads: bool = False
) -> StepRequest:
    """Return the step that runs a line in the user's login shell.

    Raises OperationFault for a Secret, and InvalidOptions for text that no command line can carry.
    """
    _to_arguments([line])
    if fault := command_line_fault(line):
        raise InvalidOptions.of("command line", fault)
    return StepRequest(line, line, *encode_stdin(input), timeout, reads=reads)


def encode_stdin(input: Input | None) -> tuple[bytes | None, tuple[str, ...]]:
    """Return a standard input as bytes, and the secrets in it."""
    if input is None:
        return None, ()
    parts: Sequence[InputPart] = [input] if isinstance(input, str | bytes | SecretStr) else input
    secrets = tuple(part.get_secret_value() for part in parts if isinstance(part, SecretStr))
    return b"".join(map(_encode, parts)), secrets


def _encode(part: InputPart) -> bytes:
    if isinstance(part, SecretStr):
        part = part.get_secret_value()
    return part.encode() if isinstance(part, str) else part


def _to_arguments(argv: Iterable[ArgValue | SecretStr]) -> list[str]:
    arguments = []
    for value in argv:
        if isinstance(value, SecretStr):
            raise OperationFault(SECRET_IN_ARGV)
        if not isinstance(value, str | int | float | PurePath):
            raise OperationFault(
                f"an argument must be text, a number or a path, not {type(value).__name__}"
            )
        arguments.append(str(value))
    if not arguments:
        raise OperationFault("run() needs at least the name of the program")
    return arguments

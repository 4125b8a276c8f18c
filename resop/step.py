"""One step: what is to be run on the cluster, with which input, and what it answered."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import SecretStr

from resop.command import read_json
from resop.errors import (
    CommandFailed,
    InvalidOptions,
    OperationFailed,
    OperationFault,
    PathFailed,
)
from resop.limits import OUTPUT_LIMIT
from resop.quoting import Program, shown, wire
from resop.types import argument_fault

Word = str | int | float | PurePath
Text = str | bytes | SecretStr
Input = Text | Sequence[Text]
"""A standard input, in one piece or in several; each Secret among them is hidden by itself."""

SHOWN_LINES = 10
ERRNO_TEXTS = {
    "No such file or directory": "missing",
    "Permission denied": "denied",
    "Operation not permitted": "denied",
    "Read-only file system": "denied",
    "File exists": "exists",
    "Directory not empty": "exists",
    "Is a directory": "is_folder",
    "Not a directory": "not_folder",
    "No space left on device": "full",
    "Disk quota exceeded": "full",
}
"""What strerror(3) says in the C locale, and the reason of a PathFailed."""
UNDO_SECONDS = 60.0
EXPOSED = (
    "a secret may not stand on a command line, where every user of the login node can read it: "
    "pass it with input="
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a step answered. Texts are decoded as UTF-8, odd bytes replaced."""

    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    """The exit code; 128 + the signal's number when a signal ended it, as a shell reports it."""
    seconds: float = 0.0
    truncated: bool = False
    """Whether output was cut at the limit."""
    command: str = ""
    """The command line, secrets masked."""
    raw: bytes = b""
    """Standard output as it came, where the step asked for that; `stdout` is empty then."""

    @property
    def lines(self) -> list[str]:
        """Standard output line by line; a file name may hold what splitlines() would split at."""
        return self.stdout.removesuffix("\n").split("\n") if self.stdout else []

    def json(self) -> Any:
        """Standard output parsed as JSON; OperationFailed says what stands there instead."""
        try:
            return read_json(self.stdout)
        except ValueError as fault:
            # Cut between words: of a secret cut in two, neither half would be masked.
            said = textwrap.shorten(self.stdout, 200)
            raise OperationFailed(
                f"{self.command}: expected JSON ({fault}), got {said!r}"
            ) from None

    def failure(self) -> CommandFailed:
        """This result as the error that ends an operation, with its last ten lines."""
        said = (self.stderr.strip() or self.stdout.strip()).splitlines()
        reason = said[-1] if said else "no message"
        program = self.command.split(" ", 1)[0]
        reason = reason if reason.startswith(program) else f"{program}: {reason}"
        return CommandFailed(
            f"{reason} (exit code {self.exit_code})",
            step={
                "command": self.command,
                "exit_code": self.exit_code,
                "stderr": "\n".join(self.stderr.splitlines()[-SHOWN_LINES:]),
            },
        )

    def path_failure(self, path: str) -> PathFailed | CommandFailed:
        """The same for a step that was about `path`, told apart by what the system said.

        It speaks English where the step ran in the C locale, as one `about` a path does.
        """
        failure = self.failure()
        for line in self.stderr.splitlines():
            if (reason := ERRNO_TEXTS.get(line.rpartition(": ")[2])) is not None:
                return PathFailed(path, reason, **failure.details)
        return failure


@dataclass(frozen=True, slots=True)
class StepRequest:
    """One remote command as it is to be run."""

    line: str
    """What the login shell reads."""
    shown: str
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
    program: Program | None = None
    """What `line` runs, where it is one program with its arguments and no shell is needed."""
    secret_output: bool = False
    """Whether the record is to keep nothing of what it prints."""


def step_request(
    argv: Iterable[Word | SecretStr],
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
        raise OperationFault(EXPOSED)
    line = wire(words, cwd=cwd, env=env)
    program = Program(words, cwd, env or {})
    return StepRequest(line, shown(words), *_given(given), timeout, max_output, raw, undo, program)


def script_request(line: str, given: Input | None, timeout: float | None) -> StepRequest:
    """The step that gives a line to the user's shell; InvalidOptions when it cannot be sent."""
    _words([line])
    if fault := argument_fault(line):
        raise InvalidOptions([{"field": "command line", "message": fault}])
    return StepRequest(line, line, *_given(given), timeout)


def _given(given: Input | None) -> tuple[bytes | None, tuple[str, ...]]:
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


def _words(argv: Iterable[Word | SecretStr]) -> list[str]:
    words = []
    for word in argv:
        if isinstance(word, SecretStr):
            raise OperationFault(EXPOSED)
        if not isinstance(word, str | int | float | PurePath):
            kind = type(word).__name__
            raise OperationFault(f"an argument is text, a number or a path, not {kind}")
        words.append(str(word))
    if not words:
        raise OperationFault("run() needs at least the program's name")
    return words

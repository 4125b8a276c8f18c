"""Describe what a step returned."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from resop.errors import (
    CommandFailed,
    OperationFailed,
    PathFailed,
)
from resop.steps.json_text import read_json

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

        It speaks English where the step ran in the C locale, as one with `path=` does.
        """
        failure = self.failure()
        for line in self.stderr.splitlines():
            if (reason := ERRNO_TEXTS.get(line.rpartition(": ")[2])) is not None:
                return PathFailed(path, reason, **failure.details)
        return failure

"""Describe the result of a step, and turn a failed one into an error."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from resop.errors import CommandFailed, OperationFailed, PathFailed
from resop.steps.json_text import read_json

STDERR_LINES = 10
"""How many of the last lines of standard error a CommandFailed carries."""

ERRNO_REASONS = {
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
"""The texts of strerror(3) in the C locale, each with the reason of a PathFailed."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a step.

        result = shell.run("grep", "-c", "ERROR", "run.log", check=False)
        if result.exit_code == 0:
            errors = int(result.stdout)

    Texts are decoded as UTF-8; bytes that are not UTF-8 are replaced.
    """

    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    """The exit code, or 128 + the signal's number if a signal ended the step, as in a shell."""
    seconds: float = 0.0
    """How long the step ran."""
    truncated: bool = False
    """True if output beyond the limit was dropped."""
    command: str = ""
    """The command line, secrets masked."""
    raw: bytes = b""
    """Standard output as bytes, for a step with `raw=True`; `stdout` is empty then."""

    @property
    def lines(self) -> list[str]:
        """The lines of standard output: `for name in shell.run("ls").lines: …`."""
        # splitlines() would split at other characters, too, which a file name may contain.
        return self.stdout.removesuffix("\n").split("\n") if self.stdout else []

    def json(self) -> Any:
        """Parse standard output as JSON: `nodes = shell.run("sinfo", "--json").json()["nodes"]`.

        NaN and Infinity become None. Raises OperationFailed, with the first 200 characters of the
        output, if it is not JSON.
        """
        try:
            return read_json(self.stdout)
        except ValueError as error:
            # Cut between words: of a secret cut in two, neither half would be masked.
            beginning = textwrap.shorten(self.stdout, 200)
            raise OperationFailed(
                f"{self.command}: expected JSON ({error}), got {beginning!r}"
            ) from None

    def failure(self) -> CommandFailed:
        """Return this result as an error, with the last ten lines of standard error.

        For a step with `check=False` whose exit code turns out to be a failure:

            if result.exit_code not in (0, 1):
                raise result.failure()
        """
        messages = (self.stderr.strip() or self.stdout.strip()).splitlines()
        reason = messages[-1] if messages else "no message"
        program = self.command.split(" ", 1)[0]
        reason = reason if reason.startswith(program) else f"{program}: {reason}"
        return CommandFailed(
            f"{reason} (exit code {self.exit_code})",
            step={
                "command": self.command,
                "exit_code": self.exit_code,
                "stderr": "\n".join(self.stderr.splitlines()[-STDERR_LINES:]),
            },
        )

    def path_failure(self, path: str) -> PathFailed | CommandFailed:
        """Return this result as an error about `path`: PathFailed if standard error says why.

        The messages must be in English: `Shell.run(path=…)` runs the step in the C locale.
        """
        failure = self.failure()
        for line in self.stderr.splitlines():
            if (reason := ERRNO_REASONS.get(line.rpartition(": ")[2])) is not None:
                return PathFailed(path, reason, **failure.details)
        return failure

"""The one place where a list of arguments becomes a line that a remote shell reads.

The line must mean the same to every login shell (sh, bash, zsh, tcsh, fish). Where all of them
agree on how to read the quoted arguments they are sent as they are; else the line is handed,
encoded, to /bin/sh, and the login shell sees nothing but one harmless word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resop.errors import InvalidOptions
from resop.types import argument_fault

MAX_LINE_BYTES = 120_000
"""A login shell gets the line as one argument, which Linux limits to 128 KiB."""

# Inside single quotes tcsh still reads '!' and newlines, fish still reads backslashes.
_READ_ALIKE = re.compile(r"[^'!\\\n\r]*")
_UNENCODED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./=:,+@")
# zsh reads an unquoted '=ls', older fish an unquoted '%self' as something else.
_PLAIN = re.compile(r"[A-Za-z0-9_./,:+@-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The line is $1, not $0: a shell's own messages begin with its name.
_DECODE = """exec /bin/sh -c 'eval "shift; $(printf %b "$1")"' sh """


@dataclass(frozen=True, slots=True)
class DirectExec:
    """A program with its arguments, where no shell has to read them."""

    argv: Sequence[str]
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""

    def as_json(self) -> dict[str, Any]:
        """As the runner takes it."""
        return {"argv": list(self.argv), "cwd": self.cwd, "env": dict(self.env)}


def login_shell_line(
    argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Return the line that makes any login shell run exactly `argv`, as itself (exec).

    `cwd` is entered first; `env` is added to the environment. Raises InvalidOptions for
    arguments that no command line can carry, and for a first one that names no program.
    """
    _check(argv, cwd, env or {})
    if not cwd and not env and all(_READ_ALIKE.fullmatch(word) for word in argv):
        return _bounded(" ".join(["exec", *map(_quoted, argv)]))
    prefix = f"cd {shlex.quote(_from_here(cwd))} && " if cwd else ""
    assignments = [f"{name}={value}" for name, value in (env or {}).items()]
    words = ["env", *assignments, *argv] if assignments else list(argv)
    return login_shell_script(f"{prefix}exec {shlex.join(words)}")


def login_shell_script(script: str) -> str:
    """Return the line that makes any login shell run `script` in /bin/sh."""
    if "\x00" in script:
        raise InvalidOptions([{"field": "command line", "message": "contains a NUL character"}])
    return _bounded(f"{_DECODE}'{_octal(script)}'")


def display(argv: Sequence[str]) -> str:
    """The command line as a person would type it."""
    return shlex.join(argv)


def _octal(script: str) -> str:
    return "".join(
        chr(byte) if byte in _UNENCODED else f"\\0{byte:03o}" for byte in script.encode("utf-8")
    )


def _quoted(word: str) -> str:
    """A word that matches _READ_ALIKE, in single quotes where it needs them."""
    return word if _PLAIN.fullmatch(word) else f"'{word}'"


def _from_here(path: str) -> str:
    # So that cd neither reads it as an option nor looks for it in CDPATH.
    return path if path.startswith("/") else f"./{path}"


def _check(argv: Sequence[str], cwd: str | None, env: Mapping[str, str]) -> None:
    words = {f"argument {number}": word for number, word in enumerate(argv)}
    words |= {"cwd": cwd or "", **{f"env {name}": value for name, value in env.items()}}
    faults = [
        {"field": field, "message": fault}
        for field, word in words.items()
        if (fault := argument_fault(word))
    ]
    faults += [
        {"field": f"env {name}", "message": "is not the name of an environment variable"}
        for name in env
        if not _VARIABLE.fullmatch(name)
    ]
    if not argv or not argv[0] or argv[0].startswith("-") or "=" in argv[0]:
        # 'exec' or 'env' would read it as an option of theirs, or as an assignment.
        faults.append({"field": "argument 0", "message": "is not the name of a program"})
    if faults:
        raise InvalidOptions(faults)


def _bounded(line: str) -> str:
    if (size := len(line.encode("utf-8"))) > MAX_LINE_BYTES:
        raise InvalidOptions(
            [
                {
                    "field": "command line",
                    "message": f"has {size} bytes when quoted; at most {MAX_LINE_BYTES} can be "
                    "sent: use stdin for more",
                }
            ]
        )
    return line

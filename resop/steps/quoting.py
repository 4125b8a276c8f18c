"""Turn a list of arguments into a line for a remote login shell: the only place that quotes.

The line must mean the same to every login shell (sh, bash, zsh, tcsh, fish). Arguments that all of
them read alike are sent in single quotes. Otherwise the line is encoded and passed to /bin/sh, so
that the login shell sees only one harmless word.
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
"""The longest line: a login shell gets it as one argument, which Linux limits to 128 KiB."""

MAX_REPORTED_FAULTS = 100
MAX_ARGUMENTS = MAX_LINE_BYTES // 2
"""An argument takes a character and a space at least."""

# Inside single quotes tcsh still reads '!' and newlines, fish still reads backslashes.
_SAME_IN_ALL_SHELLS = re.compile(r"[^'!\\\n\r]*")
_UNENCODED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./=:,+@")
# zsh reads an unquoted '=ls', older fish an unquoted '%self' as something else.
_UNQUOTED = re.compile(r"[A-Za-z0-9_./,:+@-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PIECE = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<plain>[^ \t\r\n'"\\]+)|'(?P<single>[^']*)'"""
    r"""|"(?P<double>[^"\\]*(?:\\[\s\S][^"\\]*)*)"|\\(?P<escaped>[\s\S])"""
)
_ESCAPED_IN_QUOTES = re.compile(r"""\\(["\\])""")
# The line is $1, not $0: a shell's own messages begin with its name.
_DECODE = """exec /bin/sh -c 'eval "shift; $(printf %b "$1")"' sh """


@dataclass(frozen=True, slots=True)
class DirectExec:
    """A program with its arguments, run without a shell."""

    argv: Sequence[str]
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables to add to the environment."""

    def as_json(self) -> dict[str, Any]:
        """Return the program in the form of the runner's protocol."""
        return {"argv": list(self.argv), "cwd": self.cwd, "env": dict(self.env)}


def login_shell_line(
    argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Return the line that makes any login shell replace itself (exec) with exactly `argv`.

    The program starts in the folder `cwd`, with `env` added to its environment. Raises
    InvalidOptions for arguments that no command line can carry, or if the first argument is not
    the name of a program.
    """
    _check(argv, cwd, env or {})
    if not cwd and not env and all(map(_SAME_IN_ALL_SHELLS.fullmatch, argv)):
        return _check_size(" ".join(["exec", *map(_quote, argv)]))
    prefix = f"cd {shlex.quote(_explicit_path(cwd))} && " if cwd else ""
    assignments = [f"{name}={value}" for name, value in (env or {}).items()]
    command = ["env", *assignments, *argv] if assignments else list(argv)
    return login_shell_script(f"{prefix}exec {shlex.join(command)}")


def login_shell_script(script: str) -> str:
    """Return the line that makes any login shell run `script` in /bin/sh."""
    if "\x00" in script:
        raise InvalidOptions.of("command line", "contains a NUL character")
    return _check_size(f"{_DECODE}'{_octal(script)}'")


def split_words(text: str) -> list[str]:
    """Split a text into words as a POSIX shell does: shlex.split(), in linear time.

    Raises ValueError with the words of shlex.
    """
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(text):
        found = _PIECE.match(text, at)
        if found is None:
            fault = "No escaped character" if text[at] == "\\" else "No closing quotation"
            raise ValueError(fault)
        at = found.end()
        if found["space"] is not None:
            words += ["".join(word)] if word is not None else []
            word = None
            continue
        word = [] if word is None else word
        if found["double"] is not None:
            word.append(_ESCAPED_IN_QUOTES.sub(r"\1", found["double"]))
        else:
            word.append(found["plain"] or found["single"] or found["escaped"] or "")
    return words + (["".join(word)] if word is not None else [])


def display(argv: Sequence[str]) -> str:
    """Return the command line as a person would type it."""
    return shlex.join(argv)


def _octal(script: str) -> str:
    return "".join(
        chr(byte) if byte in _UNENCODED else f"\\0{byte:03o}" for byte in script.encode("utf-8")
    )


def _quote(argument: str) -> str:
    """Quote an argument that matches _SAME_IN_ALL_SHELLS, if it needs quotes."""
    return argument if _UNQUOTED.fullmatch(argument) else f"'{argument}'"


def _explicit_path(path: str) -> str:
    # Otherwise cd might read the path as an option or search CDPATH for it.
    return path if path.startswith("/") else f"./{path}"


def _check(argv: Sequence[str], cwd: str | None, env: Mapping[str, str]) -> None:
    if len(argv) > MAX_ARGUMENTS:
        message = f"has {len(argv)} arguments; at most {MAX_ARGUMENTS} can be sent"
        raise InvalidOptions.of("command line", message)
    texts = {f"argument {number}": argument for number, argument in enumerate(argv)}
    texts |= {"cwd": cwd or "", **{f"env {name}": value for name, value in env.items()}}
    faults = [
        {"field": field, "message": fault}
        for field, text in texts.items()
        if (fault := argument_fault(text))
    ]
    faults += [
        {"field": f"env {name}", "message": "is not the name of an environment variable"}
        for name in env
        if not _VARIABLE.fullmatch(name)
    ]
    if not argv or not argv[0] or argv[0].startswith("-") or "=" in argv[0]:
        # 'exec' and 'env' would read it as an option or an assignment.
        faults.append({"field": "argument 0", "message": "is not the name of a program"})
    if faults:
        raise InvalidOptions(faults[:MAX_REPORTED_FAULTS])


def _check_size(line: str) -> str:
    if (size := len(line.encode("utf-8"))) > MAX_LINE_BYTES:
        raise InvalidOptions.of(
            "command line",
            f"has {size} bytes when quoted; at most {MAX_LINE_BYTES} can be "
            "sent: use stdin for more",
        )
    return line

"""Puts lines of shell before what a batch script does, whatever its interpreter is."""

from __future__ import annotations

import re

# sbatch reads its own lines up to the first that is neither a comment nor blank (sbatch(1)).
_HEADER = re.compile(r"(?:[ \t]*(?:#.*)?\n)*")
_SHELL = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-S\s*)?)?(?:ba|da|k)?sh(?:\s.*)?")
_INTERPRETER = re.compile(r"#!\s*(\S+)\s*(.*?)\s*")

# The script becomes a file without a name, which is gone with the job, however that ends. It is
# begun by exec, so that signals and the exit code are its own; a path, not standard input, lets
# it be read again by the processes it starts. Its folder is that of the job: Python looks for
# modules there, and in /tmp anyone might leave one.
_HANDED_ON = """set -- "$(mktemp ./.script-XXXXXXXX)" "$@"
cat >"$1" <<'{end}' && exec 3<"$1" && rm -f "$1" && shift || exit
{script}{end}
exec {interpreter} "/proc/$$/fd/3" "$@"
"""


def unix(script: str) -> str:
    """The script with the line ends of Unix, and one at its end.

    A text box of an HTML form sends CR LF, which sbatch refuses wherever it stands in a script.
    """
    script = script.replace("\r\n", "\n")
    return script if script.endswith("\n") else f"{script}\n"


def with_preparation(script: str, lines: str) -> str:
    """The script, with lines of shell that are run before it; they may export variables.

    They stand behind its #SBATCH lines. A script for another interpreter than sh, bash, dash or
    ksh is handed to it by a bash that has run them: its #SBATCH lines are kept, `$0` is a path
    below /proc.
    """
    script = unix(script)
    header = _HEADER.match(script)
    assert header is not None  # it matches nothing, too
    body = script[header.end() :]
    first, _, comments = header[0].partition("\n")
    if _SHELL.fullmatch(first):
        return f"{header[0]}{lines}{body}"
    return f"#!/bin/bash\n{comments}{lines}{_handed_on(script, first)}"


def _handed_on(script: str, first: str) -> str:
    found = _INTERPRETER.fullmatch(first)
    assert found is not None  # every script's first line begins so
    # As the kernel does: one program, and at most one argument.
    words = [quoted(word) for word in found.groups() if word]
    end = "END_OF_SCRIPT"
    while f"\n{end}\n" in script:
        end += "_"
    return _HANDED_ON.format(end=end, script=script, interpreter=" ".join(words))


def quoted(text: str) -> str:
    """The text as one word for a POSIX shell. No CR stands in it: sbatch refuses CR LF."""
    return "'" + text.replace("'", "'\\''").replace("\r", "'\"$(printf '\\r')\"'") + "'"

"""Insert lines of shell before the commands of a batch script, whatever its interpreter."""

from __future__ import annotations

import re
import shlex

from operators.slurm.scripts.submit_line import read_words

# sbatch reads #SBATCH lines up to the first line that is neither blank nor a comment (sbatch(1)).
_BODY = re.compile(r"^[ \t]*[^# \t\n]", re.MULTILINE)
_COMPONENT = re.compile(r"^#SBATCH\s+(?:het|pack)job\b", re.MULTILINE)
_SHELL = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-S\s*)?)?(?:ba|da|k)?sh(?:\s.*)?")

MAX_FIRST_LINE = 256
"""Characters of the interpreter line that the kernel reads; BINPRM_BUF_SIZE (execve(2))."""

# The script becomes a file without a name, which disappears with the job, however that ends. exec
# starts it, so that it gets the job's signals and sets its exit code; a path instead of standard
# input lets the processes it starts read it again. The file is created in the job's folder: Python
# imports modules from there, and in /tmp anyone could have put one.
_RUN_IN_INTERPRETER = """set -- "$(mktemp ./.script-XXXXXXXX)" "$@"
cat >"$1" <<'{end}' && exec 3<"$1" && rm -f "$1" && shift || exit
{script}{end}
exec {interpreter} "/proc/$$/fd/3" "$@"
"""


def with_unix_line_ends(script: str) -> str:
    """Return the script with Unix line ends, and a final one.

    Text boxes of HTML forms send CR LF, which sbatch refuses anywhere in a script.
    """
    script = script.replace("\r\n", "\n")
    return script if script.endswith("\n") else f"{script}\n"


def script_options(script: str) -> dict[str, str]:
    """Return the options of the script's #SBATCH lines by long name, the last one of a name.

    Only those of the first component, if it is a heterogeneous job: there the script runs.
    """
    return component_options(script)[0]


def component_options(script: str) -> list[dict[str, str]]:
    """Return the options of the script's #SBATCH lines for each component; one, if it has none."""
    components: list[dict[str, str]] = [{}]
    script = script.replace("\r\n", "\n")
    found = _BODY.search(script)
    header = script if found is None else script[: found.start()]
    for line in header.splitlines():
        if _COMPONENT.match(line):
            components.append({})
        elif line.startswith("#SBATCH"):
            components[-1] |= read_words(_words(line.removeprefix("#SBATCH")))
    return components


def is_heterogeneous(script: str) -> bool:
    """Return True if the script has lines for several components."""
    return len(component_options(script)) > 1


def _words(line: str) -> list[str]:
    """Split a #SBATCH line as sbatch does: at blanks outside quotes, up to a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # an open quote: sbatch refuses the line itself
        return []


def with_preparation(script: str, lines: str) -> str:
    """Return the script with lines of shell that run before it; they may export variables.

    The lines follow the #SBATCH lines. For a script of another interpreter than sh, bash, dash or
    ksh, bash runs the lines and then starts the interpreter: the #SBATCH lines stay in effect, and
    `$0` is a path below /proc.
    """
    script = with_unix_line_ends(script)
    found = _BODY.search(script)
    end = len(script) if found is None else found.start()
    header, body = script[:end], script[end:]
    first, _, comments = header.partition("\n")
    if _SHELL.fullmatch(first[:MAX_FIRST_LINE]):
        return f"{header}{lines}{body}"
    return f"#!/bin/bash\n{comments}{lines}{_run_in_interpreter(script, first)}"


def _run_in_interpreter(script: str, first: str) -> str:
    # Split as the kernel splits it: one program, and at most one argument.
    words = [quote(word) for word in first.removeprefix("#!").strip().split(maxsplit=1)]
    end, all_lines = "END_OF_SCRIPT", set(script.split("\n"))
    while end in all_lines:
        end += "_"
    return _RUN_IN_INTERPRETER.format(end=end, script=script, interpreter=" ".join(words))


def quote(text: str) -> str:
    """Quote the text as one word for a POSIX shell, without a CR: sbatch refuses CR LF."""
    return "'" + text.replace("'", "'\\''").replace("\r", "'\"$(printf '\\r')\"'") + "'"

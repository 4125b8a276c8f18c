"""The state of a bash after its rc files, and the script that gives it to another bash."""

from typing import Dict, FrozenSet, List, Mapping, Tuple

SECTION = b"resop:\n"
"""Separates the outputs of `declare -p`, `shopt -p`, `alias -p`, `trap -p` and `declare -f`."""
OF_EACH_SHELL = frozenset(
    b"BASH BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND"
    b" BASH_EXECUTION_STRING BASH_LINENO BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_VERSION"
    b" COMP_WORDBREAKS DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD LINENO"
    b" PIPESTATUS POSIXLY_CORRECT PPID RANDOM SECONDS SHELLOPTS SRANDOM UID _".split()
)
"""The variables that each bash sets by itself."""
DEFAULT_OPTIONS = frozenset((b"braceexpand", b"hashall", b"interactive-comments"))
"""The options of `set -o` with which `bash -c` begins."""
TRACING = frozenset((b"xtrace", b"verbose"))
OPTIONS = (b"BASHOPTS", b"SHELLOPTS")
POSIX = b"POSIXLY_CORRECT"
LOCALE = b"LANG LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_NUMERIC LC_TIME".split()
READ_AT_START = frozenset((*OPTIONS, *LOCALE, POSIX))
"""The variables by which bash sets its options before it reads anything, and its locale: that a
locale is not installed is for the rc files to report, not for each line."""


def environ_for(environ: Mapping[bytes, bytes], script: bytes) -> Dict[bytes, bytes]:
    """Return the environment of a bash that has no options or functions but those of `script`."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in READ_AT_START and not name.startswith(b"BASH_FUNC_")
    }
    kept[b"BASH_ENV"] = script
    return kept


def script_of(state: bytes, environ: Mapping[bytes, bytes]) -> bytes:
    """Return the script that repeats a state; raises ValueError if that is incomplete.

    Functions come after the options by which they were parsed, but before POSIX mode, which
    forbids names such as `my-func`, and before the aliases, which would replace words in them.
    """
    variables, shopts, aliases, traps, functions = state.split(SECTION, 4)
    declarations, options = _declarations(variables)
    lines = [
        _export(environ, b"BASH_ENV") or b"unset BASH_ENV",
        b"{ :; %s; } 2>/dev/null" % b"; ".join(_export(environ, each) or b":" for each in LOCALE),
        *_shopt(shopts.split()),
        *(b"shopt -u inherit_errexit 2>/dev/null", declarations, functions, aliases),
        *(rb"\export " + each for each in OPTIONS if each in environ),
        _export(environ, POSIX),
        *_set(options - TRACING, DEFAULT_OPTIONS - options),
        traps,
        *_set(options & TRACING),
    ]
    return b"\n".join(lines) + b"\n"


def _shopt(words: List[bytes]) -> List[bytes]:
    """Return the output of `shopt -p` as two commands, which bash runs faster than fifty."""
    return [
        b" ".join(
            [b"shopt", flag, *(words[at + 1] for at in range(len(words)) if words[at] == flag)]
        )
        for flag in (b"-s", b"-u")
    ]


def _export(environ: Mapping[bytes, bytes], name: bytes) -> bytes:
    """Return the command that exports a variable, if it is in the environment."""
    if name not in environ:
        return b""
    return rb"\export %s='%s'" % (name, environ[name].replace(b"'", rb"'\''"))


def _declarations(variables: bytes) -> Tuple[bytes, FrozenSet[bytes]]:
    """Return the declarations that the environment does not carry, and the options of `set -o`."""
    kept: List[bytes] = []
    options: FrozenSet[bytes] = frozenset()
    for each in (b"\n" + variables).split(b"\ndeclare -")[1:]:
        flags, _, rest = each.partition(b" ")
        name, _, value = rest.partition(b"=")
        if name == b"SHELLOPTS":
            options = frozenset(value.strip(b'"\n').split(b":"))
        carried = flags == b"x" and name != b"IFS"  # which bash takes from no environment
        if not carried and name.rstrip() not in OF_EACH_SHELL:
            kept.append(b"declare -" + each)
    return b"\n".join(kept), options


def _set(on: FrozenSet[bytes], off: FrozenSet[bytes] = frozenset()) -> List[bytes]:
    """Return the command that sets these options, if there are any."""
    words = [b" -o " + each for each in sorted(on - DEFAULT_OPTIONS)]
    words += [b" +o " + each for each in sorted(off)]
    return [rb"\set" + b"".join(words)] if words else []

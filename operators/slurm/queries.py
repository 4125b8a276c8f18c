"""Tell from its command line that one of Slurm's clients cannot change anything."""

from __future__ import annotations

from collections.abc import Sequence

_QUERYING_PROGRAMS = ("squeue", "sinfo", "sacct", "sprio", "sreport", "sshare", "sstat")
_QUERYING_VERBS = ("show", "ping")
"""The subcommands of scontrol that only print."""


def is_query(argv: Sequence[str | int]) -> bool:
    """Return True if a client, run with these arguments, only reads.

    sacctmgr refuses every change with its option --readonly.
    """
    program, *words = map(str, argv)
    if program == "scontrol":
        return next((word for word in words if not word.startswith("-")), "") in _QUERYING_VERBS
    if program == "sacctmgr":
        return "--readonly" in words and "show" in words
    if program == "date":  # for the login node's clock
        return all(word.startswith(("+", "--file=")) for word in words)
    return program in _QUERYING_PROGRAMS

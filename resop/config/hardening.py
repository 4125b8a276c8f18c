"""Protect a process of the service, before it does anything else."""

from __future__ import annotations

import os
import resource
import sys

PRIVATE_UMASK = 0o077


def harden_process() -> None:
    """Keep passwords, keys and results from other users of this machine.

    A crash does not write the process's memory to the disk, and new files are the user's alone.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(PRIVATE_UMASK)


def raise_open_files_limit() -> None:
    """Allow this process as many open files, and so connections, as the system lets it have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft

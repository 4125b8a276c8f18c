"""Protect a process of the service, before it does anything else."""

from __future__ import annotations

import os
import resource

PRIVATE_UMASK = 0o077


def harden_process() -> None:
    """Keep passwords, keys and results from other users of this machine.

    A crash does not write the process's memory to the disk, and new files are the user's alone.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(PRIVATE_UMASK)

"""Protect a process of the service, before it does anything else."""

from __future__ import annotations

import resource


def disable_core_dumps() -> None:
    """Keep a crash from writing this process's memory, with passwords and keys, to the disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

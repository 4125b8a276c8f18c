"""What every process of the service does first."""

from __future__ import annotations

import resource


def disable_core_dumps() -> None:
    """A crash writes no image of this process to the disk: passwords and keys are in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

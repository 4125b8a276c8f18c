"""Start the child processes of `resop up` again when they end by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cli.child_processes import ChildProcess, cause_of_end
from resop.errors import SetupError

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0)
"""Seconds before each restart in a row; after the last one, the service ends."""
STEADY_SECONDS = 120.0
"""A child that has run for this long is restarted as if for the first time."""


class RestartedChild:
    """One child, and how often it was restarted in a row."""

    def __init__(self, child: ChildProcess, report: Callable[[str], None]) -> None:
        """Set up for a child that runs; `report` says something to the person at the terminal."""
        self._child = child
        self._report = report
        self._started_at = time.monotonic()
        self._restarts = 0
        self._restart_at: float | None = None
        """When the child is started again; None while it runs."""

    def check(self) -> None:
        """Start the child again if it has ended and its pause is over.

        Raises SetupError with the cause when it has ended too often.
        """
        now = time.monotonic()
        if self._restart_at is None:
            if self._child.ended:
                self._plan_restart(now)
        elif now >= self._restart_at:
            self._restart_at, self._started_at = None, now
            self._child.restart()

    def restart_now(self) -> None:
        """Stop the child if it runs, and start it again."""
        self._child.stop()
        self._restart_at, self._restarts, self._started_at = None, 0, time.monotonic()
        self._child.restart()

    def _plan_restart(self, now: float) -> None:
        cause = cause_of_end(self._child)
        if now - self._started_at >= STEADY_SECONDS:
            self._restarts = 0
        if self._restarts == len(PAUSES):
            raise SetupError(f"{cause}; it was restarted {len(PAUSES)} times in a row")
        pause = PAUSES[self._restarts]
        self._restarts += 1
        self._restart_at = now + pause
        count = f"{self._restarts} of {len(PAUSES)}"
        self._report(f"{cause}; {self._child.name} is restarted in {pause:g} s ({count})")


def restart_forever(
    children: Sequence[ChildProcess],
    report: Callable[[str], None],
    poll_seconds: float,
    to_restart: Callable[[], Sequence[ChildProcess]] | None = None,
) -> None:
    """Restart children that end, and the children that `to_restart` returns.

    Raises SetupError when one has ended too often in a row.
    """
    restarted = [(child, RestartedChild(child, report)) for child in children]
    while True:
        named = to_restart() if to_restart else ()
        for child, each in restarted:
            if child in named:
                each.restart_now()
            each.check()
        time.sleep(poll_seconds)

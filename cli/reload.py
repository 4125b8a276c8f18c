"""Load changed operators for `resop up --reload`: check them, then restart the API and workers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cli.child_processes import ChildProcess

SUFFIXES = frozenset([".py", ".yml"])
SCAN_SECONDS = 0.5
CHECK_SECONDS = 60

FileStates = Mapping[Path, tuple[int, int]]


class Reloader:
    """Restarts children whenever the files of operators have changed and can be loaded."""

    def __init__(
        self,
        folders: Sequence[Path],
        children: Sequence[ChildProcess],
        report: Callable[[str], None],
    ) -> None:
        """Watch `folders`; `report` says something to the person at the terminal."""
        self._folders = folders
        self._children = children
        self._report = report
        self._states = _file_states(folders)
        self._scan_at = 0.0

    def children_to_restart(self) -> Sequence[ChildProcess]:
        """Return the children if there are changes and `resop check` accepts them, else none."""
        if time.monotonic() < self._scan_at:
            return ()
        before, self._states = self._states, _file_states(self._folders)
        self._scan_at = time.monotonic() + SCAN_SECONDS
        changed = sorted({path for path, _ in self._states.items() ^ before.items()})
        if not changed:
            return ()
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        self._report(f"{changed[0]}{others} changed")
        if fault := _check(self._children[0].environ):
            self._report(f"not loaded, continuing with the earlier state:\n{fault}")
            return ()
        self._report("the operators are loaded again")
        return self._children


def _file_states(folders: Iterable[Path]) -> FileStates:
    """Return the time of change and the size of each file that operators are made of."""
    states = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.suffix in SUFFIXES:
                try:
                    found = path.stat()
                except OSError:
                    continue  # removed meanwhile
                states[path] = (found.st_mtime_ns, found.st_size)
    return states


def _check(environ: Mapping[str, str]) -> str:
    """Return what `resop check` says against the operators, or nothing."""
    command = [sys.executable, "-P", "-m", "cli.main", "check"]
    done = subprocess.run(
        command, env=dict(environ), capture_output=True, text=True, timeout=CHECK_SECONDS
    )
    return done.stderr.strip() if done.returncode else ""

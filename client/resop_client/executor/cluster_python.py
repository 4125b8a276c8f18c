"""Python on the cluster: the lines that start it, and whether it can run calls of this program."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resop_client.cluster_folder import last_line, make_folder
from resop_client.errors import WrongPython
from resop_client.executor.calls import PROGRAM, program_file
from resop_client.executor.outcomes import wrong_version

if TYPE_CHECKING:
    from resop_client._sync.client import Resop

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
COMMAND_NOT_FOUND = (126, 127)
_SHOW_VERSION = """-c 'import sys; print("Python", sys.version.split()[0])'"""
_LOAD_MODULES = "command -v module >/dev/null || . /etc/profile\nmodule load {} || exit\n"


@dataclass(frozen=True)
class ClusterPython:
    """Which Python runs the calls, and what prepares the environment for it."""

    command: str = "python3"
    modules: Sequence[str] = ()
    setup: str = ""
    """Lines of bash that run before it, such as `source venv/bin/activate`."""

    def script(self, arguments: str) -> str:
        """Return a script that runs this Python with arguments of the shell."""
        modules = _LOAD_MODULES.format(shlex.join(self.modules)) if self.modules else ""
        setup = f"{self.setup}\n" if self.setup else ""
        return f"#!/bin/bash\n{modules}{setup}exec {self.command} {arguments}\n"

    def job(self, folder: str, calls_per_task: int) -> str:
        """Return the batch script that runs the calls in a folder below the program's."""
        program = f"{folder.rpartition('/')[0]}/{PROGRAM}"
        return self.script(shlex.join([program, folder, str(calls_per_task), VERSION]))


def prepare(hpc: Resop, python: ClusterPython, folder: str) -> str:
    """Make a folder with the program that runs calls; return its absolute path.

    Raises WrongPython first if the login node's Python is missing or of another version.
    """
    checked = hpc.core.script(script=python.script(_SHOW_VERSION), check=False)
    name, _, version = checked.stdout.strip().rpartition("\n")[2].partition(" ")
    if checked.exit_code in COMMAND_NOT_FOUND:
        raise WrongPython(
            f"the cluster has no {python.command!r}: choose another Python with python=, or load "
            f"one with modules= or setup= ({last_line(checked.stderr)})"
        )
    if checked.exit_code != 0 or name != "Python":
        raise WrongPython(f"{python.command!r} on the cluster failed: {last_line(checked.stderr)}")
    if version.split(".")[:2] != VERSION.split("."):
        raise wrong_version(f"{python.command!r} on the cluster is", version)
    absolute = make_folder(hpc, folder)
    hpc.files.write(f"{absolute}/{PROGRAM}", program_file())
    return absolute

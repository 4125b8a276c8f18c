"""Tools for tests, each in an environment of its own: they need other packages."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.needs import need

FOLDER = Path(sys.prefix) / "tools"
"""Inside of the virtual environment of the tests, and kept with it."""
INSTALL_SECONDS = 300


def python_tool(*requirements: str, python: str = sys.executable) -> Path:
    """Return the folder of programs of a virtual environment that has these packages."""

    def make(folder: Path) -> list[str]:
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
        pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"))
        return [*pip, "install", "--quiet", "--disable-pip-version-check", *requirements]

    return _installed((python, *requirements), make) / "bin"


def node_tool(**packages: str) -> Path:
    """Return the folder of programs that npm has installed, given the packages' versions."""

    def make(folder: Path) -> list[str]:
        folder.mkdir()
        (folder / "package.json").write_text(
            json.dumps({"private": True, "dependencies": packages})
        )
        flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
        return ["npm", "install", "--silent", *flags, "--prefix", str(folder)]

    return _installed([f"{name}@{packages[name]}" for name in packages], make)


def _installed(names: tuple[str, ...] | list[str], make: Callable[[Path], list[str]]) -> Path:
    """Return the folder for these packages; the first test that needs it makes it."""
    FOLDER.mkdir(exist_ok=True)
    folder = FOLDER / hashlib.sha256(" ".join(names).encode()).hexdigest()[:12]
    with (FOLDER / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists():
            subprocess.run(["rm", "-rf", str(folder)], check=True)
            try:
                command = make(folder)
                subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
            except (OSError, subprocess.SubprocessError) as fault:
                said = getattr(fault, "stderr", None) or b""
                need(f"{' '.join(names)} cannot be installed: {fault} {said.decode()[-500:]}")
            complete.touch()
    return folder

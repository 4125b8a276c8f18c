"""Access control lists of files, by setfacl and getfacl."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path


def reason_without_acl(folder: Path) -> str | None:
    """Return why ACLs cannot be tested in a folder, or None."""
    if shutil.which("setfacl") is None:
        return "setfacl is not installed (Debian package acl)"
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        command = ["setfacl", "-m", "u:1:r", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no ACLs in {folder}: {done.stderr.strip()}" if done.returncode else None


def set_acl(file: Path, entry: str) -> None:
    """Add an entry such as `u:1000:rw` to a file's ACL."""
    subprocess.run(["setfacl", "-m", entry, str(file)], check=True)


def acl_of(file: Path) -> str:
    """Return the entries of a file's ACL, with numbers for names."""
    command = ["getfacl", "--absolute-names", "--numeric", "--omit-header", str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

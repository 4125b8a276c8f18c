"""The digest of the operators as their files are: by it a change of an action is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import resop
from resop.errors import BrokenOperator

IGNORED_FOLDERS = frozenset(["__pycache__", "tests"])


def folders_digest(folders: Iterable[Path]) -> str:
    """Return the SHA-256 (hex) of the files in operator folders, and of resop's version.

    The same files give the same digest wherever they lie. An operation may call any other, so all
    operators count. Raises BrokenOperator for a file that cannot be read.
    """
    total = hashlib.sha256(resop.__version__.encode())
    for folder in sorted(folders, key=lambda each: each.name):
        for file in sorted(_files(folder)):
            try:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError as fault:
                raise BrokenOperator(f"{file}: {fault.strerror}") from None
            name = file.relative_to(folder.parent).as_posix()
            total.update(f"{len(name)} {name} {content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in IGNORED_FOLDERS]
        yield from (Path(place, name) for name in names if not name.startswith("."))

"""Faults of files and folders as Python's own errors: FileNotFoundError, PermissionError, …"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

from resop_client.errors import CommandFailed, PathFailed

REASONS: Mapping[str, int] = {
    "missing": errno.ENOENT,
    "denied": errno.EACCES,
    "hidden": errno.EACCES,
    "exists": errno.EEXIST,
    "is_folder": errno.EISDIR,
    "not_folder": errno.ENOTDIR,
    "full": errno.ENOSPC,
    "quota": errno.EDQUOT,
}
"""The numbers of PathFailed's reasons; another one is EIO."""
TEXTS: Mapping[str, int] = {
    "No such file or directory": errno.ENOENT,
    "Permission denied": errno.EACCES,
    "Operation not permitted": errno.EPERM,
    "File exists": errno.EEXIST,
    "Is a directory": errno.EISDIR,
    "Not a directory": errno.ENOTDIR,
    "Directory not empty": errno.ENOTEMPTY,
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
}
"""The numbers of the messages with which lines of mkdir, mv and rm end; another one is EIO."""


@contextlib.contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Raise faults of a path as OSError; its subclass follows from its number."""
    try:
        yield
    except PathFailed as fault:
        number = REASONS.get(fault.reason, errno.EIO)
        raise OSError(number, _text(number, fault.message), path) from fault
    except CommandFailed as fault:
        number = _number_of(fault.stderr)
        raise OSError(number, _text(number, fault.message), path) from fault


def _number_of(stderr: str) -> int:
    for line in stderr.splitlines():
        for text, number in TEXTS.items():
            if line.endswith(text):
                return number
    return errno.EIO


def _text(number: int, message: str) -> str:
    return message if number == errno.EIO else os.strerror(number)

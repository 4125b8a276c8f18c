"""Describe files and folders as values: what an archive holds and a transfer moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from resop.errors import PathFailed

NEW_FILE_MODE = 0o600


EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file as it was read."""

    content: bytes
    mode: int = NEW_FILE_MODE
    """Its permissions, as chmod(2) takes them."""
    modified: datetime = EPOCH


def file_too_large(path: str, limit: int) -> PathFailed:
    """The error for a file that has more bytes than may be read."""
    return PathFailed(path, "too_large", f"has more than {limit} bytes", limit=limit)


SMALL_FILE_BYTES = 64 << 10
"""Files up to this size are read and written several at once."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file, folder or link in a folder, or in an archive of one."""

    name: bytes
    """From the folder on, such as b"a/b"; empty for the folder itself."""
    kind: int
    """As stat(2) has it: S_IFREG, S_IFDIR or S_IFLNK; 0 for a hard link."""
    mode: int = 0o700
    size: int = 0
    modified: int = 0
    """Seconds since 1970."""
    target: bytes = b""
    """Where a symbolic link points to; of a hard link, a name like `name`."""


Content = AsyncIterator[bytes]


class TransferStats(NamedTuple):
    """What a folder got: files, links among them, and the bytes that they hold."""

    files: int
    bytes: int

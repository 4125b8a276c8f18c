"""Describe files and folders as values, for archives and transfers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from resop.errors import PathFailed

NEW_FILE_MODE = 0o600
UNIX_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file in memory: `shell.get_file("job.sh").mode`."""

    content: bytes
    mode: int = NEW_FILE_MODE
    """The permissions, as chmod(2) takes them."""
    modified: datetime = UNIX_EPOCH
    """The time of the last change, in UTC."""


def file_too_large(path: str, limit: int) -> PathFailed:
    """Return the error for a file of more than `limit` bytes."""
    return PathFailed(path, "too_large", f"has more than {limit} bytes", limit=limit)


SMALL_FILE_BYTES = 64 << 10
"""Files up to this size are read and written several at once."""


class Extent(NamedTuple):
    """A part of a sparse file that has content."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file, folder or link in a folder, or in an archive of a folder."""

    name: bytes
    """The path within the folder, such as b"a/b"; empty for the folder itself."""
    kind: int
    """The type as in stat(2): S_IFREG, S_IFDIR or S_IFLNK; 0 for a hard link."""
    mode: int = 0o700
    size: int = 0
    modified: int = 0
    """The time of the last change, in seconds since 1970."""
    target: bytes = b""
    """The target of a symbolic link; for a hard link, the `name` of another entry."""
    extents: tuple[Extent, ...] | None = None
    """For a sparse file, where its content lies; the rest of its `size` is holes, read as zeros."""


Content = AsyncIterator[bytes]
"""The content of a file, in chunks; of a sparse file, that of its extents."""


class TransferStats(NamedTuple):
    """How much a transfer wrote: `shell.copy("a", "b").bytes`."""

    files: int
    """The number of files and links."""
    bytes: int
    """The sum of the files' sizes."""

"""Validate a tar archive in memory, which an operation writes as a folder."""

from __future__ import annotations

import asyncio
import posixpath
import stat
from collections.abc import Iterator

from resop.archives import tar
from resop.archives.byte_stream import stream_bytes
from resop.archives.entry import TransferStats, TreeEntry
from resop.archives.safe_names import display_name, invalid_archive
from resop.errors import BodyTruncated, InvalidOptions
from resop.limits import TRANSFER_LIMIT


def check_archive(content: bytes) -> None:
    """Raise InvalidOptions unless the whole archive can be unpacked within its folder."""
    try:
        entries = asyncio.run(_read_entries(content))
        for fault in _faults(entries):
            raise invalid_archive(fault)
    except BodyTruncated as error:
        raise InvalidOptions.of("content", error.message) from None
    except InvalidOptions as error:
        faults = [{**fault, "field": "content"} for fault in error.details["faults"]]
        raise InvalidOptions(faults) from None


def archive_stats(content: bytes) -> TransferStats:
    """Return the number and size of the files in a valid archive."""
    files = [entry for entry in asyncio.run(_read_entries(content)) if entry.kind != stat.S_IFDIR]
    return TransferStats(len(files), sum(entry.size for entry in files))


async def _read_entries(content: bytes) -> list[TreeEntry]:
    entries = []
    async for entry, chunks in tar.read_archive(stream_bytes(content), TRANSFER_LIMIT):
        entries.append(entry)
        async for _ in chunks:
            pass
    return entries


def _faults(entries: list[TreeEntry]) -> Iterator[str]:
    """Yield the names that lead through a link or a file; a hard link may link to a link."""
    not_folders = {entry.name for entry in entries if entry.kind != stat.S_IFDIR}
    for entry in entries:
        for name in (entry.name, b"" if entry.kind else entry.target):
            if any(parent in not_folders for parent in _parents(name)):
                yield f"leads through a link or a file: {display_name(name)}"


def _parents(name: bytes) -> Iterator[bytes]:
    while name := posixpath.dirname(name):
        yield name

"""Validate a tar archive in memory, which an operation writes as a folder."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator

from resop.archives import tar
from resop.archives.byte_stream import stream_bytes
from resop.archives.entry import TransferStats, TreeEntry
from resop.archives.safe_names import display_name, invalid_archive
from resop.errors import BodyTruncated, InvalidOptions, UnsupportedBody
from resop.limits import TRANSFER_LIMIT


def check_archive(content: bytes) -> None:
    """Raise InvalidOptions unless the whole archive can be unpacked within its folder."""
    try:
        entries = asyncio.run(_read_entries(content))
        for fault in _faults(entries):
            raise invalid_archive(fault)
    except (BodyTruncated, UnsupportedBody) as error:
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
    names = {entry.name for entry in entries}
    names |= {entry.target for entry in entries if not entry.kind}
    not_folders = {entry.name for entry in entries if entry.kind != stat.S_IFDIR}
    outer: bytes | None = None
    # With a NUL for a slash, what lies in a folder comes next after the folder.
    for key in sorted(name.replace(b"/", b"\0") for name in names | not_folders):
        if outer is not None and key.startswith(outer):
            yield f"leads through a link or a file: {display_name(key.replace(bytes(1), b'/'))}"
        elif key.replace(b"\0", b"/") in not_folders:
            outer = key + b"\0"

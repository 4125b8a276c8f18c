"""A folder of the cluster as a tar archive held as a whole: what an operation gets and puts."""

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
    """InvalidOptions when not all of an archive can be unpacked within its folder."""
    try:
        members = asyncio.run(_members(content))
        for fault in _faults(members):
            raise invalid_archive(fault)
    except BodyTruncated as fault:
        raise InvalidOptions([{"field": "content", "message": fault.message}]) from None
    except InvalidOptions as fault:
        faults = [{**each, "field": "content"} for each in fault.details["faults"]]
        raise InvalidOptions(faults) from None


def archive_stats(content: bytes) -> TransferStats:
    """What an archive that was checked holds."""
    files = [each for each in asyncio.run(_members(content)) if each.kind != stat.S_IFDIR]
    return TransferStats(len(files), sum(each.size for each in files))


async def _members(content: bytes) -> list[TreeEntry]:
    members = []
    async for member, each in tar.read_archive(stream_bytes(content), TRANSFER_LIMIT):
        members.append(member)
        async for _ in each:
            pass
    return members


def _faults(members: list[TreeEntry]) -> Iterator[str]:
    """Names that lead through a link, or through a file; a hard link may be one to a link."""
    no_folders = {member.name for member in members if member.kind != stat.S_IFDIR}
    for member in members:
        for name in (member.name, b"" if member.kind else member.target):
            if any(above in no_folders for above in _parents(name)):
                yield f"leads through a link or a file: {display_name(name)}"


def _parents(name: bytes) -> Iterator[bytes]:
    while name := posixpath.dirname(name):
        yield name

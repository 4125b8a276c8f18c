"""A folder of the cluster as a tar archive held as a whole: what an operation gets and puts."""

from __future__ import annotations

import asyncio
import posixpath
import stat
from collections.abc import AsyncIterator, Iterator

import asyncssh

from resop import tar
from resop.errors import BodyCut, InvalidOptions
from resop.files import too_large
from resop.limits import TRANSFER_LIMIT
from resop.naming import refused, shown
from resop.pieces import SENT_AT_ONCE, Pieces
from resop.sftp import exact, told_apart
from resop.tree import Member, Transferred, Unpacking, folder_at, folder_for, walk, with_content


async def read_folder(sftp: asyncssh.SFTPClient, path: str, limit: int) -> bytes:
    """Pack a folder whose archive has at most `limit` bytes. Raises PathFailed, ContactLost."""
    archive = bytearray()
    with told_apart(path):
        top = await folder_at(sftp, exact(path))
        members = with_content(sftp, top, walk(sftp, top, lambda name, folder: True))
        async for piece in tar.packed(members):
            archive += piece
            if len(archive) > limit:
                raise too_large(path, limit)
    return bytes(archive)


async def write_folder(
    sftp: asyncssh.SFTPClient, content: bytes, path: str, merge: bool
) -> Transferred:
    """Unpack into a new folder, complete or not there, or with `merge` into one that is there.

    Raises PathFailed, ContactLost.
    """
    with told_apart(path):
        async with (
            folder_for(sftp, exact(path), merge=merge) as (top, _),
            Unpacking(sftp, top, merge=merge) as made,
        ):
            async for member, each in tar.unpacked(_pieces(content), TRANSFER_LIMIT):
                await made.add(member, each)
    return Transferred(made.files, made.bytes)


def check_archive(content: bytes) -> None:
    """InvalidOptions when not all of an archive can be unpacked within its folder."""
    try:
        members = asyncio.run(_members(content))
        for fault in _faults(members):
            raise refused(fault)
    except BodyCut as fault:
        raise InvalidOptions([{"field": "content", "message": fault.message}]) from None
    except InvalidOptions as fault:
        faults = [{**each, "field": "content"} for each in fault.details["faults"]]
        raise InvalidOptions(faults) from None


def contents_of(content: bytes) -> Transferred:
    """What an archive that was checked holds."""
    files = [each for each in asyncio.run(_members(content)) if each.kind != stat.S_IFDIR]
    return Transferred(len(files), sum(each.size for each in files))


async def _members(content: bytes) -> list[Member]:
    members = []
    async for member, each in tar.unpacked(_pieces(content), TRANSFER_LIMIT):
        members.append(member)
        async for _ in each:
            pass
    return members


def _pieces(content: bytes) -> Pieces:
    async def sliced() -> AsyncIterator[bytes]:
        for start in range(0, len(content), SENT_AT_ONCE):
            yield content[start : start + SENT_AT_ONCE]

    return Pieces(sliced())


def _faults(members: list[Member]) -> Iterator[str]:
    """Names that lead through a link, or through a file; a hard link may be one to a link."""
    no_folders = {member.name for member in members if member.kind != stat.S_IFDIR}
    for member in members:
        for name in (member.name, b"" if member.kind else member.target):
            if any(above in no_folders for above in _above(name)):
                yield f"leads through a link or a file: {shown(name)}"


def _above(name: bytes) -> Iterator[bytes]:
    while name := posixpath.dirname(name):
        yield name

"""A file or folder copied on the cluster, over SFTP.

What is in it stays there where the server knows `copy-data` (OpenSSH 9.0 and newer;
draft-ietf-secsh-filexfer-extensions-00, 7). Elsewhere it passes through here, block by block.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import AsyncIterator, Callable

import asyncssh

from resop.archives.entry import SMALL_FILE_BYTES, Content, TransferStats, TreeEntry
from resop.errors import PathFailed
from resop.sftp.client import check_regular, display_path, mode_of, to_bytes, translate_sftp_errors
from resop.sftp.files import publish, resolve_target, temporary_file
from resop.sftp.folders import FolderWriter, walk, writable_folder
from resop.sftp.transfer import BlockWriter, read_blocks

AT_ONCE = 32 << 20
"""Bytes that the server is asked to copy at a time: until it has, nothing else is answered."""

ProgressCallback = Callable[[float, float], None]
"""Told how many bytes are copied, of how many."""


async def copy(
    sftp: asyncssh.SFTPClient, source: str, target: str, overwrite: bool, told: ProgressCallback
) -> TransferStats:
    """Copy it, complete under its name or not at all; a file of a folder each.

    With `overwrite` a file is replaced, and a folder goes into the one that is there. Raises
    PathFailed, ContactLost.
    """
    with translate_sftp_errors(source):
        place = await sftp.realpath(to_bytes(source))
        attributes = await sftp.stat(place)
        if stat.S_ISDIR(attributes.permissions or 0):
            return await _copy_folder(sftp, place, target, overwrite, told)
        check_regular(source, attributes)
        return await _copy_file(sftp, place, attributes, target, overwrite, told)


async def _copy_file(
    sftp: asyncssh.SFTPClient,
    place: bytes,
    attributes: asyncssh.SFTPAttrs,
    path: str,
    overwrite: bool,
    told: ProgressCallback,
) -> TransferStats:
    size = attributes.size or 0
    progress = _Progress(size, told)
    with translate_sftp_errors(path):
        target = await resolve_target(sftp, path)
        if not overwrite:
            target.check_vacant()
        async with temporary_file(sftp, target, size) as (beside, file):
            await _fill(sftp, place, file, size, progress)
            await file.setstat(
                asyncssh.SFTPAttrs(
                    permissions=mode_of(attributes), atime=attributes.mtime, mtime=attributes.mtime
                )
            )
            await file.close()
            await publish(sftp, target, beside, overwrite)
    return TransferStats(1, size)


async def _copy_folder(
    sftp: asyncssh.SFTPClient, place: bytes, path: str, merge: bool, told: ProgressCallback
) -> TransferStats:
    with translate_sftp_errors(path):
        if (await sftp.realpath(to_bytes(path)) + b"/").startswith(place.rstrip(b"/") + b"/"):
            raise PathFailed(path, "failed", "lies in the folder that is to be copied")
    sizes = [member.size async for member in walk(sftp, place, _everything)]
    progress = _Progress(sum(sizes), told)
    with translate_sftp_errors(path):
        async with (
            writable_folder(sftp, to_bytes(path), merge=merge) as (top, _),
            _Copying(sftp, place, top, progress, merge=merge) as made,
        ):
            async for member in walk(sftp, place, _everything):
                await made.add(member, _nothing())
    return TransferStats(made.files, made.bytes)


class _Copying(FolderWriter):
    """Files become files of another folder."""

    def __init__(
        self,
        sftp: asyncssh.SFTPClient,
        source: bytes,
        top: bytes,
        progress: _Progress,
        *,
        merge: bool,
    ) -> None:
        super().__init__(sftp, top, merge=merge)
        self._source = source
        self._progress = progress

    async def _file(self, member: TreeEntry, content: Content) -> None:
        if member.size > SMALL_FILE_BYTES:
            await self._write(member, content)
        else:
            await self._begin(member, content)

    async def _fill(
        self, file: asyncssh.SFTPClientFile, member: TreeEntry, content: Content
    ) -> None:
        source = posixpath.join(self._source, member.name)
        await _fill(self._sftp, source, file, member.size, self._progress)


class _Progress:
    """Counts what is copied."""

    def __init__(self, total: int, told: ProgressCallback) -> None:
        self._done = 0
        self._total = total
        self._told = told

    def add(self, size: int) -> None:
        self._done += size
        # Files may grow between the two looks at them.
        self._told(self._done, max(self._done, self._total))


async def _fill(
    sftp: asyncssh.SFTPClient,
    place: bytes,
    file: asyncssh.SFTPClientFile,
    size: int,
    progress: _Progress,
) -> None:
    """Write to a file what another holds."""
    with translate_sftp_errors(place):
        source = await sftp.open(place, "rb")
    async with source:
        if not sftp.supports_remote_copy:
            await BlockWriter(file).write(_counted(source, place, size, progress))
            return
        for start in range(0, size, AT_ONCE):
            length = min(AT_ONCE, size - start)
            try:
                await sftp.remote_copy(source, file, start, length, start)
            except asyncssh.SFTPEOFError:
                said = "was cut shorter while it was read"
                raise PathFailed(display_path(place), "failed", said) from None
            # OpenSSH 9.2 answers that all is well, also where the disk is full.
            if ((await file.stat()).size or 0) < start + length:
                raise asyncssh.SFTPFailure("less was copied than was asked for")
            progress.add(length)


async def _counted(
    source: asyncssh.SFTPClientFile, place: bytes, size: int, progress: _Progress
) -> AsyncIterator[bytes]:
    async for block in read_blocks(source, display_path(place), 0, size):
        yield block
        progress.add(len(block))


async def _nothing() -> Content:
    return
    yield b""


def _everything(name: bytes, folder: bool) -> bool:
    return True

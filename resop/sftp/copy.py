"""Copy a file or folder on the cluster over SFTP.

The content does not leave a server that knows `copy-data` (OpenSSH 9.0 and newer;
draft-ietf-secsh-filexfer-extensions-00, 7). With other servers it passes through this process,
block by block.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import AsyncIterator, Callable
from functools import partial

import asyncssh

from resop.archives.entry import SMALL_FILE_BYTES, Content, TransferStats, TreeEntry
from resop.errors import PathFailed
from resop.sftp.client import check_regular, display_path, mode_of, to_bytes, translate_sftp_errors
from resop.sftp.files import publish, resolve_target, temporary_file
from resop.sftp.folders import FolderWriter, select_all, walk, writable_folder
from resop.sftp.transfer import BlockWriter, read_blocks

COPY_DATA_BYTES = 32 << 20
"""How much one copy-data request copies: the server answers nothing else meanwhile."""

ProgressCallback = Callable[[float, float], None]
"""Called with the number of bytes copied and the total."""


async def copy(
    sftp: asyncssh.SFTPClient,
    source: str,
    target: str,
    overwrite: bool,
    on_progress: ProgressCallback,
) -> TransferStats:
    """Copy a file or folder; the target is complete, or not there.

    With `overwrite`, a file is replaced, and a folder is merged into the existing one, file by
    file. Raises PathFailed or ContactLost.
    """
    with translate_sftp_errors(source):
        real_path = await sftp.realpath(to_bytes(source))
        attributes = await sftp.stat(real_path)
        if stat.S_ISDIR(attributes.permissions or 0):
            return await _copy_folder(sftp, real_path, target, overwrite, on_progress)
        check_regular(source, attributes)
        return await _copy_file(sftp, real_path, attributes, target, overwrite, on_progress)


async def _copy_file(
    sftp: asyncssh.SFTPClient,
    source: bytes,
    attributes: asyncssh.SFTPAttrs,
    path: str,
    overwrite: bool,
    on_progress: ProgressCallback,
) -> TransferStats:
    size = attributes.size or 0
    progress = _CopyProgress(size, on_progress)
    with translate_sftp_errors(path):
        target = await resolve_target(sftp, path)
        if not overwrite:
            target.check_vacant()
        async with temporary_file(sftp, target, size) as (temp_path, file):
            await _copy_content(sftp, source, file, size, progress)
            await file.setstat(
                asyncssh.SFTPAttrs(
                    permissions=mode_of(attributes), atime=attributes.mtime, mtime=attributes.mtime
                )
            )
            await file.close()
            await publish(sftp, target, temp_path, overwrite)
    return TransferStats(1, size)


async def _copy_folder(
    sftp: asyncssh.SFTPClient,
    source: bytes,
    path: str,
    merge: bool,
    on_progress: ProgressCallback,
) -> TransferStats:
    with translate_sftp_errors(path):
        if (await sftp.realpath(to_bytes(path)) + b"/").startswith(source.rstrip(b"/") + b"/"):
            raise PathFailed(path, "failed", "lies inside the folder to be copied")
    sizes = [entry.size async for entry in walk(sftp, source, select_all)]
    progress = _CopyProgress(sum(sizes), on_progress)
    with translate_sftp_errors(path):
        async with (
            writable_folder(sftp, to_bytes(path), merge=merge) as (top, _),
            _FolderCopier(sftp, source, top, progress, merge=merge) as copier,
        ):
            async for entry in walk(sftp, source, select_all):
                await copier.add(entry, _no_content())
    return TransferStats(copier.files, copier.bytes)


class _FolderCopier(FolderWriter):
    """Writes the entries of a folder on the cluster into another one."""

    def __init__(
        self,
        sftp: asyncssh.SFTPClient,
        source: bytes,
        top: bytes,
        progress: _CopyProgress,
        *,
        merge: bool,
    ) -> None:
        super().__init__(sftp, top, merge=merge)
        self._source = source
        self._progress = progress

    async def _add_file(self, entry: TreeEntry, content: Content) -> None:
        if entry.size > SMALL_FILE_BYTES:
            await self._write(entry, content)
        else:
            await self._writes.start(entry.name, partial(self._write, entry, content))

    async def _write_content(
        self, file: asyncssh.SFTPClientFile, entry: TreeEntry, content: Content
    ) -> None:
        source = posixpath.join(self._source, entry.name)
        await _copy_content(self._sftp, source, file, entry.size, self._progress)


class _CopyProgress:
    """Counts the bytes copied."""

    def __init__(self, total: int, on_progress: ProgressCallback) -> None:
        self._done = 0
        self._total = total
        self._on_progress = on_progress

    def add(self, size: int) -> None:
        self._done += size
        # A file may have grown since the total was computed.
        self._on_progress(self._done, max(self._done, self._total))


async def _copy_content(
    sftp: asyncssh.SFTPClient,
    path: bytes,
    file: asyncssh.SFTPClientFile,
    size: int,
    progress: _CopyProgress,
) -> None:
    """Copy `size` bytes of the file at `path` to an open file."""
    with translate_sftp_errors(path):
        source = await sftp.open(path, "rb")
    async with source:
        if not sftp.supports_remote_copy:
            await BlockWriter(file).write(_read_counted(source, path, size, progress))
            return
        for start in range(0, size, COPY_DATA_BYTES):
            length = min(COPY_DATA_BYTES, size - start)
            try:
                await sftp.remote_copy(source, file, start, length, start)
            except asyncssh.SFTPEOFError:
                message = "became shorter while it was read"
                raise PathFailed(display_path(path), "failed", message) from None
            # OpenSSH 9.2 reports success even if the disk is full.
            if ((await file.stat()).size or 0) < start + length:
                raise asyncssh.SFTPFailure("fewer bytes were copied than requested")
            progress.add(length)


async def _read_counted(
    source: asyncssh.SFTPClientFile, path: bytes, size: int, progress: _CopyProgress
) -> AsyncIterator[bytes]:
    async for block in read_blocks(source, display_path(path), 0, size):
        yield block
        progress.add(len(block))


async def _no_content() -> Content:
    return
    yield b""

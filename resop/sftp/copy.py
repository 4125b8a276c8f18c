"""Copy a file or folder on the cluster over SFTP."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable
from functools import partial

import asyncssh

from resop.archives.entry import SMALL_FILE_BYTES, Content, TransferStats, TreeEntry
from resop.errors import PathFailed
from resop.sftp.client import check_regular, mode_of, to_bytes, translate_sftp_errors
from resop.sftp.copy_data import copy_content
from resop.sftp.folders import FolderWriter, select_all, walk, writable_folder
from resop.sftp.publish import FileAttributes, FilePublisher
from resop.sftp.target import resolve_target, temporary_file
from resop.ssh.session import Session

ProgressCallback = Callable[[float, float], None]
"""Called with the number of bytes copied and the total."""


async def copy(
    sftp: asyncssh.SFTPClient,
    session: Session,
    source: str,
    target: str,
    overwrite: bool,
    on_progress: ProgressCallback,
) -> TransferStats:
    """Copy a file or folder; a new target is complete, or not there.

    With `overwrite`, a file is replaced, and a folder is merged into the existing one, file by
    file. Raises PathFailed or ContactLost.
    """
    with translate_sftp_errors(source):
        real_path = await sftp.realpath(to_bytes(source))
        attributes = await sftp.stat(real_path)
        if stat.S_ISDIR(attributes.permissions or 0):
            return await _copy_folder(sftp, session, real_path, target, overwrite, on_progress)
        check_regular(source, attributes)
        return await _copy_file(
            sftp, session, real_path, attributes, target, overwrite, on_progress
        )


async def _copy_file(
    sftp: asyncssh.SFTPClient,
    session: Session,
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
            await copy_content(sftp, source, file, size, progress.add)
            await file.close()
            await FilePublisher(sftp, session).publish(
                target,
                temp_path,
                FileAttributes(new_mode=mode_of(attributes), modified=attributes.mtime),
                overwrite,
            )
    return TransferStats(1, size)


async def _copy_folder(
    sftp: asyncssh.SFTPClient,
    session: Session,
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
            _FolderCopier(sftp, session, source, top, progress, merge=merge) as copier,
        ):
            async for entry in walk(sftp, source, select_all):
                await copier.add(entry, _no_content())
    return TransferStats(copier.files, copier.bytes)


class _FolderCopier(FolderWriter):
    """Writes the entries of a folder on the cluster into another one."""

    def __init__(
        self,
        sftp: asyncssh.SFTPClient,
        session: Session,
        source: bytes,
        top: bytes,
        progress: _CopyProgress,
        *,
        merge: bool,
    ) -> None:
        super().__init__(sftp, session, top, merge=merge)
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
        await copy_content(self._sftp, source, file, entry.size, self._progress.add)


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


async def _no_content() -> Content:
    return
    yield b""

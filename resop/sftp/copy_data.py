"""Copy the content of one file on the cluster to another.

The content does not leave a server that knows `copy-data` (OpenSSH 9.0 and newer;
draft-ietf-secsh-filexfer-extensions-00, 7). With other servers it passes through this process,
block by block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import asyncssh

from resop.errors import PathFailed
from resop.sftp.client import display_path, translate_sftp_errors
from resop.sftp.transfer import BlockWriter, read_blocks

COPY_DATA_BYTES = 32 << 20
"""How much one copy-data request copies: the server answers nothing else meanwhile."""


def _ignore(size: int) -> None:
    """Ignore a report."""


async def copy_content(
    sftp: asyncssh.SFTPClient,
    path: bytes,
    file: asyncssh.SFTPClientFile,
    size: int,
    on_bytes: Callable[[int], None] = _ignore,
) -> None:
    """Copy `size` bytes of the file at `path` to an open file; report each part to `on_bytes`."""
    with translate_sftp_errors(path):
        source = await sftp.open(path, "rb")
    async with source:
        if not sftp.supports_remote_copy:
            await BlockWriter(file).write(_read_counted(source, path, size, on_bytes))
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
            on_bytes(length)


async def _read_counted(
    source: asyncssh.SFTPClientFile, path: bytes, size: int, on_bytes: Callable[[int], None]
) -> AsyncIterator[bytes]:
    async for block in read_blocks(source, display_path(path), 0, size):
        yield block
        on_bytes(len(block))

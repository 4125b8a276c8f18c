"""Read and write files of limited size over SFTP."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncssh

from resop.archives.entry import File, file_too_large
from resop.limits import FILE_LIMIT
from resop.sftp.client import check_regular, mode_of, translate_sftp_errors
from resop.sftp.publish import FileAttributes, FilePublisher
from resop.sftp.target import resolve_target, temporary_file
from resop.ssh.session import Session


async def read_file(sftp: asyncssh.SFTPClient, path: str, limit: int) -> File:
    """Read a file of at most `limit` bytes. Raises PathFailed or ContactLost."""
    with translate_sftp_errors(path):
        # Check before opening: to open a named pipe would wait for its writer.
        check_regular(path, await sftp.stat(path))
        async with sftp.open(path, "rb") as file:
            attributes = await file.stat()
            size = attributes.size or 0  # 0 also for a file of /proc with content
            if size > limit:
                raise file_too_large(path, limit)
            max_size = size or min(limit, FILE_LIMIT)
            content: bytes = await file.read(size or max_size + 1)
    if len(content) > max_size:
        raise file_too_large(path, max_size)
    modified = datetime.fromtimestamp(attributes.mtime or 0, UTC)
    return File(content, mode_of(attributes), modified)


async def write_file(
    sftp: asyncssh.SFTPClient,
    session: Session,
    content: bytes,
    path: str,
    mode: int | None,
    overwrite: bool,
) -> None:
    """Write a temporary file beside `path`, then put it into its place.

    If `path` is a symbolic link, its target is replaced. Without `mode`, the file keeps the
    permissions of the file that it replaces, or gets 0600. Raises PathFailed or ContactLost.
    """
    with translate_sftp_errors(path):
        target = await resolve_target(sftp, path)
        if not overwrite:
            target.check_vacant()
        async with temporary_file(sftp, target, len(content)) as (temp_path, file):
            await file.write(content)
            await file.close()  # some file systems report only here that the disk is full
            publisher = FilePublisher(sftp, session)
            await publisher.publish(target, temp_path, FileAttributes.of(mode), overwrite)

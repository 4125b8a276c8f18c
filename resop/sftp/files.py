"""Read files of limited size over SFTP, and write files completely or not at all."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncssh

from resop.archives.entry import NEW_FILE_MODE, File, file_too_large
from resop.errors import PathFailed
from resop.limits import FILE_LIMIT
from resop.sftp.client import (
    attributes_of,
    check_regular,
    display_path,
    is_full,
    mode_of,
    remove_quietly,
    to_bytes,
    translate_sftp_errors,
)


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
    sftp: asyncssh.SFTPClient, content: bytes, path: str, mode: int | None, overwrite: bool
) -> None:
    """Write a temporary file beside `path`, then rename it. Raises PathFailed or ContactLost.

    If `path` is a symbolic link, its target is replaced. Without `mode`, the file gets the
    permissions of the file that it replaces, or 0600.
    """
    with translate_sftp_errors(path):
        target = await resolve_target(sftp, path)
        if not overwrite:
            target.check_vacant()
        async with temporary_file(sftp, target, len(content)) as (temp_path, file):
            await file.write(content)
            await file.setstat(target.final_attributes(mode))
            await file.close()  # some file systems report only here that the disk is full
            await publish(sftp, target, temp_path, overwrite)


@dataclass(frozen=True, slots=True)
class Target:
    """The path of a file to be written, and the regular file that exists there, if any."""

    path: str | bytes
    """The path of the request."""
    real_path: bytes
    """The path with symbolic links followed."""
    existing: asyncssh.SFTPAttrs | None
    """The attributes of the existing file."""

    def check_vacant(self) -> None:
        """Raise PathFailed if a file exists."""
        if self.existing is not None:
            raise PathFailed(display_path(self.path), "exists")

    def temp_path(self, name: str) -> bytes:
        """Return a path in the same folder, and so on the same file system."""
        return posixpath.join(posixpath.dirname(self.real_path), name.encode())

    def final_attributes(
        self, mode: int | None, modified: datetime | None = None
    ) -> asyncssh.SFTPAttrs:
        """Return the attributes of the complete file."""
        if mode is None:
            mode = NEW_FILE_MODE if self.existing is None else mode_of(self.existing)
        if modified is None:
            return asyncssh.SFTPAttrs(permissions=mode)
        time = int(modified.timestamp())
        return asyncssh.SFTPAttrs(permissions=mode, atime=time, mtime=time)


async def resolve_target(sftp: asyncssh.SFTPClient, path: str | bytes) -> Target:
    """Follow symbolic links to the file to be written.

    Raises PathFailed if a folder, a device or a pipe exists there.
    """
    real_path = await sftp.realpath(to_bytes(path))
    existing = await attributes_of(sftp, real_path)
    if existing is not None:
        check_regular(path, existing)
    return Target(path, real_path, existing)


@contextlib.asynccontextmanager
async def temporary_file(
    sftp: asyncssh.SFTPClient, target: Target, size: int
) -> AsyncIterator[tuple[bytes, asyncssh.SFTPClientFile]]:
    """Create a file beside its target, to be filled with about `size` bytes and published.

    The file is removed if an error leaves the block.
    """
    # Independent of the target's name, which may have the maximum length.
    path = target.temp_path(f".{secrets.token_hex(8)}.part")
    try:
        async with (
            translate_disk_full(sftp, target, size),
            sftp.open(path, "xb", asyncssh.SFTPAttrs(permissions=NEW_FILE_MODE)) as file,
        ):
            yield path, file
    except BaseException:
        await remove_quietly(sftp, path)
        raise


@contextlib.asynccontextmanager
async def translate_disk_full(
    sftp: asyncssh.SFTPClient, target: Target, size: int
) -> AsyncIterator[None]:
    """Raise PathFailed with `full` or `quota` for a write that fails without a reason.

    The protocol has no error code for a full disk.
    """
    try:
        yield
    except asyncssh.SFTPFailure as error:
        if await is_full(sftp, target.real_path, max(1, size)):
            raise PathFailed(display_path(target.path), "full") from error
        message = f"cannot be written ({error}): a quota may be reached"
        raise PathFailed(display_path(target.path), "quota", message) from error


async def publish(
    sftp: asyncssh.SFTPClient, target: Target, temp_path: bytes, overwrite: bool
) -> None:
    """Rename a complete file to its target.

    Of several concurrent writers without `overwrite`, one succeeds; the others raise PathFailed.
    """
    try:
        # A plain rename replaces nothing (draft-ietf-secsh-filexfer-02, 6.5).
        await (sftp.posix_rename if overwrite else sftp.rename)(temp_path, target.real_path)
    except asyncssh.SFTPFailure as error:
        if not overwrite and await sftp.exists(target.real_path):
            raise PathFailed(display_path(target.path), "exists") from error
        raise PathFailed(display_path(target.path), "failed", str(error)) from error

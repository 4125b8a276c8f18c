"""Files of the cluster over SFTP: read within a limit, written complete or not at all."""

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
    """Read a file of at most `limit` bytes. Raises PathFailed, ContactLost."""
    with translate_sftp_errors(path):
        # Asked before it is opened: that would wait for the writer of a named pipe.
        check_regular(path, await sftp.stat(path))
        async with sftp.open(path, "rb") as file:
            attributes = await file.stat()
            size = attributes.size or 0  # those of /proc and the like have none, yet some content
            if size > limit:
                raise file_too_large(path, limit)
            most = size or min(limit, FILE_LIMIT)
            content: bytes = await file.read(size or most + 1)
    if len(content) > most:
        raise file_too_large(path, most)
    modified = datetime.fromtimestamp(attributes.mtime or 0, UTC)
    return File(content, mode_of(attributes), modified)


async def write_file(
    sftp: asyncssh.SFTPClient, content: bytes, path: str, mode: int | None, overwrite: bool
) -> None:
    """Write a file beside its place, then rename it. Raises PathFailed, ContactLost.

    What a symbolic link points to is replaced, not the link. Without `mode` the permissions are
    those of the file that is replaced, else 0600.
    """
    with translate_sftp_errors(path):
        target = await resolve_target(sftp, path)
        if not overwrite:
            target.check_vacant()
        async with temporary_file(sftp, target, len(content)) as (beside, file):
            await file.write(content)
            await file.setstat(target.final_attributes(mode))
            await file.close()  # some file systems tell only then that there was no room
            await publish(sftp, target, beside, overwrite)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file is to be written, and what stands there before; nothing, or a regular file."""

    path: str | bytes
    """As it was asked for."""
    real_path: bytes
    """With symbolic links followed."""
    existing: asyncssh.SFTPAttrs | None

    def check_vacant(self) -> None:
        """Refuse to replace anything."""
        if self.existing is not None:
            raise PathFailed(display_path(self.path), "exists")

    def temp_path(self, name: str) -> bytes:
        """A place in the same folder, and so on the same file system."""
        return posixpath.join(posixpath.dirname(self.real_path), name.encode())

    def final_attributes(
        self, mode: int | None, modified: datetime | None = None
    ) -> asyncssh.SFTPAttrs:
        """The attributes of the complete file."""
        if mode is None:
            mode = NEW_FILE_MODE if self.existing is None else mode_of(self.existing)
        if modified is None:
            return asyncssh.SFTPAttrs(permissions=mode)
        time = int(modified.timestamp())
        return asyncssh.SFTPAttrs(permissions=mode, atime=time, mtime=time)


async def resolve_target(sftp: asyncssh.SFTPClient, path: str | bytes) -> Target:
    """Where a file is to be written; PathFailed when a folder, a device or a pipe stands there."""
    place = await sftp.realpath(to_bytes(path))
    before = await attributes_of(sftp, place)
    if before is not None:
        check_regular(path, before)
    return Target(path, place, before)


@contextlib.asynccontextmanager
async def temporary_file(
    sftp: asyncssh.SFTPClient, target: Target, size: int
) -> AsyncIterator[tuple[bytes, asyncssh.SFTPClientFile]]:
    """A new file beside its target, about `size` bytes of which are written inside.

    It is gone afterwards, unless it was put in place.
    """
    # Not made of its name, which may be as long as a name can be.
    beside = target.temp_path(f".{secrets.token_hex(8)}.part")
    try:
        async with (
            translate_disk_full(sftp, target, size),
            sftp.open(beside, "xb", asyncssh.SFTPAttrs(permissions=NEW_FILE_MODE)) as file,
        ):
            yield beside, file
    except BaseException:
        await remove_quietly(sftp, beside)
        raise


@contextlib.asynccontextmanager
async def translate_disk_full(
    sftp: asyncssh.SFTPClient, target: Target, size: int
) -> AsyncIterator[None]:
    """What a mere 'Failure' of a write means: the protocol has no word for a full disk."""
    try:
        yield
    except asyncssh.SFTPFailure as fault:
        if await is_full(sftp, target.real_path, max(1, size)):
            raise PathFailed(display_path(target.path), "full") from fault
        said = f"cannot be written ({fault}): a quota may be reached"
        raise PathFailed(display_path(target.path), "quota", said) from fault


async def publish(
    sftp: asyncssh.SFTPClient, target: Target, beside: bytes, overwrite: bool
) -> None:
    """Give a complete file its name; of several that may not `overwrite` one wins."""
    try:
        # A plain rename replaces nothing (draft-ietf-secsh-filexfer-02, 6.5).
        await (sftp.posix_rename if overwrite else sftp.rename)(beside, target.real_path)
    except asyncssh.SFTPFailure as fault:
        if not overwrite and await sftp.exists(target.real_path):
            raise PathFailed(display_path(target.path), "exists") from fault
        raise PathFailed(display_path(target.path), "failed", str(fault)) from fault

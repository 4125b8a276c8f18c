"""Find the place of a file to be written, and fill a temporary file beside it."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncssh

from resop.archives.entry import NEW_FILE_MODE
from resop.errors import PathFailed
from resop.sftp.client import (
    attributes_of,
    check_regular,
    display_path,
    is_full,
    remove_quietly,
    to_bytes,
)


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


async def resolve_target(sftp: asyncssh.SFTPClient, path: str | bytes) -> Target:
    """Follow symbolic links to the file to be written.

    Raises PathFailed if a folder, a device or a pipe exists there, or if its folder does not exist.
    """
    try:
        real_path = await sftp.realpath(to_bytes(path))
    except asyncssh.SFTPNoSuchFile as error:
        raise missing_folder(path) from error
    existing = await attributes_of(sftp, real_path)
    if existing is not None:
        check_regular(path, existing)
    return Target(path, real_path, existing)


async def make_parents(sftp: asyncssh.SFTPClient, path: bytes) -> None:
    """Create the folders above `path` that do not exist, with the permissions of `mkdir -p`."""
    folder = posixpath.dirname(path.rstrip(b"/"))
    if folder and not await sftp.isdir(folder):
        await sftp.makedirs(folder, exist_ok=True)


def missing_folder(path: str | bytes) -> PathFailed:
    """Return the error for a path whose folder does not exist."""
    folder = posixpath.dirname(display_path(path).rstrip("/"))
    message = f"there is no folder {folder or '~'}: create it first"
    return PathFailed(display_path(path), "missing", message)


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
            await _create(sftp, path, target) as file,
        ):
            yield path, file
    except BaseException:
        await remove_quietly(sftp, path)
        raise


async def _create(
    sftp: asyncssh.SFTPClient, path: bytes, target: Target
) -> asyncssh.SFTPClientFile:
    try:
        return await sftp.open(path, "xb", asyncssh.SFTPAttrs(permissions=NEW_FILE_MODE))
    except asyncssh.SFTPNoSuchFile as error:
        raise missing_folder(target.path) from error


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

"""One file of the cluster over SFTP: read within a limit, written complete or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncssh

from resop.errors import ContactLost, PathFailed

NEW_MODE = 0o600
EPOCH = datetime.fromtimestamp(0, UTC)
TIDY_SECONDS = 5.0
LOST = (
    *(asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError),
    OSError,
)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file as it was read."""

    content: bytes
    mode: int = NEW_MODE
    """Its permissions, as chmod(2) takes them."""
    modified: datetime = EPOCH


async def read_file(sftp: asyncssh.SFTPClient, path: str, limit: int) -> File:
    """Read a file of at most `limit` bytes. Raises PathFailed, ContactLost."""
    with _told_apart(path):
        # Asked before it is opened: that would wait for the writer of a named pipe.
        _check_regular(path, await sftp.stat(path))
        async with sftp.open(path, "rb") as file:
            attributes = await file.stat()
            content: bytes = await file.read(limit + 1)
    if len(content) > limit:
        raise too_large(path, limit)
    modified = datetime.fromtimestamp(attributes.mtime or 0, UTC)
    return File(content, _mode(attributes), modified)


async def write_file(
    sftp: asyncssh.SFTPClient, content: bytes, path: str, mode: int | None, overwrite: bool
) -> None:
    """Write a file beside its place, then rename it. Raises PathFailed, ContactLost.

    What a symbolic link points to is replaced, not the link. Without `mode` the permissions are
    those of the file that is replaced, else 0600.
    """
    with _told_apart(path):
        place = await sftp.realpath(path.encode())
        before = await _attributes(sftp, place)
        if before is not None:
            _check_regular(path, before)
            if not overwrite:
                raise PathFailed(path, "exists")
        if mode is None:
            mode = NEW_MODE if before is None else _mode(before)
        # Not made of its name, which may be as long as a name can be.
        beside = posixpath.join(posixpath.dirname(place), f".{secrets.token_hex(8)}.part".encode())
        try:
            async with sftp.open(beside, "xb", asyncssh.SFTPAttrs(permissions=NEW_MODE)) as file:
                await file.write(content)
                await file.setstat(asyncssh.SFTPAttrs(permissions=mode))
            # A plain rename replaces nothing (draft-ietf-secsh-filexfer-02, 6.5).
            await (sftp.posix_rename if overwrite else sftp.rename)(beside, place)
        except BaseException as fault:
            await _remove(sftp, beside)
            if isinstance(fault, asyncssh.SFTPFailure):
                if not overwrite and await sftp.exists(place):
                    raise PathFailed(path, "exists") from fault
                raise await _explained(sftp, path, place, len(content), fault) from fault
            raise


def too_large(path: str, limit: int) -> PathFailed:
    """The error for a file that has more bytes than may be read."""
    return PathFailed(path, "too_large", f"has more than {limit} bytes", limit=limit)


def _check_regular(path: str, attributes: asyncssh.SFTPAttrs) -> None:
    if stat.S_ISDIR(attributes.permissions or 0):
        raise PathFailed(path, "is_folder")
    if not stat.S_ISREG(attributes.permissions or 0):
        raise PathFailed(path, "not_file")


def _mode(attributes: asyncssh.SFTPAttrs) -> int:
    return (attributes.permissions or 0) & 0o777


async def _attributes(sftp: asyncssh.SFTPClient, place: bytes) -> asyncssh.SFTPAttrs | None:
    """The attributes of what is there, None when nothing is."""
    try:
        return await sftp.stat(place)
    except asyncssh.SFTPNoSuchFile:
        return None


async def _explained(
    sftp: asyncssh.SFTPClient, path: str, place: bytes, size: int, fault: asyncssh.Error
) -> PathFailed:
    """What a mere 'Failure' means: the protocol has no word for a full disk."""
    with contextlib.suppress(asyncssh.SFTPError):
        space = await sftp.statvfs(posixpath.dirname(place))
        if space.favail == 0 or space.bavail * space.frsize < size:
            return PathFailed(path, "full")
    return PathFailed(path, "failed", f"cannot be written ({fault}); a quota may be reached")


async def _remove(sftp: asyncssh.SFTPClient, beside: bytes) -> None:
    """Take away what is left of an attempt, also when it was cancelled."""
    with contextlib.suppress(OSError, asyncssh.Error):
        async with asyncio.timeout(TIDY_SECONDS):
            await sftp.remove(beside)


@contextlib.contextmanager
def _told_apart(path: str) -> Iterator[None]:
    """Errors of SFTP as resop's own."""
    try:
        yield
    except asyncssh.SFTPNoSuchFile as fault:
        raise PathFailed(path, "missing") from fault
    except asyncssh.SFTPPermissionDenied as fault:
        raise PathFailed(path, "denied") from fault
    except LOST as fault:
        raise ContactLost from fault
    except asyncssh.SFTPError as fault:
        raise PathFailed(path, "failed", str(fault)) from fault

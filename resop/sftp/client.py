"""SFTP over a user's session: opened, its errors told apart as resop's own.

A path is bytes, as on the cluster; text stands for its UTF-8.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import stat
from collections.abc import AsyncIterator, Iterator

import asyncssh

from resop.errors import ClusterError, ContactLost, PathFailed
from resop.ssh.asyncssh_workarounds import start_sftp_after_noise
from resop.ssh.session import Session

TIDY_SECONDS = 5.0
LOST = (
    *(asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError),
    OSError,
)


@contextlib.asynccontextmanager
async def open_sftp(session: Session, limit: float) -> AsyncIterator[asyncssh.SFTPClient]:
    """SFTP over a connection of `session`, waiting at most `limit` seconds for a free one."""
    async with session.connection(limit) as connection, await _started(connection) as sftp:
        yield sftp


async def _started(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    try:
        try:
            return await connection.start_sftp_client()
        except asyncssh.SFTPError:
            return await start_sftp_after_noise(connection)
    except asyncssh.SFTPError as fault:
        said = f"what answers is not SFTP ({fault}): does .bashrc or the like print something?"
        raise ClusterError(said) from fault
    except (OSError, asyncssh.Error) as fault:
        raise ClusterError(f"the login node offers no SFTP: {fault}") from fault


@contextlib.contextmanager
def translate_sftp_errors(path: str | bytes) -> Iterator[None]:
    """Errors of SFTP as resop's own: PathFailed, ContactLost."""
    try:
        yield
    except asyncssh.SFTPNoSuchFile as fault:
        raise PathFailed(display_path(path), "missing") from fault
    except asyncssh.SFTPPermissionDenied as fault:
        raise PathFailed(display_path(path), "denied") from fault
    except LOST as fault:
        raise ContactLost from fault
    except asyncssh.SFTPError as fault:
        raise PathFailed(display_path(path), "failed", str(fault)) from fault


def to_bytes(path: str | bytes) -> bytes:
    """A path as the cluster knows it."""
    return path if isinstance(path, bytes) else path.encode()


def display_path(path: str | bytes) -> str:
    """A path as people read it."""
    return path if isinstance(path, str) else path.decode("utf-8", "replace")


def check_regular(path: str | bytes, attributes: asyncssh.SFTPAttrs) -> None:
    """Refuse a folder, a device, a pipe."""
    if stat.S_ISDIR(attributes.permissions or 0):
        raise PathFailed(display_path(path), "is_folder")
    if not stat.S_ISREG(attributes.permissions or 0):
        raise PathFailed(display_path(path), "not_file")


def mode_of(attributes: asyncssh.SFTPAttrs) -> int:
    """The permissions of a file, as chmod(2) takes them."""
    return (attributes.permissions or 0) & 0o777


async def attributes_of(sftp: asyncssh.SFTPClient, place: bytes) -> asyncssh.SFTPAttrs | None:
    """The attributes of what is there, None when nothing is."""
    try:
        return await sftp.stat(place)
    except asyncssh.SFTPNoSuchFile:
        return None


async def is_hidden(sftp: asyncssh.SFTPClient, place: bytes) -> bool:
    """Whether the cluster keeps from the user whether anything is there."""
    try:
        await sftp.stat(place)
    except asyncssh.SFTPPermissionDenied:
        return True
    except (OSError, asyncssh.Error):
        return False  # then what was denied before is what there is to tell
    return False


async def is_full(sftp: asyncssh.SFTPClient, place: bytes, size: int) -> bool:
    """Whether a file of `size` bytes finds no room: the protocol has no word for a full disk."""
    with contextlib.suppress(asyncssh.SFTPError):
        space = await sftp.statvfs(posixpath.dirname(place))
        return bool(space.favail == 0 or space.bavail * space.frsize < size)
    return False


async def remove_quietly(sftp: asyncssh.SFTPClient, beside: bytes) -> None:
    """Take away what is left of an attempt, also when it was cancelled."""
    with contextlib.suppress(OSError, asyncssh.Error):
        async with asyncio.timeout(TIDY_SECONDS):
            await sftp.remove(beside)

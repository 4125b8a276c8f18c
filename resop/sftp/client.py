"""Open SFTP over a user's session, and translate its errors into those of resop.

A path is bytes, as on the cluster; a path given as text is encoded as UTF-8.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import stat
from collections.abc import AsyncIterator, Iterator

import asyncssh

from resop.errors import ClusterError, ContactLost, PathFailed
from resop.ssh.asyncssh_workarounds import REQUEST_REFUSED, begin_in, start_sftp
from resop.ssh.exec_channel import ChannelRefused
from resop.ssh.home_folder import find_home
from resop.ssh.session import Session

START_TIMEOUT = 20.0
"""Seconds for the start-up files of the login shell and the SFTP server."""
REMOVE_TIMEOUT = 5.0
"""Seconds to wait for the removal of a temporary file."""
CONNECTION_ERRORS = (
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.DisconnectError,
    OSError,
)


@contextlib.asynccontextmanager
async def open_sftp(session: Session, limit: float) -> AsyncIterator[asyncssh.SFTPClient]:
    """Open SFTP over a channel of `session`; wait at most `limit` seconds for a free one.

    Relative paths begin in the home folder, wherever rc files have gone. Raises ClusterError if the
    login node does not offer SFTP, and ChannelRefused if it allows no further channel.
    """
    async with session.channel(limit, _start) as (connection, sftp), sftp:
        begin_in(sftp, await _home(connection, sftp))
        yield sftp


async def _start(
    connection: asyncssh.SSHClientConnection,
) -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]:
    try:
        async with asyncio.timeout(START_TIMEOUT):
            return connection, await start_sftp(connection)
    except TimeoutError:
        raise ClusterError(
            f"the login node did not answer with SFTP within {START_TIMEOUT:g} s: does .bashrc or "
            "another start-up file read its standard input, or take longer?"
        ) from None
    except asyncssh.SFTPError as error:
        raise ClusterError(
            f"the login node did not answer with SFTP ({error}): "
            "does .bashrc or another start-up file print something?"
        ) from error
    except asyncssh.ChannelOpenError as error:
        if error.code == REQUEST_REFUSED:
            raise ClusterError("the login node does not offer SFTP to this account") from error
        raise ChannelRefused(f"the login node opened no channel: {error.reason}") from error
    except (OSError, asyncssh.Error) as error:
        raise ChannelRefused(f"the connection broke before SFTP began: {error}") from error


async def _home(connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient) -> bytes:
    try:
        return await find_home(connection, sftp)
    except CONNECTION_ERRORS as error:
        raise ContactLost from error
    except asyncssh.SFTPError as error:
        raise ClusterError(f"the home folder on the login node is not known: {error}") from error


@contextlib.contextmanager
def translate_sftp_errors(path: str | bytes) -> Iterator[None]:
    """Raise PathFailed for `path`, or ContactLost, instead of an error of SFTP."""
    try:
        yield
    except asyncssh.SFTPNoSuchFile as error:
        raise PathFailed(display_path(path), "missing") from error
    except asyncssh.SFTPPermissionDenied as error:
        raise PathFailed(display_path(path), "denied") from error
    except CONNECTION_ERRORS as error:
        raise ContactLost from error
    except asyncssh.SFTPError as error:
        raise PathFailed(display_path(path), "failed", str(error)) from error


def to_bytes(path: str | bytes) -> bytes:
    """Return a path as the cluster knows it."""
    return path if isinstance(path, bytes) else path.encode()


def display_path(path: str | bytes) -> str:
    """Return a path as text for people."""
    return path if isinstance(path, str) else path.decode("utf-8", "replace")


def check_regular(path: str | bytes, attributes: asyncssh.SFTPAttrs) -> None:
    """Raise PathFailed unless the attributes are those of a regular file."""
    if stat.S_ISDIR(attributes.permissions or 0):
        raise PathFailed(display_path(path), "is_folder")
    if not stat.S_ISREG(attributes.permissions or 0):
        raise PathFailed(display_path(path), "not_file")


def mode_of(attributes: asyncssh.SFTPAttrs) -> int:
    """Return the permissions of a file, as chmod(2) takes them."""
    return (attributes.permissions or 0) & 0o777


async def attributes_of(sftp: asyncssh.SFTPClient, path: bytes) -> asyncssh.SFTPAttrs | None:
    """Return the attributes of a file or folder, or None if it does not exist."""
    try:
        return await sftp.stat(path)
    except asyncssh.SFTPNoSuchFile:
        return None


async def is_hidden(sftp: asyncssh.SFTPClient, path: bytes) -> bool:
    """Return True if the user may not know whether anything exists at `path`."""
    try:
        await sftp.stat(path)
    except asyncssh.SFTPPermissionDenied:
        return True
    except (OSError, asyncssh.Error):
        return False  # the caller reports its own error
    return False


async def is_full(sftp: asyncssh.SFTPClient, path: bytes, size: int) -> bool:
    """Return True if the file system has no space for a file of `size` bytes at `path`.

    The protocol has no error code for a full disk.
    """
    with contextlib.suppress(asyncssh.SFTPError):
        space = await sftp.statvfs(posixpath.dirname(path))
        return bool(space.favail == 0 or space.bavail * space.frsize < size)
    return False


async def remove_quietly(sftp: asyncssh.SFTPClient, path: bytes) -> None:
    """Remove a temporary file, also in a cancelled task; ignore errors."""
    with contextlib.suppress(OSError, asyncssh.Error):
        async with asyncio.timeout(REMOVE_TIMEOUT):
            await sftp.remove(path)
